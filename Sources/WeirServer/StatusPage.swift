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
            out.member("load_balancing", cluster.balancer.rawValue)
            if case .dns(let host, let port, let every) = cluster.source {
                out.member("dns", "\(host):\(port)")
                let name = NameDirectory.Name(host: host, port: port, every: every)
                if let failure = server.names?.failure(name) { out.member("error", failure) }
            }
            out.key("endpoints")
            out.array { out in
                for (address, weight) in server.addresses(cluster) {
                    let state = server.endpoints.state(cluster: cluster.name, address: address)
                    out.object { out in
                        out.member("address", address.description)
                        out.member("weight", weight)
                        out.member("in_flight", state.requestsInFlight)
                        out.member("attempts", state.attempts)
                        out.member("failures", state.failures)
                    }
                }
            }
        }
    }
}
