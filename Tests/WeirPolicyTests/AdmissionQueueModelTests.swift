// The admission queue against the same rules written plainly: arrays, dictionaries and searches.

import Testing
import WeirPolicy
import WeirTime

/// Slow and obvious. Everything is found by looking through what waits.
private struct ReferenceQueue {
    struct Key: Hashable {
        var priority: Int
        var tenant: UInt64
    }

    struct Item {
        var waiter: UInt64
        var key: Key
        var isRetry: Bool
        var sequence: Int
        var arrival: Instant
        var expiry: Instant
    }

    struct Turn {
        var weight: Int
        var credit: Int
        var since: Instant
        /// When it got in line for its turn.
        var joined: Int
    }

    var settings: QueueSettings
    var live: [Item] = []
    var expired: [Item] = []
    var fresh = [[Key]](repeating: [], count: 8)
    var old = [[Key]](repeating: [], count: 8)
    var runs = [Int](repeating: 0, count: 8)
    var owed = [Int](repeating: 0, count: 8)
    var idle: [Key] = []
    var turns: [Key: Turn] = [:]
    var mostTurns = 0
    var mostItems = 0
    var sequence = 0
    var joins = 0

    var capacity: Int { max(2 * settings.maxLength, 1) }

    func share(_ priority: Int) -> Int {
        priority < settings.minimumShares.count ? settings.minimumShares[priority] : 0
    }

    func count(_ priority: Int) -> Int { live.count { $0.key.priority == priority } }

    func line(_ key: Key) -> [Item] {
        let own = live.filter { $0.key == key }
        return own.filter(\.isRetry) + own.filter { !$0.isRetry }
    }

    mutating func insert(_ request: AdmissionQueue.Request, now: Instant) -> (Refusal?, Item?) {
        guard request.deadline > now else { return (.deadline, nil) }
        expire(now)
        let key = Key(priority: min(Int(request.priority), 7), tenant: request.tenant)
        let weight = max(Int(request.weight), 1)
        var evicted: Item?
        let isCrowded = live.count + expired.count == mostItems && mostItems >= capacity
        if live.count >= settings.maxLength {
            evicted = victim(key, weight)
            guard let evicted else { return (.queueFull, nil) }
            leave(evicted, isServed: false)
        } else if isCrowded {
            evicted = expired.removeFirst()
        }
        var turn = turns[key] ?? open(key, weight, now)
        if line(key).isEmpty { turn.since = now }
        idle.removeAll { $0 == key }
        turn.weight = weight
        turn.credit = min(turn.credit, weight)
        turns[key] = turn
        let hasStood = !line(key).isEmpty && now - turn.since > settings.maxWait
        let wait = hasStood ? min(settings.standingWait, settings.maxWait) : settings.maxWait
        sequence += 1
        live.append(
            Item(
                waiter: request.waiter, key: key, isRetry: request.isRetry, sequence: sequence,
                arrival: now, expiry: min(request.deadline, now + wait)))
        mostItems = max(mostItems, live.count + expired.count)
        return (nil, evicted)
    }

    func victim(_ key: Key, _ weight: Int) -> Item? {
        guard let worst = live.map(\.key.priority).max(), worst >= key.priority else { return nil }
        // Fractions have exact values here: weights are small and lengths are smaller.
        func length(_ key: Key, _ more: Int, _ weight: Int) -> Int {
            (line(key).count + more) * 5040 / weight
        }
        let keys = Set(live.map(\.key).filter { $0.priority == worst })
        let longest = keys.map { length($0, 0, turns[$0]?.weight ?? 1) }.max() ?? 0
        let last = keys.filter { length($0, 0, turns[$0]?.weight ?? 1) == longest }
        // The newest of the candidates' last ones.
        let candidate = last.compactMap { line($0).last }.max { $0.sequence < $1.sequence }
        if worst == key.priority {
            let own = length(key, 1, weight)
            if own >= longest || candidate?.key == key { return nil }
        }
        return candidate
    }

