// The settings that the named scenarios are told with: every governor on, no limit set by hand.

import WeirPolicy
import WeirTime

extension SimSettings {
    /// One cluster with all governors, and one route a class.
    package static func governed(endpoints count: Int) -> SimSettings {
        var cluster = SimCluster(endpoints: count)
        cluster.ceilings.hasQueue = true
        cluster.concurrency.mode = .enforce
        cluster.outlier.mode = .enforce
        cluster.balancer.kind = .leastRequest
        let routes = (0..<3).map { priority in
            var route = SimRoute()
            route.name = ["critical", "default", "sheddable"][priority]
            route.priority = UInt8(priority)
            route.retry = .usual
            return route
        }
        return SimSettings(clusters: [cluster], routes: routes)
    }

    /// The same without any governor: what a plain proxy does.
    package static func plain(endpoints count: Int) -> SimSettings {
        var settings = governed(endpoints: count)
        settings.clusters[0].ceilings.hasQueue = false
        settings.clusters[0].concurrency.mode = .off
        settings.clusters[0].outlier.mode = .off
        settings.clusters[0].balancer.kind = .roundRobin
        for index in settings.routes.indices { settings.routes[index].retry = nil }
        return settings
    }
}

extension RetryRules {
    /// Retries of what proxies usually retry.
    static var usual: RetryRules {
        var rules = RetryRules()
        rules.conditions = [
            .connectFailure, .refusedStream, .resetBeforeResponse, .gatewayError,
        ]
        rules.methods = 1
        return rules
    }
}
