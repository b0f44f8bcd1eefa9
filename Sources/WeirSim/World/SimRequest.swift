// A request in the simulated weir: what `Exchange` and `Ticket` hold in the real one.

import WeirPolicy
import WeirTime

/// Where a request is. It is in one place only, and leaves each by one way only.
enum RequestPhase: UInt8 {
    /// Nobody's: the place in the slab is free.
    case free
    /// Refused or failed, and its client will try again.
    case away
    case queued
    /// The queue has decided, and the verdict is on its way.
    case called
    case backoff
    case underWay
}

extension TriedEndpoints {
    /// By an endpoint's place among all, as the simulation counts; their numbers begin with 1.
    mutating func insert(_ endpoint: Int) { insert(UInt32(endpoint + 1)) }

    func contains(_ endpoint: Int) -> Bool { contains(UInt32(endpoint + 1)) }
}

struct SimRequest {
    var phase = RequestPhase.free
    /// Counts the uses of this place in the slab.
    var use: UInt32 = 0
    /// Counts what the request goes through: a timer of an earlier step guards nothing.
    var step: UInt32 = 0
    /// The number of its arrival.
    var serial: UInt64 = 0
    var stream: Int32 = 0
    var route: Int32 = 0
    var cluster: Int32 = 0
    var tenant: Int32 = 0
    var user: Int32 = -1
    var priority: UInt8 = 0
    /// Tries of the client before this one.
    var tries: UInt8 = 0
    /// Attempts at endpoints.
    var attempts: UInt8 = 0
    var holdsRetry = false
    var hasUsedFreeRetry = false
    /// The retry that it holds has cost a share of the budget that may still be given back.
    var hasPaidRetry = false
    var isCharged = false
    /// Its attempt is the only one of an endpoint on probation, for the so manieth time; or 0.
    var trial: UInt32 = 0
    /// When the client's first try began, and this one.
    var wishedAt: Int64 = 0
    var arrivedAt: Int64 = 0
    /// When weir gives up.
    var dueAt: Int64 = .max
    /// What the client has said of its own patience.
    var deadline: Int64 = .max
    var paidRetryAt: Int64 = 0

    // In the queue.
    var waiter: UInt64 = 0
    var handle: UInt32 = 0
    var enteredAt: Int64 = 0
    var expiry: Int64 = 0

    // Under way, or called.
    var endpoint: Int32 = -1
    var startedAt: Int64 = 0
    var calledRefusal = Refusal.queueTimeout
    /// What the endpoint will answer.
    var answer = AttemptOutcome.success
    var tried = TriedEndpoints()
    var breaker: Breaker.Verdict?
}

/// Names a request's step, or a whole use of its place, in an event.
struct Subject {
    let slot: Int
    let count: UInt32

    @inline(__always)
    init(_ word: UInt64) {
        slot = Int(word >> 32)
        count = UInt32(truncatingIfNeeded: word)
    }

    @inline(__always)
    static func word(_ slot: Int, _ count: UInt32) -> UInt64 {
        UInt64(slot) << 32 | UInt64(count)
    }
}
