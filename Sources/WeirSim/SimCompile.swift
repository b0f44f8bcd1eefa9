// A checked configuration becomes the settings of a simulation.

package import WeirConfig
import WeirPolicy
import WeirTime

extension SimSettings {
    /// The governors of the cluster that the first forwarding route leads to, or of the one that is
    /// named, with all routes that lead there; `nil` where there is none.
    ///
    /// Not simulated: rate limits of routes and of all traffic, breakers of routes, hedging, health
    /// checks and connections. Simulated tenants have the plans in turn, the default one first.
    ///
    /// - Parameter discovered: how many endpoints a name is taken to resolve to.
    package init?(
        _ configuration: Configuration, cluster name: String? = nil, discovered: Int = 3
    ) {
        let forwarding = configuration.routes.compactMap { route -> (Route, String)? in
            guard case .forward(let cluster) = route.action else { return nil }
            return (route, cluster)
        }
        guard let chosen = name ?? forwarding.first?.1,
            let cluster = configuration.clusters.first(where: { $0.name == chosen })
        else { return nil }
        let routes = forwarding.filter { $0.1 == chosen }.map { configuration.simulated($0.0) }
        guard !routes.isEmpty else { return nil }
        self.init(
            clusters: [configuration.simulated(cluster, discovered: discovered)], routes: routes)
        classes = configuration.priorities.classes.map(\.name)
        guard let tenants = configuration.tenants, tenants.mode == .enforce else { return }
        let first = tenants.plans.filter { $0.name == tenants.defaultPlan }
        let others = tenants.plans.filter { $0.name != tenants.defaultPlan }
        plans = (first + others).map(\.simulated)
        if plans.isEmpty { plans = [SimPlan()] }
        assignments = (0..<1024).map { $0 % plans.count }
    }
}

extension Configuration {
    fileprivate func simulated(_ cluster: Cluster, discovered: Int) -> SimCluster {
        var result = SimCluster(endpoints: discovered)
        result.name = cluster.name
        if case .endpoints(let list) = cluster.source {
            result.endpoints = list.map { endpoint in
                BalancedEndpoint(
                    weight: endpoint.weight, priority: endpoint.priority,
                    isLocalZone: isLocal(endpoint.zone),
                    key: StableHash(endpoint.address.text.utf8).value)
            }
        }
        let ceilings = cluster.ceilings
        result.ceilings.maxRequests = ceilings.maxRequests ?? .max
        result.ceilings.maxConnections = ceilings.maxConnections ?? .max
        result.ceilings.maxRetries = ceilings.maxRetries ?? .max
        result.ceilings.hasQueue = cluster.queue != nil
        result.queue = cluster.queue ?? QueueSettings()
        result.queue.maxLength = min(
            result.queue.maxLength, ceilings.maxPendingRequests ?? .max)
        result.queue.minimumShares = priorities.classes.map(\.minShare)
        result.concurrency = cluster.concurrency
        result.outlier = cluster.outlier
        result.retryBudget = retryBudget(ofCluster: cluster.name)
        result.balancer = BalancerSettings(
            kind: Balancer.Kind(rawValue: cluster.balancing.kind.rawValue) ?? .roundRobin,
            boundedLoad: cluster.balancing.boundedLoad)
        result.breaker = cluster.breaker?.settings ?? BreakerSettings()
        result.slowStart = cluster.slowStart ?? .zero
        return result
    }

    /// An endpoint without a zone is as near as any; so is every one where weir has none.
    private func isLocal(_ zone: String?) -> Bool {
        guard let own = runtime.zone, let zone else { return true }
        return own == zone
    }

    fileprivate func simulated(_ route: Route) -> SimRoute {
        var result = SimRoute()
        result.name = route.name
        result.timeout = route.timeout ?? .max
        let place = priorities.index(of: route.priority ?? priorities.defaultClass)
        result.priority = UInt8(clamping: place ?? 0)
        result.retry = retryPolicies.first { $0.name == route.retry }?.simulated
        return result
    }
}

extension RetryPolicy {
    fileprivate var simulated: RetryRules {
        var rules = RetryRules()
        rules.conditions = conditions
        rules.statuses = statuses
        rules.attempts = attempts
        rules.perTryTimeout = perTryTimeout ?? .max
        rules.backoffBase = backoffBase
        rules.backoffMax = backoffMax
        rules.hasJitter = hasJitter
        // What simulated clients may send twice is a GET.
        rules.methods = methods.contains("GET") ? 1 : 0
        return rules
    }
}

extension TenantPlan {
    fileprivate var simulated: SimPlan {
        var plan = SimPlan()
        plan.name = name
        plan.weight = UInt16(clamping: weight)
        plan.rate = rate
        plan.concurrency = concurrency ?? .max
        return plan
    }
}
