// The lines of tenants inside each priority class, and whose turn it is among them.

import WeirTime

/// One tenant's line in one class.
struct Lane: Sendable {
    enum Membership: Sendable {
        case closed, fresh, old
    }

    var tenant: UInt64 = 0
    var priority = 0
    /// Dispatches a turn.
    var weight = 1
    /// Dispatches that are left of this turn; never zero between dispatches.
    var credit = 1
    var length = 0
    /// Retries first, then new work; each in order of arrival.
    var waiting = Chain()
    /// The last retry in `waiting`.
    var lastRetry = 0
    /// Since when it has not been empty.
    var since = Instant.distantPast
    fileprivate(set) var membership = Membership.closed
    /// Counts up from lane to lane as they get in line for their next turn.
    fileprivate var ticket: UInt64 = 0
}

/// All lanes, in a table that grows to its bound and is never copied.
///
/// The turns are those of FQ-CoDel (Høiland-Jørgensen et al., RFC 8290, 2018) over deficit round
/// robin (Shreedhar and Varghese, 1995), with requests of cost 1: a tenant that had nothing waiting
/// goes first for one quantum, then joins the round of the others at its end. A lane that was
/// served until it was empty stays in the round until its turn comes, or a tenant that sends one
/// request at a time would be new with each of them.
///
/// Unlike there, the fresh lanes may not go first for ever: a swarm of tenants with one request
/// each would starve the others. After `freshRun` dispatches in a row to fresh lanes, a lane of the
/// round that has been in line for longer than the first of them is next.
struct TenantLanes: Sendable {
    private struct Round: Sendable {
        var fresh = Chain()
        var old = Chain()
        /// Dispatches in a row to fresh lanes, `freshRun` at most.
        var run = 0
    }

    private static let freshRun = 8

    var slab = [Lane()]
    private var free: [Int] = []
    private var rounds = [Round](repeating: Round(), count: ClassTurns.classes)
    private var roundLinks = ChainLinks()
    private var lastTicket: UInt64 = 0
    /// Empty lanes that stay in a round, the longest idle first.
    private var idle = Chain()
    private var idleLinks = ChainLinks()
    /// By class and tenant, open addressing with linear probing; 0 is no lane.
    private var slots = [Int](repeating: 0, count: 16)

    /// The lane of a tenant; 0 when it has none.
    func find(_ priority: Int, _ tenant: UInt64) -> Int {
        var slot = home(priority, tenant)
        while case let lane = slots[slot], lane != 0 {
            if slab[lane].tenant == tenant, slab[lane].priority == priority { return lane }
            slot = (slot + 1) & (slots.count - 1)
        }
        return 0
    }

    /// The lane for a request that the caller adds to it, opened if need be.
    ///
    /// - Parameter limit: of lanes. Beyond it the one that has been idle longest is given up.
    mutating func enter(
        _ priority: Int, _ tenant: UInt64, weight: Int, now: Instant, limit: Int
    ) -> Int {
        var lane = find(priority, tenant)
        if lane == 0 {
            lane = open(priority, tenant, weight: weight, limit: limit)
            slab[lane].since = now
        } else if slab[lane].length == 0 {
            idleLinks.remove(lane, from: &idle)
            slab[lane].since = now
        }
        slab[lane].weight = weight
        slab[lane].credit = min(slab[lane].credit, weight)
        return lane
    }

    /// The lane whose turn it is; 0 when none has anything waiting.
    mutating func next(in priority: Int) -> Int {
        let fresh = rounds[priority].fresh.first
        if fresh != 0 {
            let isInTurn = slab[fresh].credit < slab[fresh].weight
            if isInTurn || rounds[priority].run < Self.freshRun { return fresh }
        }
        while case let old = rounds[priority].old.first, old != 0 {
            // Or a lane could have two turns while an equal one waits for its first.
            if fresh != 0, slab[old].ticket > slab[fresh].ticket { return fresh }
            if slab[old].length > 0 { return old }
            close(old)
        }
        return fresh
    }

