// What the simulated weir is configured to do: the part of a configuration that decides.

package import WeirPolicy
package import WeirTime

/// One cluster and its governors.
package struct SimCluster: Equatable, Sendable {
    package var name = "cluster"
    package var endpoints: [BalancedEndpoint]
    package var ceilings = ClusterSettings()
    package var queue = QueueSettings()
    package var concurrency = ConcurrencySettings()
    package var outlier = OutlierSettings()
    package var retryBudget = RetryBudgetSettings()
    package var balancer = BalancerSettings()
    package var breaker = BreakerSettings()
    package var slowStart = Interval.zero

    package init(endpoints count: Int) {
        endpoints = (0..<max(count, 0)).map {
            BalancedEndpoint(key: UInt64($0 + 1) &* 0x9E37_79B9_7F4A_7C15)
        }
    }
}

/// One route's rules.
package struct SimRoute: Equatable, Sendable {
    package var name = "route"
    package var cluster = 0
    /// The class, 0 the best.
    package var priority: UInt8 = 1
    package var timeout = Interval.seconds(15)
    package var retry: RetryRules?

    package init() {}
}

/// What a tenant may do.
package struct SimPlan: Equatable, Sendable {
    package var name = "plan"
    package var weight: UInt16 = 1
    package var rate: RateLimit?
    /// Requests under way at most.
    package var concurrency = Int.max

    package init() {}
}

/// A configuration in the simulator's eyes.
package struct SimSettings: Equatable, Sendable {
    /// Names of classes, the best first.
    package var classes = ["critical", "default", "sheddable"]
    package var clusters: [SimCluster]
    package var routes: [SimRoute]
    package var plans = [SimPlan()]
    /// By tenant, an index into `plans`; tenants beyond it have the first plan.
    package var assignments: [Int] = []
    /// How often the control thread ticks.
    package var controlInterval = Interval.milliseconds(100)
    /// How long a verdict takes to the worker that holds the request.
    package var verdictDelay = Interval.zero

    package init(clusters: [SimCluster], routes: [SimRoute]) {
        self.clusters = clusters
        self.routes = routes
    }

    func plan(of tenant: Int) -> SimPlan {
        let index = tenant < assignments.count ? assignments[tenant] : 0
        return index < plans.count ? plans[index] : SimPlan()
    }
}
