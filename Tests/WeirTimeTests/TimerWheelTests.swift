// The wheel against a naive reference, over virtual days.

import Testing
import WeirTime

/// What a wheel should do, written down as a table of deadlines.
private struct Reference {
    static let tick: Int64 = 1 << 22

    /// Token -> the instant by which the timer must have fired, and before which it must not.
    var armed: [UInt: (deadline: Int64, armedAt: Int64)] = [:]

    /// The deadlines that have passed for more than a tick.
    func overdue(at now: Int64) -> [UInt] {
        armed.filter { max($0.value.deadline, $0.value.armedAt) + Self.tick <= now }.map(\.key)
    }

    /// The latest instant at which a loop must wake to be in time.
    var latestWake: Int64? {
        armed.values.map { max($0.deadline, $0.armedAt) + Self.tick }.min()
    }
}

@Suite struct `A timer wheel` {
    @Test(arguments: 0..<24 as Range<UInt64>)
    func `fires no timer early and none more than a tick late`(seed: UInt64) {
        var chance = Chance(seed: seed)
        var now = Int64(chance.next() >> 4)
        let wheel = TimerWheel(now: Instant(nanoseconds: now))
        var ids: [UInt: TimerID] = [:]
        var reference = Reference()
        var nextToken: UInt = 1
        let spans: [Int64] = [
            1, 1 << 22, 1 << 22, 1 << 28, 1 << 32, 1 << 36, 1 << 41, 1 << 48, 1 << 50,
        ]

        for _ in 0..<1500 {
            for _ in 0..<chance.below(6) {
                let span = spans[Int(chance.below(UInt32(spans.count)))]
                let deadline = now + chance.interval(upTo: .init(nanoseconds: span)).nanoseconds
                let existing = ids.keys.sorted().randomElement(&chance)
                switch (chance.below(8), existing) {
                case (0...2, _) where ids.count < 40, (_, nil):
                    ids[nextToken] = wheel.add(token: nextToken)
                    nextToken += 1
                case (0...5, let token?):
                    wheel.arm(ids[token] ?? .none, at: Instant(nanoseconds: deadline))
                    reference.armed[token] = (deadline, now)
                case (6, let token?):
                    wheel.disarm(ids[token] ?? .none)
                    reference.armed[token] = nil
                case (_, let token?):
                    wheel.remove(ids.removeValue(forKey: token) ?? .none)
                    reference.armed[token] = nil
                }
            }
            let wake = wheel.nextWake()?.nanoseconds
            if let latest = reference.latestWake {
                #expect((wake ?? .max) <= latest, "seed \(seed): would sleep past a timer")
            }
            // Now and then a loop is held up, or woken by something else.
            switch (chance.below(4), wake) {
            case (0, _), (_, nil):
                let span = spans[Int(chance.below(6))]
                now += chance.interval(upTo: .init(nanoseconds: span)).nanoseconds
            case (_, let wake?):
                now = max(now, wake)
            }
            while let token = wheel.popExpired(now: Instant(nanoseconds: now)) {
                let due = reference.armed.removeValue(forKey: token)
                #expect(due != nil, "seed \(seed): fired without being armed")
                #expect((due?.deadline ?? .max) <= now, "seed \(seed): fired early")
            }
            #expect(reference.overdue(at: now) == [], "seed \(seed): late")
        }
    }

    @Test func `reaches deadlines that lie beyond its 19 hours`() {
        var chance = Chance(seed: 78)
        let wheel = TimerWheel(now: Instant(nanoseconds: 0))
        var due: [UInt: Int64] = [:]
        for token in 1...16 as ClosedRange<UInt> {
            let deadline = chance.interval(upTo: .seconds(80 * 3600))
            due[token] = deadline.nanoseconds
            wheel.arm(wheel.add(token: token), at: Instant(nanoseconds: deadline.nanoseconds))
        }
        while !due.isEmpty, let now = wheel.nextWake() {
            while let token = wheel.popExpired(now: now) {
                let late = now.nanoseconds - (due.removeValue(forKey: token) ?? .max)
                #expect(late >= 0 && late <= Reference.tick)
            }
        }
        #expect(due == [:])
    }

    @Test func `wakes for a timer of the upper level that is due before one of the lowest`() {
        let tick: Int64 = 1 << 22
        let wheel = TimerWheel(now: Instant(nanoseconds: 0))
        let early = wheel.add(token: 1)
        let late = wheel.add(token: 2)
        wheel.arm(early, at: Instant(nanoseconds: 300 * tick))
        let wakeful = wheel.add(token: 3)
        wheel.arm(wakeful, at: Instant(nanoseconds: 200 * tick))
        #expect(wheel.popExpired(now: Instant(nanoseconds: 200 * tick)) == 3)
        #expect(wheel.popExpired(now: Instant(nanoseconds: 200 * tick)) == nil)
        wheel.arm(late, at: Instant(nanoseconds: 450 * tick))

        #expect((wheel.nextWake()?.nanoseconds ?? .max) <= 300 * tick)
    }

    @Test func `reports the deadline that is in force`() {
        let wheel = TimerWheel(now: Instant(nanoseconds: 0))
        let id = wheel.add(token: 7)
        #expect(wheel.deadline(of: id) == .distantFuture)
        wheel.arm(id, at: Instant(nanoseconds: 5))
        #expect(wheel.deadline(of: id) == Instant(nanoseconds: 5))
        wheel.disarm(id)
        #expect(wheel.deadline(of: id) == .distantFuture)
        #expect(wheel.popExpired(now: Instant(nanoseconds: 1 << 40)) == nil)
        #expect(wheel.deadline(of: .none) == .distantFuture)
    }

    @Test func `fires a timer that is armed for the past within a tick`() {
        let wheel = TimerWheel(now: Instant(nanoseconds: 1 << 40))
        let id = wheel.add(token: 7)
        #expect(wheel.popExpired(now: Instant(nanoseconds: 1 << 40)) == nil)
        wheel.arm(id, at: .distantPast)
        #expect(wheel.popExpired(now: Instant(nanoseconds: 1 << 40 + 1 << 22)) == 7)
    }

    @Test func `moves on from a rest without losing what is armed next`() {
        let wheel = TimerWheel(now: Instant(nanoseconds: 0))
        let afterRest = Instant(nanoseconds: 1 << 52)
        wheel.skipIdleTime(to: afterRest)
        let id = wheel.add(token: 7)
        wheel.arm(id, at: afterRest + .milliseconds(50))
        #expect(wheel.popExpired(now: afterRest + .milliseconds(49)) == nil)
        wheel.skipIdleTime(to: afterRest + .seconds(100))
        #expect(wheel.popExpired(now: afterRest + .milliseconds(67)) == 7)
    }

    @Test func `grows beyond its first room and reuses what was removed`() {
        let wheel = TimerWheel(now: Instant(nanoseconds: 0))
        let ids = (0..<1000).map { wheel.add(token: UInt($0)) }
        #expect(Set(ids).count == 1000)
        for id in ids { wheel.arm(id, at: Instant(nanoseconds: 1)) }
        for id in ids[500...] { wheel.remove(id) }
        let reused = wheel.add(token: 5000)
        #expect(ids[500...].contains(reused))
        var fired: Set<UInt> = []
        while let token = wheel.popExpired(now: Instant(nanoseconds: 1 << 30)) {
            fired.insert(token)
        }
        #expect(fired == Set(0..<500))
    }
}

extension Array {
    fileprivate func randomElement(_ chance: inout Chance) -> Element? {
        isEmpty ? nil : self[Int(chance.below(UInt32(count)))]
    }
}
