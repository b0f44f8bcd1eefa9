// A cluster in use: which endpoint the next attempt goes to.

import WeirPolicy
import WeirTime

/// One generation of a cluster on one worker.
final class Cluster {
    let plan: ClusterPlan
    let pools: [Pool]
    private var balancer: Balancer

    init(plan: ClusterPlan, pools table: PoolTable, chance: inout Chance) {
        self.plan = plan
        pools = plan.endpoints.map { table.pool(cluster: plan, endpoint: $0) }
        balancer = Balancer(
            kind: plan.kind, weights: plan.endpoints.map(\.weight),
            offset: Int(chance.below(1 << 16)))
    }

    /// The pool of the endpoint that gets the next attempt; `nil` when there is no endpoint.
    func pick(_ chance: inout Chance) -> Pool? {
        let index = balancer.pick(
            chance: &chance, load: { pools[$0].state.requestsInFlight }, excluding: { _ in false })
        return index.map { pools[$0] }
    }
}