    /// A request of the lane has got a permit; it is out of the lane already.
    mutating func settle(_ lane: Int) {
        let priority = slab[lane].priority
        let isFresh = slab[lane].membership == .fresh
        rounds[priority].run = isFresh ? min(rounds[priority].run + 1, Self.freshRun) : 0
        slab[lane].credit -= 1
        guard slab[lane].credit == 0 || slab[lane].length == 0 else { return }
        slab[lane].credit = slab[lane].weight
        joinRound(lane)
        if slab[lane].length == 0 { idleLinks.append(lane, to: &idle) }
    }

    /// The lane has become empty without a permit.
    mutating func rest(_ lane: Int) {
        if slab[lane].membership == .fresh {
            // Never served: the tenant is as new as before.
            if slab[lane].credit == slab[lane].weight { return close(lane) }
            slab[lane].credit = slab[lane].weight
            joinRound(lane)
        }
        idleLinks.append(lane, to: &idle)
    }

    /// Nobody of the class waits: no turn is owed, all tenants are new again.
    mutating func closeAll(in priority: Int) {
        while case let lane = rounds[priority].old.first, lane != 0 { close(lane) }
        rounds[priority].run = 0
    }

    private mutating func joinRound(_ lane: Int) {
        let priority = slab[lane].priority
        if slab[lane].membership == .fresh {
            roundLinks.remove(lane, from: &rounds[priority].fresh)
        } else {
            roundLinks.remove(lane, from: &rounds[priority].old)
        }
        slab[lane].membership = .old
        lastTicket &+= 1
        slab[lane].ticket = lastTicket
        roundLinks.append(lane, to: &rounds[priority].old)
    }
}

// MARK: The table

extension TenantLanes {
    private mutating func open(
        _ priority: Int, _ tenant: UInt64, weight: Int, limit: Int
    ) -> Int {
        if free.isEmpty, slab.count > limit, !idle.isEmpty { close(idle.first) }
        let lane = free.popLast() ?? addLane()
        slab[lane].tenant = tenant
        slab[lane].priority = priority
        slab[lane].weight = weight
        slab[lane].credit = weight
        slab[lane].membership = .fresh
        lastTicket &+= 1
        slab[lane].ticket = lastTicket
        roundLinks.append(lane, to: &rounds[priority].fresh)
        occupy(lane)
        return lane
    }

    /// Only an empty lane is closed.
    private mutating func close(_ lane: Int) {
        let priority = slab[lane].priority
        if slab[lane].membership == .fresh {
            roundLinks.remove(lane, from: &rounds[priority].fresh)
        } else {
            roundLinks.remove(lane, from: &rounds[priority].old)
            idleLinks.remove(lane, from: &idle)
        }
        slab[lane].membership = .closed
        vacate(lane)
        free.append(lane)
    }

    private mutating func addLane() -> Int {
        slab.append(Lane())
        roundLinks.addSlot()
        idleLinks.addSlot()
        if slab.count * 2 > slots.count {
            slots = [Int](repeating: 0, count: slots.count * 2)
            for lane in slab.indices where slab[lane].membership != .closed { occupy(lane) }
        }
        return slab.count - 1
    }

    /// Mixed as in SplitMix64 (Steele et al., 2014).
    private func home(_ priority: Int, _ tenant: UInt64) -> Int {
        var mixed = tenant &+ UInt64(truncatingIfNeeded: priority + 1) &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int(truncatingIfNeeded: mixed ^ (mixed >> 31)) & (slots.count - 1)
    }

    private mutating func occupy(_ lane: Int) {
        var slot = home(slab[lane].priority, slab[lane].tenant)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = lane
    }

    /// Moves up what had to be put behind the lane, so that the table needs no tombstones.
    private mutating func vacate(_ lane: Int) {
        let mask = slots.count - 1
        var hole = home(slab[lane].priority, slab[lane].tenant)
        while slots[hole] != lane { hole = (hole + 1) & mask }
        var slot = (hole + 1) & mask
        while case let other = slots[slot], other != 0 {
            let wanted = home(slab[other].priority, slab[other].tenant)
            if (slot - wanted) & mask >= (slot - hole) & mask {
                slots[hole] = other
                hole = slot
            }
            slot = (slot + 1) & mask
        }
        slots[hole] = 0
    }
}
