// The decisions of one request, in the proxy's order, without a proxy around them.

import WeirPolicy
import WeirTime

/// What is the tenants': shared by threads that see the same ones.
final class TenantSide: Sendable {
    let rates: RateGovernor
    let places = TenantConcurrency()
    let law = RateLimit(count: 10_000_000, period: .seconds(1), burst: 1_000_000).law

    init(tenants: Int) { rates = RateGovernor(capacity: max(4 * tenants, 16_384)) }
}

/// What is the cluster's: shared by threads that send to the same one.
final class ClusterSide: Sendable {
    let governor: ClusterGovernor
    let endpoints: [EndpointGovernor]
    let breaker: Breaker

    init() {
        endpoints = (1...4).map { EndpointGovernor(id: $0) }
        var settings = BreakerSettings()
        settings.mode = .enforce
        breaker = Breaker(settings)
        var ceilings = ClusterSettings()
        ceilings.maxRequests = 4000
        governor = ClusterGovernor(
            settings: ceilings, queue: QueueSettings(),
            budget: RetryBudget(RetryBudgetSettings()))
        governor.update(settings: ceilings, queue: QueueSettings(), endpoints: endpoints)
    }
}

/// One thread's work.
struct Pipeline {
    let tenants: TenantSide
    let cluster: ClusterSide
    let names: [[UInt8]]
    private var balancer: Balancer
    private var chance: Chance
    private var verdicts: [WaitVerdict] = []
    private let seed = KeySeed(1, 2)

    init(_ tenants: TenantSide, _ cluster: ClusterSide, names: [[UInt8]], thread: UInt64) {
        self.tenants = tenants
        self.cluster = cluster
        self.names = names
        chance = Chance(seed: thread)
        balancer = Balancer(
            settings: BalancerSettings(kind: .leastRequest),
            endpoints: (0..<4).map { BalancedEndpoint(key: UInt64($0) &+ 1) })
    }

    /// Identifies a tenant, charges three limits, takes and returns places at the tenant, the
    /// cluster and an endpoint, asks and tells two breakers. `false` where anything refused.
    @inline(__always)
    mutating func decide(
        _ number: Int, now: Instant, charges: UnsafeMutableBufferPointer<RateCharge>
    ) -> Bool {
        var hasher = KeyHasher(seed: seed)
        names[number % names.count].withUnsafeBytes { hasher.update($0) }
        let tenant = hasher.finish()
        charges[0] = RateCharge(key: tenant, law: tenants.law)
        charges[1] = RateCharge(key: KeyHasher.key(tenant, rule: 7), law: tenants.law)
        charges[2] = RateCharge(key: 3, law: tenants.law)
        guard tenants.rates.charge(charges, now: now).isAdmitted else { return false }
        let asked = cluster.breaker.ask(now: now)
        let askedAgain = cluster.breaker.ask(now: now)
        guard let hold = tenants.places.acquire(tenant, limit: 1000) else { return false }
        cluster.governor.retryBudget.deposit(now: now)
        guard cluster.governor.isQueueEmpty, cluster.governor.take() else { return false }
        let endpoints = cluster.endpoints
        let picked = balancer.pick(
            chance: &chance, hash: nil, load: { endpoints[$0].requestsInFlight },
            latency: { _ in 0 }, scale: { endpoints[$0].weightScale(now: now) },
            excluding: { !endpoints[$0].hasRoom(isPanicking: false) })
        guard let picked, endpoints[picked].acquire(now: now, isPanicking: false) else {
            return false
        }
        var permit = Permit(cluster: cluster.governor, endpoint: endpoints[picked], startedAt: now)
        permit.answered(.success, now: now + .milliseconds(10))
        permit.settle(.success, now: now + .milliseconds(10), verdicts: &verdicts)
        cluster.breaker.settle(asked, isFailure: false, now: now)
        cluster.breaker.settle(askedAgain, isFailure: false, now: now)
        tenants.places.release(hold)
        return verdicts.isEmpty
    }
}
