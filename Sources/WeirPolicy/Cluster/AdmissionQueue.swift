// Who waits for a permit of a cluster, who gets the next one, and who has to go when it is full.

public import WeirTime

/// A bounded queue that is strict by class and fair among tenants, and that pushes out.
///
/// The order: by priority class, but for declared minimum shares (`ClassTurns`); inside a class by
/// turns among tenants (`TenantLanes`); inside a tenant retries first, then by arrival. When it is
/// full, the newest request of the longest tenant in the lowest class goes. So a lower class never
/// waits while a higher one is refused, and a flood pushes out its own.
///
/// Each operation costs O(log n), and allocates only when more wait than ever before. What waits
/// has one of two states:
///
///     insert → live → pop, remove, pushed out by insert
///                ↓ its time is up
///              expired → popExpired, remove
///
/// Not thread-safe: its owner holds a lock.
public struct AdmissionQueue: Sendable {
    /// What a request is judged by.
    public struct Request: Sendable {
        /// The class, 0 the best. Classes beyond 7 count as 7.
        public var priority: UInt8
        /// A hash of the tenant's key; 0 when tenants are not told apart.
        public var tenant: UInt64
        /// How many dispatches the tenant gets a turn; 0 counts as 1.
        public var weight: UInt16
        /// When there is no more use in an answer.
        public var deadline: Instant
        /// Names the request to its owner; never 0, and never used twice.
        public var waiter: UInt64
        /// It goes before new work of its tenant and class.
        public var isRetry: Bool
        /// Where it has been: it goes elsewhere, if there is room.
        public var tried: TriedEndpoints

        /// Creates a request to wait.
        public init(
            priority: UInt8, tenant: UInt64, weight: UInt16, deadline: Instant, waiter: UInt64,
            isRetry: Bool, tried: TriedEndpoints = TriedEndpoints()
        ) {
            self.priority = priority
            self.tenant = tenant
            self.weight = weight
            self.deadline = deadline
            self.waiter = waiter
            self.isRetry = isRetry
            self.tried = tried
        }
    }

    /// What became of a request at the door.
    package enum Insertion: Equatable, Sendable {
        /// It waits until `expiry` at the latest. `evicted` has lost its place to it; 0 is nobody.
        case queued(handle: UInt32, expiry: Instant, evicted: UInt64)
        /// `queueFull`, or `deadline` when that has passed.
        case refused(Refusal)
    }

    private struct Place: Sendable {
        /// 0 while nobody has the place.
        var waiter: UInt64 = 0
        /// 0 when it is expired.
        var lane = 0
        var sequence: UInt64 = 0
        var arrival = Instant.distantPast
        var isRetry = false
        var tried = TriedEndpoints()
    }

    /// What expires first is first.
    private struct Expiry: Comparable, Sendable {
        var instant: Instant
        var sequence: UInt64

        static func < (a: Expiry, b: Expiry) -> Bool {
            a.instant == b.instant ? a.sequence < b.sequence : a.instant < b.instant
        }
    }

    /// What is pushed out first is first: lengths count by weight, of equal ones the last to grow.
    private struct Rank: Comparable, Sendable {
        var priority: Int
        var length: Int
        var weight: Int
        var newest: UInt64

        static func < (a: Rank, b: Rank) -> Bool {
            if a.priority != b.priority { return a.priority > b.priority }
            let own = a.length * b.weight
            let other = b.length * a.weight
            return own == other ? a.newest > b.newest : own > other
        }
    }

    /// More than any configuration needs; keeps handles and products small.
    package static let longest = 1_000_000

    private var maxLength = 0
    private var maxWait = Interval.zero
    private var standingWait = Interval.zero
    private var turns: ClassTurns
    private var lanes = TenantLanes()
    private var ranks = IndexedHeap<Rank>()
    private var places = [Place()]
    private var free: [Int] = []
    /// Places in their lane, or among the expired.
    private var links = ChainLinks()
    private var expiries = IndexedHeap<Expiry>()
    private var arrivals = Chain()
    private var arrivalLinks = ChainLinks()
    private var expired = Chain()
    private var expiredCount = 0
    private var sequence: UInt64 = 0