    mutating func open(_ key: Key, _ weight: Int, _ now: Instant) -> Turn {
        if turns.count == mostTurns, mostTurns >= capacity, let first = idle.first { close(first) }
        fresh[key.priority].append(key)
        joins += 1
        let turn = Turn(weight: weight, credit: weight, since: now, joined: joins)
        turns[key] = turn
        mostTurns = max(mostTurns, turns.count)
        return turn
    }

    mutating func close(_ key: Key) {
        turns[key] = nil
        idle.removeAll { $0 == key }
        fresh[key.priority].removeAll { $0 == key }
        old[key.priority].removeAll { $0 == key }
    }

    mutating func joinRound(_ key: Key) {
        fresh[key.priority].removeAll { $0 == key }
        old[key.priority].removeAll { $0 == key }
        old[key.priority].append(key)
    }

    mutating func leave(_ item: Item, isServed: Bool) {
        let key = item.key
        live.removeAll { $0.sequence == item.sequence }
        guard var turn = turns[key] else { return }
        let isEmpty = line(key).isEmpty
        let isFresh = fresh[key.priority].contains(key)
        if isServed {
            runs[key.priority] = isFresh ? runs[key.priority] + 1 : 0
            turn.credit -= 1
            if turn.credit == 0 || isEmpty {
                turn.credit = turn.weight
                joins += 1
                turn.joined = joins
                joinRound(key)
            }
        } else if isEmpty, isFresh {
            if turn.credit == turn.weight {
                close(key)
            } else {
                turn.credit = turn.weight
                joins += 1
                turn.joined = joins
                joinRound(key)
            }
        }
        if turns[key] != nil {
            turns[key] = turn
            if isEmpty { idle.append(key) }
        }
        if count(key.priority) == 0 {
            for key in fresh[key.priority] + old[key.priority] { close(key) }
            runs[key.priority] = 0
            owed[key.priority] = 0
        }
    }

    mutating func expire(_ now: Instant) {
        let due = live.filter { $0.expiry <= now }
        let order = due.sorted { ($0.expiry, $0.sequence) < ($1.expiry, $1.sequence) }
        for item in order {
            leave(item, isServed: false)
            expired.append(item)
        }
    }

    mutating func popExpired(_ now: Instant) -> UInt64 {
        expire(now)
        return expired.isEmpty ? 0 : expired.removeFirst().waiter
    }

    mutating func remove(_ waiter: UInt64) -> Bool {
        if let item = live.first(where: { $0.waiter == waiter }) {
            leave(item, isServed: false)
            return true
        }
        let before = expired.count
        expired.removeAll { $0.waiter == waiter }
        return expired.count < before
    }

    mutating func pop(_ now: Instant) -> UInt64 {
        expire(now)
        let classes = (0..<8).filter { count($0) > 0 }
        guard let best = classes.first else { return 0 }
        for priority in classes { owed[priority] += share(priority) }
        let most = classes.map { owed[$0] }.max() ?? 0
        let creditor = classes.first { owed[$0] == most }
        let priority = most >= 100 ? creditor ?? best : best
        owed[priority] = max(owed[priority] - 100, 0)
        guard let item = line(next(priority)).first else { return 0 }
        leave(item, isServed: true)
        return item.waiter
    }

    mutating func next(_ priority: Int) -> Key {
        let new = fresh[priority].first
        if let new, let turn = turns[new], runs[priority] < 8 || turn.credit < turn.weight {
            return new
        }
        while let key = old[priority].first {
            let isLater = (new.flatMap { turns[$0]?.joined } ?? .max) < turns[key]?.joined ?? 0
            if let new, isLater { return new }
            if !line(key).isEmpty { return key }
            close(key)
        }
        return fresh[priority][0]
    }
}

