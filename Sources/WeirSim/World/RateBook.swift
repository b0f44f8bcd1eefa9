// Rate limits and concurrency caps of the simulated tenants, through the real governors.

import WeirPolicy
import WeirTime

/// What the tenants' plans allow, and what each request has been charged.
struct RateBook {
    struct Denial {
        var reason: Refusal
        var retryAfter: Interval?
    }

    private let governor: RateGovernor?
    private let concurrency: TenantConcurrency?
    private let laws: [RateLaw?]
    private let plans: [SimPlan]
    private let assignments: [Int]
    /// By place of the request.
    private var charges: ContiguousArray<RateCharge> = []
    private var holds: ContiguousArray<TenantConcurrency.Hold?> = []

    init(_ settings: SimSettings, tenants: Int) {
        plans = settings.plans.isEmpty ? [SimPlan()] : settings.plans
        assignments = settings.assignments
        laws = plans.map { $0.rate?.law }
        governor =
            laws.contains { $0 != nil } ? RateGovernor(capacity: max(tenants * 2, 1024)) : nil
        concurrency = plans.contains { $0.concurrency < .max } ? TenantConcurrency() : nil
    }

    /// The key under which the queue and the buckets know a tenant.
    static func key(of tenant: Int) -> UInt64 {
        var mixer = Chance(seed: UInt64(tenant) &+ 0x7E4A)
        return mixer.next() | 1
    }

    private func plan(of tenant: Int) -> Int {
        let index = tenant < assignments.count ? assignments[tenant] : 0
        return index < plans.count ? index : 0
    }

    func weight(of tenant: Int) -> UInt16 { plans[plan(of: tenant)].weight }

    /// Makes room for as many requests.
    mutating func grow(to count: Int) {
        if governor != nil {
            let none = RateCharge(key: 1, law: Self.anyLaw, cost: 0)
            while charges.count < count { charges.append(none) }
        }
        if concurrency != nil { while holds.count < count { holds.append(nil) } }
    }

    private static let anyLaw = RateLimit(count: 1, period: .seconds(1), burst: 1).law

    /// Charges a request, once; a denial leaves nothing behind.
    mutating func begin(_ slot: Int, tenant: Int, now: Instant) -> Denial? {
        guard governor != nil || concurrency != nil else { return nil }
        let plan = plan(of: tenant)
        let key = Self.key(of: tenant)
        if let governor, let law = laws[plan] {
            charges[slot] = RateCharge(key: key, law: law)
            let verdict = charges.withUnsafeMutableBufferPointer {
                governor.charge(
                    UnsafeMutableBufferPointer(rebasing: $0[slot...slot]), now: now)
            }
            guard verdict.isAdmitted else {
                return Denial(reason: .rateLimited, retryAfter: verdict.retryAfter)
            }
        }
        let limit = plans[plan].concurrency
        if let concurrency, limit < .max {
            guard let hold = concurrency.acquire(key, limit: limit) else {
                refund(slot)
                return Denial(reason: .tenantConcurrency, retryAfter: nil)
            }
            holds[slot] = hold
        }
        return nil
    }

    /// A request has ended.
    ///
    /// - Parameter refunds: it got no attempt.
    mutating func end(_ slot: Int, refunds: Bool) {
        if refunds { refund(slot) }
        if governor != nil {
            charges[slot] = RateCharge(key: 1, law: Self.anyLaw, cost: 0)
        }
        if let concurrency, let hold = holds[slot] {
            holds[slot] = nil
            concurrency.release(hold)
        }
    }

    private mutating func refund(_ slot: Int) {
        guard let governor, charges[slot].isCharged else { return }
        charges.withUnsafeMutableBufferPointer {
            governor.refund(UnsafeMutableBufferPointer(rebasing: $0[slot...slot]))
        }
    }
}
