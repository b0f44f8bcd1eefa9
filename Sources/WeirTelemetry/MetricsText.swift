// Every metric that /metrics shows, in the order in which docs/metrics.md explains them.

/// What the server knows and no counter holds.
package struct ServerGauges: Sendable {
    package var version = ""
    package var generation: UInt64 = 0
    package var reloadsSucceeded: UInt64 = 0
    package var reloadsRefused: UInt64 = 0
    package var wasLastReloadSuccessful = true
    /// When the configuration in use came into use.
    package var lastReloadSuccessUnixNanoseconds: Int64 = 0
    package var logWriteFailures: UInt64 = 0
    package var certificates: [Certificate] = []
    package var governors = GovernorGauges()

    package init() {}

    /// A certificate in use.
    package struct Certificate: Sendable {
        /// `listener` or `cluster`, and its name.
        package var owner: (kind: String, name: String)
        /// The first name that it is for.
        package var name: String
        /// The kind of its key, such as `ecdsa`.
        package var key: String
        /// Unix seconds.
        package var expiry: Int64
        /// When the OCSP response that is stapled to it does, in Unix seconds; `nil` where there is
        /// none, or it does not say.
        package var responseExpiry: Int64?

        package init(
            owner: (kind: String, name: String), name: String, key: String, expiry: Int64,
            responseExpiry: Int64?
        ) {
            self.owner = owner
            self.name = name
            self.key = key
            self.expiry = expiry
            self.responseExpiry = responseExpiry
        }

        fileprivate var labels: KeyValuePairs<String, String> {
            ["owner": owner.kind, "name": owner.name, "certificate": name, "key": key]
        }
    }
}

