// What the governors' state is, for the metrics.

/// One endpoint as its governor sees it.
package struct EndpointGauges: Sendable {
    package var address = ""
    /// `available`, `ejected` and so on.
    package var state = ""
    package var inFlight = 0
    /// Requests that it may work on at once; `nil` is no limit.
    package var limit: Int?
    /// The limit that shadow mode has found, and the requests sent beyond one; `nil` where there
    /// is none.
    package var shadow: (limit: Int, exceeded: Int)?
    /// Health checks in shadow mode would have taken it out.
    package var wouldBeUnhealthy = false

    package init() {}
}

/// One cluster as its governors see it.
package struct ClusterGauges: Sendable {
    package var name = ""
    package var endpoints: [EndpointGauges] = []
    /// Requests that wait, by the name of their class.
    package var waiting: [(priority: String, count: Int)] = []
    package var isPanicking = false
    /// Ejections so far, by reason; those that shadow mode would have made apart.
    package var ejections: [(reason: String, isShadow: Bool, count: Int)] = []
    /// `closed`, `open` or `half_open`; `nil` where there is no breaker.
    package var breaker: String?

    package init() {}
}

/// The governors' part of `GET /metrics`.
package struct GovernorGauges: Sendable {
    package var clusters: [ClusterGauges] = []
    /// The state of each route's own breaker: `closed`, `open` or `half_open`.
    package var routeBreakers: [(route: String, state: String)] = []
    /// Requests that had to share a bucket since the table was full of busy ones.
    package var sharedCharges: UInt64 = 0

    package init() {}

    func write(to out: inout Exposition) {
        writeQueues(&out)
        writeEndpoints(&out)
        writeShadowLimits(&out)
        writeEjections(&out)
        writeBreakers(&out)
        out.family(
            "weir_rate_shared_charges_total", .counter,
            "Requests that shared a bucket since the table of buckets was full of busy ones.")
        out.sample("weir_rate_shared_charges_total", [:], sharedCharges)
    }

    private func writeQueues(_ out: inout Exposition) {
        out.family(
            "weir_queue_length", .gauge,
            "Requests that wait for a permit, by cluster and priority class.")
        for cluster in clusters {
            for (priority, count) in cluster.waiting {
                out.sample(
                    "weir_queue_length", ["cluster": cluster.name, "priority": priority],
                    UInt64(clamping: count))
            }
        }
        out.family("weir_panic", .gauge, "1 while too few endpoints are available to be choosy.")
        for cluster in clusters {
            out.sample("weir_panic", ["cluster": cluster.name], cluster.isPanicking ? 1 : 0)
        }
    }

    private func writeEndpoints(_ out: inout Exposition) {
        out.family("weir_endpoint_state", .gauge, "1 for the state that an endpoint is in.")
        for cluster in clusters {
            for endpoint in cluster.endpoints {
                out.sample(
                    "weir_endpoint_state",
                    [
                        "cluster": cluster.name, "endpoint": endpoint.address,
                        "state": endpoint.state,
                    ], 1)
            }
        }
        write(
            "weir_endpoint_would_be_unhealthy", .gauge,
            "1 for an endpoint that health checks in shadow mode would have taken out.", &out
        ) { $0.wouldBeUnhealthy ? 1 : nil }
        write(
            "weir_endpoint_in_flight", .gauge, "Requests that an endpoint works on.", &out
        ) { $0.inFlight }
        write(
            "weir_endpoint_limit", .gauge,
            "Requests that an endpoint may work on at once, where that is limited.", &out
        ) { $0.limit }
    }

    private func writeShadowLimits(_ out: inout Exposition) {
        write(
            "weir_endpoint_shadow_limit", .gauge,
            "The limit that an endpoint would have, were concurrency not in shadow mode.", &out
        ) { $0.shadow?.limit }
        write(
            "weir_endpoint_would_exceed_total", .counter,
            "Requests sent to an endpoint beyond the limit that shadow mode has found.", &out
        ) { $0.shadow?.exceeded }
    }

    /// A family with a sample of each endpoint that has a value.
    private func write(
        _ name: String, _ kind: Exposition.Kind, _ help: String, _ out: inout Exposition,
        value: (EndpointGauges) -> Int?
    ) {
        out.family(name, kind, help)
        for cluster in clusters {
            for endpoint in cluster.endpoints {
                guard let value = value(endpoint) else { continue }
                out.sample(
                    name, ["cluster": cluster.name, "endpoint": endpoint.address],
                    UInt64(clamping: value))
            }
        }
    }

    private func writeEjections(_ out: inout Exposition) {
        out.family(
            "weir_ejections_total", .counter,
            "Endpoints put out of balancing, by cluster, reason and mode.")
        for cluster in clusters {
            for (reason, isShadow, count) in cluster.ejections {
                out.sample(
                    "weir_ejections_total",
                    [
                        "cluster": cluster.name, "reason": reason,
                        "mode": isShadow ? "shadow" : "enforce",
                    ], UInt64(clamping: count))
            }
        }
    }

    private func writeBreakers(_ out: inout Exposition) {
        out.family("weir_breaker_state", .gauge, "1 for the state that a cluster's breaker is in.")
        for cluster in clusters {
            guard let breaker = cluster.breaker else { continue }
            out.sample("weir_breaker_state", ["cluster": cluster.name, "state": breaker], 1)
        }
        out.family(
            "weir_route_breaker_state", .gauge, "1 for the state that a route's breaker is in.")
        for (route, state) in routeBreakers {
            out.sample("weir_route_breaker_state", ["route": route, "state": state], 1)
        }
    }
}