    package init(_ settings: QueueSettings) {
        turns = ClassTurns(minimumShares: settings.minimumShares)
        update(settings)
    }

    /// Takes up new bounds. What waits stays, with the expiry that it was given.
    package mutating func update(_ settings: QueueSettings) {
        maxLength = min(max(settings.maxLength, 0), Self.longest)
        maxWait = max(settings.maxWait, .zero)
        // To wait for longer in a queue that stands would be no remedy.
        standingWait = min(max(settings.standingWait, .zero), maxWait)
        turns.setShares(settings.minimumShares)
    }

    // MARK: In and out

    /// Lets a request wait; in a full queue only if another one deserves its place less.
    package mutating func insert(_ request: Request, now: Instant) -> Insertion {
        guard request.deadline > now else { return .refused(.deadline) }
        expire(now: now)
        let priority = min(Int(request.priority), ClassTurns.classes - 1)
        let weight = max(Int(request.weight), 1)
        var evicted: UInt64 = 0
        if turns.total >= maxLength {
            let victim = victim(for: priority, request.tenant, weight: weight)
            guard victim != 0 else { return .refused(.queueFull) }
            evicted = places[victim].waiter
            leaveLane(victim, isServed: false)
            vacate(victim)
        } else if free.isEmpty, places.count > capacity {
            // Its owner has not asked for the expired for long: one of them gets its answer so.
            evicted = popFirstExpired()
        }
        let lane = lanes.enter(
            priority, request.tenant, weight: weight, now: now, limit: capacity)
        let hasStood = lanes.slab[lane].length > 0 && now - lanes.slab[lane].since > maxWait
        let expiry = min(request.deadline, now + (hasStood ? standingWait : maxWait))
        let place = occupy(request, now: now)
        enterLane(place, lane)
        expiries.set(place, to: Expiry(instant: expiry, sequence: sequence))
        turns.enter(priority)
        return .queued(handle: UInt32(place), expiry: expiry, evicted: evicted)
    }

    /// Takes a request out; `false` when it does not wait any more.
    package mutating func remove(_ handle: UInt32, waiter: UInt64) -> Bool {
        let place = Int(handle)
        guard waiter != 0, place < places.count, places[place].waiter == waiter else {
            return false
        }
        if places[place].lane == 0 {
            links.remove(place, from: &expired)
            expiredCount -= 1
        } else {
            leaveLane(place, isServed: false)
        }
        vacate(place)
        return true
    }

    /// Takes out a request whose time is up; 0 when there is none. Call in a loop.
    package mutating func popExpired(now: Instant) -> UInt64 {
        expire(now: now)
        return popFirstExpired()
    }

    /// Takes out the request that gets the next permit; 0 when there is none whose time is not up.
    package mutating func pop(now: Instant) -> UInt64 { popNext(now: now)?.waiter ?? 0 }

    /// The same, with where it has been.
    mutating func popNext(now: Instant) -> (waiter: UInt64, tried: TriedEndpoints)? {
        expire(now: now)
        guard let priority = turns.take() else { return nil }
        let lane = lanes.next(in: priority)
        let place = lanes.slab[lane].waiting.first
        guard place != 0 else { return nil }
        let next = (places[place].waiter, places[place].tried)
        leaveLane(place, isServed: true)
        vacate(place)
        return next
    }
}

// MARK: For the status page

extension AdmissionQueue {
    /// All that want an answer: what waits, and what has expired until `popExpired` takes it out.
    package var count: Int { turns.total + expiredCount }

    /// Requests of a class that wait; expired ones are not counted.
    package func count(ofClass priority: Int) -> Int { turns.count(of: priority) }