/// Builds the answer to `GET /metrics`.
package enum MetricsText {
    /// The text for `totals` and what the server and the kernel say.
    package static func build(
        _ totals: CounterTotals, _ gauges: ServerGauges, _ usage: ProcessUsage
    ) -> [UInt8] {
        var out = Exposition()
        writeRequests(totals, &out)
        writeDurations(totals, &out)
        writeRefusals(totals, &out)
        writeShadows(totals, &out)
        writeDownstream(totals, &out)
        writeTLS(totals, gauges, &out)
        writeUpstreamRequests(totals, &out)
        writeUpstreamConnections(totals, &out)
        gauges.governors.write(to: &out)
        writeLog(totals, gauges, &out)
        writeConfiguration(gauges, &out)
        writeProcess(usage, &out)
        return out.bytes
    }

    private static func writeRequests(_ totals: CounterTotals, _ out: inout Exposition) {
        let classes: [(RouteCounter, String)] = [
            (.responses1xx, "1xx"), (.responses2xx, "2xx"), (.responses3xx, "3xx"),
            (.responses4xx, "4xx"), (.responses5xx, "5xx"), (.aborted, "none"),
        ]
        out.family(
            "http_requests_total", .counter,
            "Requests that have ended, by route and class of status; none: no answer was sent.")
        for route in totals.routes {
            for (counter, name) in classes {
                out.sample(
                    "http_requests_total", ["route": route.name, "code_class": name],
                    route[counter])
            }
        }
    }

    private static func writeDurations(_ totals: CounterTotals, _ out: inout Exposition) {
        out.family(
            "http_request_duration_seconds", .histogram,
            "Time from a request's first byte to its answer's last.")
        // Routes that were never asked would be most of the text where there are thousands.
        for route in totals.routes where route.buckets.contains(where: { $0 > 0 }) {
            var sum: UInt64 = 0
            for (index, count) in route.buckets.enumerated() {
                sum &+= count
                let bound =
                    index < Buckets.labels.count ? Buckets.labels[index].description : "+Inf"
                out.sample(
                    "http_request_duration_seconds_bucket", ["route": route.name, "le": bound],
                    sum)
            }
            out.sample(
                "http_request_duration_seconds_sum", ["route": route.name],
                nanoseconds: route[.durationSumNanoseconds])
            // The sum of the buckets, so that both agree while a worker counts.
            out.sample("http_request_duration_seconds_count", ["route": route.name], sum)
        }
    }

    private static func writeRefusals(_ totals: CounterTotals, _ out: inout Exposition) {
        write(
            "weir_refusals_total",
            "Requests that weir answered itself or gave up on, by route and reason.",
            totals, \.refusals, &out)
    }

    private static func writeShadows(_ totals: CounterTotals, _ out: inout Exposition) {
        write(
            "weir_would_refuse_total",
            "Requests that a policy in shadow mode would have refused, by route and reason.",
            totals, \.shadows, &out)
    }

    /// A family with a sample of each route and reason that has been counted.
    private static func write(
        _ name: String, _ help: String, _ totals: CounterTotals,
        _ counts: KeyPath<CounterTotals.Route, [UInt64]>, _ out: inout Exposition
    ) {
        out.family(name, .counter, help)
        for route in totals.routes {
            for (code, count) in zip(totals.refusalCodes, route[keyPath: counts]) where count > 0 {
                out.sample(name, ["route": route.name, "reason": code.description], count)
            }
        }
    }

    private static func writeDownstream(_ totals: CounterTotals, _ out: inout Exposition) {
        out.family("http_requests_in_flight", .gauge, "Requests that have begun and not ended.")
        out.sample("http_requests_in_flight", [:], totals.sum(.requestsActive))
        out.family("downstream_connections", .gauge, "Open client connections, by worker.")
        for (index, cells) in totals.workers.enumerated() {
            out.sample(
                "downstream_connections", ["worker": String(index)],
                cells[WorkerCounter.connectionsActive.rawValue])
        }
        out.family("downstream_connections_total", .counter, "Client connections accepted.")
        out.sample("downstream_connections_total", [:], totals.sum(.connectionsAccepted))
        out.family("downstream_bytes_received_total", .counter, "Bytes read from clients.")
        out.sample("downstream_bytes_received_total", [:], totals.sum(.bytesReceived))
        out.family("downstream_bytes_sent_total", .counter, "Bytes sent to clients.")
        out.sample("downstream_bytes_sent_total", [:], totals.sum(.bytesSent))
        out.family(
            "downstream_connections_refused_total", .counter,
            "Client connections that were refused or given up before a request, by reason.")
        let refused: [(String, WorkerCounter)] = [
            ("max_connections", .refusedConnections),
            ("max_connections_per_ip", .refusedByAddress), ("proxy_protocol", .greetingFailures),
        ]
        for (reason, counter) in refused {
            out.sample(
                "downstream_connections_refused_total", ["reason": reason], totals.sum(counter))
        }
        out.family(
            "downstream_http2_connections_total", .counter,
            "Client connections that spoke HTTP/2.")
        out.sample("downstream_http2_connections_total", [:], totals.sum(.http2Connections))
        out.family(
            "downstream_http2_floods_total", .counter,
            "HTTP/2 connections that were ended since their clients asked for too much in vain.")
        out.sample("downstream_http2_floods_total", [:], totals.sum(.http2Floods))
        out.family(
            "downstream_http2_errors_total", .counter,
            "HTTP/2 connections that were ended for a fault of their clients, by reason.")
        let faults: [(String, WorkerCounter)] = [
            ("protocol", .http2Faults), ("header_timeout", .http2HeadTimeouts),
        ]
        for (reason, counter) in faults {
            out.sample("downstream_http2_errors_total", ["reason": reason], totals.sum(counter))
        }
        out.family(
            "weir_accept_failures_total", .counter,
            "Times that a listener paused since file descriptors ran out.")
        out.sample("weir_accept_failures_total", [:], totals.sum(.acceptFailures))
    }

    private static func writeTLS(
        _ totals: CounterTotals, _ gauges: ServerGauges, _ out: inout Exposition
    ) {
        let all = totals.sum(.handshakes)
        let resumed = min(totals.sum(.handshakesResumed), all)
        out.family(
            "downstream_tls_handshakes_total", .counter, "TLS handshakes with clients, by result.")
        let results = [
            ("full", all - resumed), ("resumed", resumed),
            ("failed", totals.sum(.handshakeFailures)),
        ]
        for (result, count) in results {
            out.sample("downstream_tls_handshakes_total", ["result": result], count)
        }
        out.family(
            "weir_certificate_expiry_timestamp_seconds", .gauge,
            "When a certificate in use expires.")
        for certificate in gauges.certificates {
            out.sample(
                "weir_certificate_expiry_timestamp_seconds", certificate.labels,
                UInt64(clamping: certificate.expiry))
        }
        out.family(
            "weir_ocsp_response_expiry_timestamp_seconds", .gauge,
            "When the OCSP response of a certificate in use expires.")
        for certificate in gauges.certificates {
            guard let expiry = certificate.responseExpiry else { continue }
            out.sample(
                "weir_ocsp_response_expiry_timestamp_seconds", certificate.labels,
                UInt64(clamping: expiry))
        }
    }

    private static func writeUpstreamRequests(_ totals: CounterTotals, _ out: inout Exposition) {
        writeByCluster(
            totals, "upstream_requests_total", .counter,
            "Answers of endpoints, by class of status.",
            label: "code_class",
            [
                (.responses1xx, "1xx"), (.responses2xx, "2xx"), (.responses3xx, "3xx"),
                (.responses4xx, "4xx"), (.responses5xx, "5xx"),
            ], &out)
        let calls = "upstream_grpc_responses_total"
        out.family(calls, .counter, "Ends of gRPC calls that endpoints have answered, by status.")
        for cluster in totals.clusters {
            for (status, count) in zip(GRPCStatus.allCases, cluster.calls) where count > 0 {
                out.sample(
                    calls, ["cluster": cluster.name, "grpc_status": status.name.description], count)
            }
        }
        writeByCluster(
            totals, "upstream_attempts_total", .counter, "Requests sent to endpoints.",
            .attempts, &out)
        writeByCluster(
            totals, "upstream_replays_total", .counter,
            "Requests sent again since a pooled connection turned out to be closed.",
            .replays, &out)
        writeByCluster(
            totals, "upstream_retries_total", .counter,
            "Attempts that followed a failed one.", .retries, &out)
        writeByCluster(
            totals, "upstream_retries_over_budget_total", .counter,
            "Retries that were not made since the cluster's retry budget was used up.",
            .retriesOverBudget, &out)
        writeByCluster(
            totals, "upstream_would_retry_total", .counter,
            "Retries that a policy in shadow mode would have made.", .wouldRetry, &out)
        writeByCluster(
            totals, "upstream_would_not_retry_total", .counter,
            "Retries that max_retries in shadow mode would not have let be made.", .wouldNotRetry,
            &out)
        writeByCluster(
            totals, "upstream_hedges_total", .counter,
            "Second attempts that were sent beside a slow one.", .hedges, &out)
        writeByCluster(
            totals, "upstream_would_hedge_total", .counter,
            "Second attempts that a hedge in shadow mode would have sent.", .wouldHedge, &out)
        writeByCluster(
            totals, "upstream_failures_total", .counter,
            "Attempts that came to nothing, by what went wrong.", label: "reason",
            [
                (.connectFailures, "connect"), (.connectTimeouts, "connect_timeout"),
                (.failedReset, "reset"), (.failedProtocol, "protocol"),
                (.failedTimeout, "timeout"), (.failedNoEndpoint, "no_endpoint"),
                (.failedExhausted, "exhausted"),
            ], &out)
        writeByCluster(
            totals, "upstream_requests_in_flight", .gauge, "Requests that an endpoint works on.",
            .requestsActive, &out)
    }

    private static func writeUpstreamConnections(
        _ totals: CounterTotals, _ out: inout Exposition
    ) {
        writeByCluster(
            totals, "upstream_connects_total", .counter, "Connections begun to endpoints.",
            .connects, &out)
        writeByCluster(
            totals, "upstream_connections", .gauge, "Open connections to endpoints.",
            label: "state", [(.connectionsActive, "active"), (.connectionsIdle, "idle")], &out)
        writeByCluster(
            totals, "upstream_bytes_sent_total", .counter, "Bytes sent to endpoints.",
            .bytesSent, &out)
        writeByCluster(
            totals, "upstream_bytes_received_total", .counter, "Bytes read from endpoints.",
            .bytesReceived, &out)
    }

    private static func writeByCluster(
        _ totals: CounterTotals, _ name: String, _ kind: Exposition.Kind, _ help: String,
        _ counter: ClusterCounter, _ out: inout Exposition
    ) {
        out.family(name, kind, help)
        for cluster in totals.clusters {
            out.sample(name, ["cluster": cluster.name], cluster[counter])
        }
    }

    private static func writeByCluster(
        _ totals: CounterTotals, _ name: String, _ kind: Exposition.Kind, _ help: String,
        label: String, _ counters: [(ClusterCounter, String)], _ out: inout Exposition
    ) {
        out.family(name, kind, help)
        for cluster in totals.clusters {
            for (counter, value) in counters {
                out.sample(name, ["cluster": cluster.name, label: value], cluster[counter])
            }
        }
    }

    private static func writeLog(
        _ totals: CounterTotals, _ gauges: ServerGauges, _ out: inout Exposition
    ) {
        out.family(
            "weir_access_log_dropped_total", .counter,
            "Access log lines dropped since the log could not keep up.")
        out.sample("weir_access_log_dropped_total", [:], totals.sum(.logLinesDropped))
        out.family(
            "weir_access_log_write_failures_total", .counter, "Failed writes to the access log.")
        out.sample("weir_access_log_write_failures_total", [:], gauges.logWriteFailures)
    }

    private static func writeConfiguration(_ gauges: ServerGauges, _ out: inout Exposition) {
        out.family("weir_build_info", .gauge, "1, labelled with the version that runs.")
        out.sample("weir_build_info", ["version": gauges.version], 1)
        out.family("weir_config_generation", .gauge, "Number of the configuration in use.")
        out.sample("weir_config_generation", [:], gauges.generation)
        out.family("weir_config_reloads_total", .counter, "Reloads, by result.")
        out.sample(
            "weir_config_reloads_total", ["result": "success"], gauges.reloadsSucceeded)
        out.sample("weir_config_reloads_total", ["result": "refused"], gauges.reloadsRefused)
        out.family(
            "weir_config_last_reload_successful", .gauge,
            "0 when the last reload was refused and an older configuration is in use.")
        out.sample(
            "weir_config_last_reload_successful", [:], gauges.wasLastReloadSuccessful ? 1 : 0)
        out.family(
            "weir_config_last_reload_success_timestamp_seconds", .gauge,
            "When the configuration in use came into use.")
        out.sample(
            "weir_config_last_reload_success_timestamp_seconds",
            nanoseconds: UInt64(clamping: gauges.lastReloadSuccessUnixNanoseconds))
    }

    private static func writeProcess(_ usage: ProcessUsage, _ out: inout Exposition) {
        out.family("process_cpu_seconds_total", .counter, "User and system CPU time used.")
        out.sample("process_cpu_seconds_total", decimal: usage.cpuSeconds)
        out.family("process_resident_memory_bytes", .gauge, "Memory in RAM.")
        out.sample("process_resident_memory_bytes", [:], usage.residentBytes)
        out.family("weir_heap_bytes", .gauge, "Memory that the heap has handed out.")
        out.sample("weir_heap_bytes", [:], usage.heapBytes)
        out.family("process_open_fds", .gauge, "Open file descriptors.")
        out.sample("process_open_fds", [:], usage.openDescriptors)
        out.family("process_max_fds", .gauge, "Limit on file descriptors.")
        out.sample("process_max_fds", [:], usage.maxDescriptors)
        out.family("process_start_time_seconds", .gauge, "When the process began.")
        out.sample("process_start_time_seconds", decimal: usage.startUnixSeconds)
    }
}
