// What one request holds of the governors, and what they have decided about it.

import WeirPolicy
import WeirTime

/// One request's account: whatever is taken for it is written here, and given back or kept exactly
/// once when it ends.
struct Ticket {
    /// The class; 0 is the best.
    var priority: UInt8 = 0
    /// The tenant's key; 0 where tenants are not told apart.
    var tenant: UInt64 = 0
    /// The tenant's plan, by its place; -1 for none.
    var plan = -1
    /// What that plan allows.
    var allowance = Allowance()
    /// What the client has given as its own deadline.
    var deadline = Instant.distantFuture
    /// The exchange's charges are to be kept or given back.
    var isCharged = false
    /// One of the requests that the tenant may have under way.
    var hold: TenantConcurrency.Hold?
    /// What is left of the budget nearest to its end, for the answer's fields.
    var quota: RateQuota?
    /// After which time a refused request would be let through.
    var retryAfter: Interval?
    /// What the route's and the cluster's breakers have said, until they are told what came of it.
    var breakers: [2 of Breaker.Verdict?] = [nil, nil]
    /// One of them has given a place of those that it probes with.
    var holdsProbe = false
    /// The number under which the exchange waits, and its handle in the queue.
    var place: (waiter: UInt64, handle: UInt32) = (0, 0)
    /// Attempts that proxies before this one have made.
    var attemptsBefore = 0
    /// Places of the cluster's that the attempt holds beside its permit.
    var places: AttemptPlaces = []
    /// When the cluster's budget was charged for a retry that has not been sent yet.
    var retryPaidAt = Instant.distantPast
    /// A retry that needed no budget has been made.
    var hasUsedFreeRetry = false
    /// The request has been counted towards its cluster's retry budget.
    var isDeposited = false
}

/// Places beside a permit that an attempt may hold until it ends.
struct AttemptPlaces: OptionSet {
    let rawValue: UInt8
    /// One of the cluster's `max_retries`.
    static let retry = AttemptPlaces(rawValue: 1)
    /// One of them where they are a shadow.
    static let retryInShadow = AttemptPlaces(rawValue: 2)
    /// What a retry holds, as does the attempt that takes its place.
    static let ofRetries: AttemptPlaces = [.retry, .retryInShadow]
    /// One under the cluster's limits in shadow mode.
    static let requestInShadow = AttemptPlaces(rawValue: 4)
}

/// What is left of a budget.
struct RateQuota {
    /// Tokens of a full bucket.
    var limit: Int64
    var remaining: Int64
    var untilFull: Interval
}

/// What a request is charged, of all limits that it falls under. The memory is kept from one
/// request to the next.
struct ChargeList {
    /// Limits that one request may fall under: its tenant's, its route's and the global ones. The
    /// configuration's checks keep to it.
    static let capacity = 24

    private let memory = UnsafeMutableBufferPointer<RateCharge>.allocate(capacity: capacity)
    private var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func removeAll() { count = 0 }

    mutating func append(_ charge: RateCharge) {
        guard count < Self.capacity else { return }
        memory.initializeElement(at: count, to: charge)
        count += 1
    }

    subscript(index: Int) -> RateCharge { memory[index] }

    func withCharges<Result>(
        _ body: (UnsafeMutableBufferPointer<RateCharge>) -> Result
    ) -> Result {
        body(UnsafeMutableBufferPointer(rebasing: memory[..<count]))
    }

    func release() { memory.deallocate() }
}