/// One queue and its reference, driven by chance.
private struct Comparison {
    var chance: Chance
    var settings: QueueSettings
    var queue: AdmissionQueue
    var reference: ReferenceQueue
    var now = Instant(nanoseconds: 0)
    var waiter: UInt64 = 0
    /// All ever queued, to try old handles as well.
    var known: [(handle: UInt32, waiter: UInt64)] = []
    let tenants: UInt32
    let classes: UInt32

    init(seed: UInt64) {
        var chance = Chance(seed: seed)
        settings = Self.settings(&chance)
        tenants = 1 + chance.below(chance.below(4) == 0 ? 60 : 6)
        classes = 1 + chance.below(4)
        queue = AdmissionQueue(settings)
        reference = ReferenceQueue(settings: settings)
        self.chance = chance
    }

    static func settings(_ chance: inout Chance) -> QueueSettings {
        var settings = QueueSettings()
        settings.maxLength = Int(chance.below(chance.below(3) == 0 ? 40 : 12))
        settings.maxWait = .milliseconds(Int64(chance.below(40)))
        settings.standingWait = .milliseconds(Int64(chance.below(20)))
        let shares = [[], [0, 2, 10], [0, 0, 50], [30, 30, 30, 10], [0, 100]]
        settings.minimumShares = shares[Int(chance.below(5))]
        return settings
    }

    mutating func step() {
        now = now + .microseconds(Int64(chance.below(4) == 0 ? chance.below(5000) : 0))
        switch chance.below(100) {
        case 0..<55: insert()
        case 55..<80: #expect(queue.pop(now: now) == reference.pop(now))
        case 80..<90 where !known.isEmpty:
            let one = known[Int(chance.below(UInt32(known.count)))]
            let isRemoved = queue.remove(one.handle, waiter: one.waiter)
            #expect(isRemoved == reference.remove(one.waiter))
        case 98:
            settings = Self.settings(&chance)
            queue.update(settings)
            for priority in 0..<8 {
                let share = settings.minimumShares.dropFirst(priority).first ?? 0
                if share == 0 { reference.owed[priority] = 0 }
            }
            reference.settings = settings
        default: #expect(queue.popExpired(now: now) == reference.popExpired(now))
        }
        #expect(queue.count == reference.live.count + reference.expired.count)
        for priority in 0..<8 {
            #expect(queue.count(ofClass: priority) == reference.count(priority))
        }
        #expect(queue.tenantsWaiting == Set(reference.live.map(\.key)).count)
        let oldest = reference.live.map(\.arrival).min() ?? now
        #expect(queue.oldestWait(now: now) == now - oldest)
    }

    mutating func insert() {
        waiter += 1
        let tenant = UInt64(chance.below(tenants))
        let isOddWeight = chance.below(20) == 0
        let request = AdmissionQueue.Request(
            priority: UInt8(chance.below(classes)) * (chance.below(30) == 0 ? 5 : 1),
            tenant: tenant, weight: isOddWeight ? UInt16(chance.below(7)) : UInt16(tenant % 4),
            deadline: now + .milliseconds(Int64(chance.below(60)) - 1), waiter: waiter,
            isRetry: chance.below(5) == 0)
        let (refusal, evicted) = reference.insert(request, now: now)
        switch queue.insert(request, now: now) {
        case .refused(let actual):
            #expect(actual == refusal)
        case .queued(let handle, let expiry, let actual):
            #expect(refusal == nil)
            #expect(expiry == reference.live.last?.expiry)
            #expect(actual == evicted?.waiter ?? 0)
            known.append((handle, waiter))
            if known.count > 50 { known.removeFirst() }
        }
    }
}

@Suite struct `An admission queue and its plain model` {
    @Test(arguments: 0..<20 as Range<UInt64>)
    func `agree on every verdict, order, push-out and expiry`(block: UInt64) {
        for seed in block * 15..<(block + 1) * 15 {
            var comparison = Comparison(seed: seed)
            for _ in 0..<300 { comparison.step() }
        }
    }
}
