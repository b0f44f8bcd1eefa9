// Warnings: a configuration that works, but probably not as its author thinks.

import WeirTime

enum Lints {
    /// `configuration` has no errors, so that its lists and the places agree one to one.
    static func run(_ configuration: Configuration, _ report: Report) {
        warnUnused(configuration, report)
        warnTimeouts(configuration, report)
        warnCertificates(configuration, report)
        GovernorLints.run(configuration, report)
        RouteReachability.run(configuration.routes, report)
    }

    private static func warnUnused(_ configuration: Configuration, _ report: Report) {
        var used: [Places.Noun: Set<String>] = [:]
        for reference in report.places.references {
            used[reference.noun, default: []].insert(reference.name)
        }
        func warn(_ noun: Places.Noun, _ code: Diagnostic.Code, _ user: String) {
            for item in report.places.declared[noun] ?? []
            where used[noun]?.contains(item.name) != true {
                report.warning(
                    code, at: item.range, "no \(user) uses the \(noun.rawValue) '\(item.name)'")
            }
        }
        warn(.cluster, .unusedCluster, "route")
        warn(.retryPolicy, .unusedRetryPolicy, "route")
        // What a file assigns is not known here.
        if case .file = configuration.tenants?.assignments { return }
        warn(.plan, .unusedPlan, "tenant")
    }

    private static func warnCertificates(_ configuration: Configuration, _ report: Report) {
        guard let range = report.places.clientCertificate,
            configuration.listeners.allSatisfy({ $0.tls?.clientCA == nil })
        else { return }
        report.warning(
            .noEffect, at: range, "no listener asks clients for a certificate",
            help: "give a listener's 'tls' a 'client_ca'")
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
