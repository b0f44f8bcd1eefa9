// GET /status: what runs, since when, why, and how each endpoint is doing.

import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

/// The process's state as JSON.
enum StatusPage {
    static func json(_ server: Server) -> [UInt8] {
        var out = JSONWriter()
        out.object { out in
            out.member("version", Server.version)
            out.member("file", server.file)
            out.member("generation", server.generation)
            out.member("ready", server.unreadiness == nil)
            out.member("state", server.unreadiness ?? "serving")
            out.key("uptime_seconds")
            out.number((server.loop.now - server.startedAt).seconds)
            out.member("workers", server.workerCount)
            out.member("connections", server.budget.count)
            out.key("last_reload")
            out.object { write(server.lastReload, &$0) }
            out.key("listeners")
            out.array { out in
                for listener in server.configuration.listeners { write(listener, server, &out) }
            }
            out.member("routes", server.configuration.routes.count)
            out.key("route_breakers")
            out.object { out in
                for (route, state) in server.clusters.routeBreakers { out.member(route, state) }
            }
            out.key("clusters")
            out.array { out in
                for cluster in server.configuration.clusters { write(cluster, server, &out) }
            }
        }
        return out.bytes
    }

    /// The members that tell how a reload ended.
    static func write(_ result: ReloadResult, _ out: inout JSONWriter) {
        out.member("ok", result.isSuccess)
        out.member("trigger", result.trigger)
        out.member("unix_seconds", Int(result.at))
        out.key(result.isSuccess ? "changes" : "errors")
        out.array { out in
            for line in result.lines { out.string(line) }
        }
    }

    private static func write(
        _ listener: WeirConfig.Listener, _ server: Server, _ out: inout JSONWriter
    ) {
        out.object { out in
            out.member("name", listener.name)
            out.member("address", server.sockets[listener]?.address.description ?? "")
        }
    }

    private static func write(
        _ cluster: WeirConfig.Cluster, _ server: Server, _ out: inout JSONWriter
    ) {
        out.object { out in
            out.member("name", cluster.name)
            out.member("load_balancing", cluster.balancing.kind.rawValue)
            if case .dns(let host, let port, let every) = cluster.source {
                out.member("dns", "\(host):\(port)")
                let name = NameDirectory.Name(host: host, port: port, every: every)
                if let failure = server.names?.failure(name) { out.member("error", failure) }
            }
            if let entry = server.clusters[cluster.name] { write(entry, server, &out) }
            out.key("endpoints")
            out.array { out in
                for known in server.addresses(cluster) {
                    guard let state = server.clusters[cluster.name]?.states[known.address] else {
                        continue
                    }
                    out.object { out in
                        out.member("address", known.address.description)
                        out.member("weight", known.weight)
                        write(state.governor.inspection, server, &out)
                        out.member("attempts", state.attempts)
                        out.member("failures", state.failures)
                    }
                }
            }
        }
    }

    /// What a cluster's governors hold.
    private static func write(_ entry: ClusterEntry, _ server: Server, _ out: inout JSONWriter) {
        let classes = server.configuration.priorities.classes.map(\.name)
        out.member("in_flight", entry.governor.requestsInFlight)
        out.member("retries_in_flight", entry.governor.retriesInFlight)
        out.member("panic", entry.isPanicking)
        out.key("waiting")
        out.object { out in
            for (name, count) in zip(classes, entry.governor.waiting(classes: classes.count)) {
                out.member(name, count)
            }
        }
        let budget = entry.governor.retryBudget.counts(now: server.loop.now)
        out.key("retry_budget")
        out.object { out in
            out.member("requests", budget.requests)
            out.member("retries", budget.retries)
        }
        if entry.hasBreaker { out.member("breaker", entry.breaker.current.phase.rawValue) }
    }

    private static func write(
        _ seen: EndpointGovernor.Inspection, _ server: Server, _ out: inout JSONWriter
    ) {
        out.member("state", "\(seen.state)")
        if let reason = seen.reason { out.member("reason", "\(reason.code)") }
        if seen.wouldBeUnhealthy { out.member("would_be_unhealthy", true) }
        if let until = seen.ejectedUntil, seen.reason != nil {
            out.key("ejected_for_seconds")
            out.number(max(0, (until - server.loop.now).seconds))
        }
        out.member("in_flight", seen.requestsInFlight)
        out.key("limit")
        if seen.limit == .max { out.null() } else { out.number(Int64(seen.limit)) }
        if let shadow = seen.shadow {
            out.member("shadow_limit", shadow.limit)
            out.member("would_exceed", shadow.exceeded)
        }
        for (name, time) in [
            ("baseline_ms", seen.baseline), ("p50_ms", seen.median), ("p99_ms", seen.p99),
        ] {
            out.key(name)
            if let time { out.number(time.seconds * 1000) } else { out.null() }
        }
    }
}
