// A cluster in use: which endpoint the next attempt goes to, if one has room.

import WeirPolicy
import WeirTime

/// A cluster's pools, in the order of its endpoints, and the balancer over them.
final class Cluster {
    let plan: ClusterPlan
    let pools: [Pool]
    let governor: Borrowed<ClusterGovernor>
    private var balancer: Balancer
    /// How often another worker may take the last place of an endpoint just before this one.
    private static let races = 4

    /// What a search for a permit came to.
    enum Search {
        case found(Borrowed<Pool>)
        /// Requests wait already, or no permit is free.
        case full
        /// There is no endpoint at all, or none that may be used.
        case none
    }

    init(plan: ClusterPlan, pools table: PoolTable, chance: inout Chance) {
        self.plan = plan
        governor = Borrowed(plan.governor)
        pools = plan.endpoints.map { table.pool(cluster: plan, endpoint: $0) }
        balancer = plan.balancer.ahead(by: Int(chance.below(1 << 16)))
    }

    /// Takes a permit: the cluster's part, then that of the endpoint which the balancer prefers
    /// among those that have one. What is given back on the way may go to who waits.
    func search(_ exchange: Exchange) -> Search {
        if pools.isEmpty { return .none }
        let now = exchange.now
        return governor.use { governor in
            guard governor.isQueueEmpty, governor.take() else { return .full }
            let isPanicking = governor.isPanicking
            for _ in 0..<Self.races {
                guard let pool = pick(exchange, isPanicking) else { break }
                let isTaken = pool.use {
                    $0.governor.use { $0.acquire(now: now, isPanicking: isPanicking) }
                }
                if isTaken { return .found(pool) }
            }
            governor.cancel(now: now, verdicts: &exchange.proxy.verdicts)
            return pools.contains { $0.state.governor.isUsable } ? .full : .none
        }
    }

    private func pick(_ exchange: Exchange, _ isPanicking: Bool) -> Borrowed<Pool>? {
        let tried = exchange.tried
        let hash = plan.hashOn.flatMap { exchange.hash(on: $0) }
        if !tried.isEmpty {
            let other = pick(exchange, hash, isPanicking) { [pools] in tried.contains(pools[$0].id)
            }
            if let other { return other }
            // Where nobody else has room, rather the same endpoint again than none.
        }
        return pick(exchange, hash, isPanicking) { _ in false }
    }

    @inline(__always)
    private func pick(
        _ exchange: Exchange, _ hash: UInt64?, _ isPanicking: Bool, excluding: (Int) -> Bool
    ) -> Borrowed<Pool>? {
        let now = exchange.now
        let index = balancer.pick(
            chance: &exchange.proxy.chance, hash: hash,
            load: { pools[$0].governor.use { $0.requestsInFlight } },
            latency: { pools[$0].governor.use { $0.latency(now: now) } },
            scale: { pools[$0].governor.use { $0.weightScale(now: now) } },
            excluding: { index in
                excluding(index)
                    || !pools[index].governor.use { $0.hasRoom(isPanicking: isPanicking) }
            })
        return index.map { Borrowed(pools[$0]) }
    }
}