    /// Tenants that have requests waiting; one counts anew in each class.
    package var tenantsWaiting: Int { ranks.count }

    /// How long the first that came of all that wait has waited; zero when nobody does.
    package func oldestWait(now: Instant) -> Interval {
        guard !arrivals.isEmpty else { return .zero }
        return max(now - places[arrivals.first].arrival, .zero)
    }
}

// MARK: Inside

extension AdmissionQueue {
    /// Leaves as much room for expired requests as for live ones, whose places they must not take.
    private var capacity: Int { max(2 * maxLength, 1) }

    /// Who has to go for a request; 0 when it deserves a place less than anybody.
    ///
    /// Where its own tenant would be as long as the longest it is refused: to trade places between
    /// equals would help nobody.
    private func victim(for priority: Int, _ tenant: UInt64, weight: Int) -> Int {
        guard let last = ranks.first, last.key.priority >= priority else { return 0 }
        if last.key.priority == priority {
            let own = lanes.find(priority, tenant)
            let length = (own == 0 ? 0 : lanes.slab[own].length) + 1
            guard own != last.item, length * last.key.weight < last.key.length * weight else {
                return 0
            }
        }
        return lanes.slab[last.item].waiting.last
    }

    /// Sets aside what has expired: it wants an answer, but neither a permit nor room.
    private mutating func expire(now: Instant) {
        while let next = expiries.first, next.key.instant <= now {
            leaveLane(next.item, isServed: false)
            links.append(next.item, to: &expired)
            expiredCount += 1
        }
    }

    private mutating func popFirstExpired() -> UInt64 {
        let place = expired.first
        guard place != 0 else { return 0 }
        let waiter = places[place].waiter
        links.remove(place, from: &expired)
        expiredCount -= 1
        vacate(place)
        return waiter
    }

    private mutating func enterLane(_ place: Int, _ lane: Int) {
        places[place].lane = lane
        if places[place].isRetry {
            links.insert(place, after: lanes.slab[lane].lastRetry, in: &lanes.slab[lane].waiting)
            lanes.slab[lane].lastRetry = place
        } else {
            links.append(place, to: &lanes.slab[lane].waiting)
        }
        lanes.slab[lane].length += 1
        arrivalLinks.append(place, to: &arrivals)
        rank(lane)
    }

    private mutating func leaveLane(_ place: Int, isServed: Bool) {
        let lane = places[place].lane
        let priority = lanes.slab[lane].priority
        if lanes.slab[lane].lastRetry == place {
            lanes.slab[lane].lastRetry = links.slot(before: place)
        }
        links.remove(place, from: &lanes.slab[lane].waiting)
        lanes.slab[lane].length -= 1
        arrivalLinks.remove(place, from: &arrivals)
        expiries.remove(place)
        places[place].lane = 0
        turns.leave(priority)
        rank(lane)
        if isServed {
            lanes.settle(lane)
        } else if lanes.slab[lane].length == 0 {
            lanes.rest(lane)
        }
        if turns.count(of: priority) == 0 { lanes.closeAll(in: priority) }
    }

    private mutating func rank(_ lane: Int) {
        let line = lanes.slab[lane]
        guard line.length > 0 else { return ranks.remove(lane) }
        ranks.set(
            lane,
            to: Rank(
                priority: line.priority, length: line.length, weight: line.weight,
                newest: places[line.waiting.last].sequence))
    }

    private mutating func occupy(_ request: Request, now: Instant) -> Int {
        let place = free.popLast() ?? addPlace()
        sequence &+= 1
        places[place] = Place(
            waiter: request.waiter, sequence: sequence, arrival: now, isRetry: request.isRetry,
            tried: request.tried)
        return place
    }

    private mutating func vacate(_ place: Int) {
        places[place].waiter = 0
        free.append(place)
    }

    private mutating func addPlace() -> Int {
        places.append(Place())
        links.addSlot()
        arrivalLinks.addSlot()
        return places.count - 1
    }
}
