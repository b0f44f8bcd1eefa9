// Warnings: a configuration that works, but probably not as its author thinks.

import WeirTime

enum Lints {
    /// `configuration` has no errors, so that its lists and the places agree one to one.
    static func run(_ configuration: Configuration, _ report: Report) {
        warnUnused(report)
        warnTimeouts(configuration, report)
        RouteReachability.run(configuration.routes, report)
    }

    private static func warnUnused(_ report: Report) {
        let used = Set(report.places.references.map(\.name))
        for cluster in report.places.clusters where !used.contains(cluster.name) {
            report.warning(
                .unusedCluster, at: cluster.range, "no route uses the cluster '\(cluster.name)'")
        }
    }

    private static func warnTimeouts(_ configuration: Configuration, _ report: Report) {
        let connect = Dictionary(
            configuration.clusters.map { ($0.name, $0.connectTimeout) },
            uniquingKeysWith: { a, _ in a })
        for (route, place) in zip(configuration.routes, report.places.routes) {
            guard case .forward(let cluster) = route.action, let limit = connect[cluster],
                let timeout = route.timeout, limit >= timeout
            else { continue }
            report.warning(
                .timeoutOrder, at: place.timeout ?? place.range,
                "the route's timeout (\(Quantity.text(timeout))) leaves no time after the "
                    + "connect_timeout of cluster '\(cluster)' (\(Quantity.text(limit)))",
                help: "a connect_timeout well below the route's timeout leaves time for an answer")
        }
    }
}
