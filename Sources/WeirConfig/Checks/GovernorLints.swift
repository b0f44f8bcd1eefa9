// Governors that contradict each other, or that can never act.

import WeirPolicy
import WeirTime

enum GovernorLints {
    static func run(_ configuration: Configuration, _ report: Report) {
        warnPriorityHeader(configuration, report)
        warnZones(configuration, report)
        checkRetries(configuration, report)
    }

    private static func warnPriorityHeader(_ configuration: Configuration, _ report: Report) {
        guard let range = report.places.priorityHeader,
            configuration.listeners.allSatisfy({ $0.trustedProxies.isEmpty })
        else { return }
        report.warning(
            .noEffect, at: range, "'request_header' is never believed",
            help: "it is read from 'trusted_proxies' only, and no listener has any")
    }

    private static func warnZones(_ configuration: Configuration, _ report: Report) {
        guard configuration.runtime.zone == nil else { return }
        for place in report.places.zones {
            report.warning(
                .noEffect, at: place.range, "'zone' has no effect without the zone of 'runtime'",
                help: "say where weir runs: runtime: { zone: ... }")
        }
    }

    private static func checkRetries(_ configuration: Configuration, _ report: Report) {
        let policies = Dictionary(
            configuration.retryPolicies.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
        let clusters = Dictionary(
            configuration.clusters.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
        // By cluster: whose budget holds.
        var holders: [String: (policy: RetryPolicy, range: SourceRange)] = [:]
        for (route, place) in zip(configuration.routes, report.places.routes) {
            guard case .forward(let cluster) = route.action, let name = route.retry,
                let policy = policies[name], let range = place.retry
            else { continue }
            checkPlan(policy, route, place, report)
            if let ceilings = clusters[cluster]?.ceilings, ceilings.mode == .enforce,
                ceilings.maxRetries == 0
            {
                report.warning(
                    .noEffect, at: range,
                    "'retry' has no effect: cluster '\(cluster)' has max_retries 0")
            }
            guard let holder = holders[cluster] else {
                holders[cluster] = (policy, range)
                continue
            }
            if holder.policy.budget != policy.budget {
                report.warning(
                    .noEffect, at: range,
                    "the budget of retry policy '\(name)' has no effect for cluster '\(cluster)'",
                    help: "a cluster has one budget; give both policies the same",
                    related: Diagnostic.Related(
                        range: holder.range,
                        label: "the budget of '\(holder.policy.name)' holds"))
            }
        }
    }

    /// All tries, and the waits between them, should fit into the route's timeout.
    private static func checkPlan(
        _ policy: RetryPolicy, _ route: Route, _ place: Places.RoutePlace, _ report: Report
    ) {
        guard let timeout = route.timeout, let range = place.timeout ?? place.retry else { return }
        let limit = "the route's timeout (\(Quantity.text(timeout)))"
        let declared = report.places.declared[.retryPolicy]?.first { $0.name == policy.name }
        let related = declared.map { Diagnostic.Related(range: $0.range, label: "its policy") }
        if let perTry = policy.perTryTimeout, perTry >= timeout {
            report.error(
                .retryPlan, at: range,
                "\(limit) is no longer than the per_try_timeout of retry policy '\(policy.name)' "
                    + "(\(Quantity.text(perTry)))",
                help: "a try that fails by its time leaves none for another", related: related)
        } else if let plan = policy.longestPlan, plan > timeout {
            report.warning(
                .retryPlan, at: range,
                "\(limit) is shorter than all tries of retry policy '\(policy.name)' can take "
                    + "(\(Quantity.text(plan)))",
                help: "\(policy.attempts + 1) tries of "
                    + "\(Quantity.text(policy.perTryTimeout ?? .zero)) and the waits between them",
                related: related)
        } else if policy.perTryTimeout == nil, policy.backoff(0) >= timeout {
            report.warning(
                .retryPlan, at: range,
                "\(limit) may end before the first retry of policy '\(policy.name)', which waits "
                    + "up to \(Quantity.text(policy.backoff(0)))",
                help: "give a shorter 'backoff', or a longer timeout", related: related)
        }
    }
}
