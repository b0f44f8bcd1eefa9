// What a reload changes, in the words that the operator is answered with.

import WeirPolicy
import WeirTime

/// Compares two configurations by meaning: order and spelling count only where they matter.
package enum ConfigurationDiff {
    /// One line per kind of change; "no change" when there is none.
    package static func lines(from old: Configuration, to new: Configuration) -> [String] {
        var lines: [String] = []
        lines += admin(old.admin, new.admin)
        lines += runtime(old.runtime, new.runtime)
        lines += listeners(old.listeners, new.listeners)
        lines += tenants(old.tenants, new.tenants)
        lines += priorities(old.priorities, new.priorities)
        lines += retryPolicies(old.retryPolicies, new.retryPolicies)
        if old.rateLimits != new.rateLimits { lines.append("rate_limits changed") }
        lines += routes(old.routes, new.routes)
        lines += clusters(old.clusters, new.clusters)
        return lines.isEmpty ? ["no change"] : lines
    }

    private static func admin(_ old: Admin?, _ new: Admin?) -> [String] {
        guard old != new else { return [] }
        guard let new else { return ["admin removed"] }
        guard let old else { return ["admin added on \(new.address.text)"] }
        return old.address == new.address
            ? ["admin: token_file changed"] : ["admin: now on \(new.address.text)"]
    }

    private static func runtime(_ old: Runtime, _ new: Runtime) -> [String] {
        var lines: [String] = []
        if old.workers != new.workers { lines.append("runtime.workers takes effect at restart") }
        if old.user != new.user { lines.append("runtime.user takes effect at restart") }
        var changed: [String] = []
        if old.drainTimeout != new.drainTimeout {
            changed.append("drain_timeout \(Quantity.text(new.drainTimeout))")
        }
        if old.maxConnections != new.maxConnections {
            changed.append("max_connections \(new.maxConnections)")
        }
        if old.bufferMemory != new.bufferMemory {
            changed.append("buffer_memory \(Quantity.text(bytes: Int64(new.bufferMemory)))")
        }
        if old.accessLog != new.accessLog {
            changed.append("access_log \(new.accessLog?.path ?? "off")")
        }
        if old.zone != new.zone { changed.append("zone \(new.zone ?? "none")") }
        if old.reasonHeader != new.reasonHeader {
            changed.append("reason_header \(new.reasonHeader ?? "off")")
        }
        if !changed.isEmpty { lines.append("runtime changed: " + changed.joined(separator: ", ")) }
        return lines
    }

    private static func listeners(_ old: [Listener], _ new: [Listener]) -> [String] {
        let changes = Changes(old, new, name: \.name)
        var lines = changes.added.map { "listener \($0.name) added on \($0.address.text)" }
        lines += changes.removed.map { "listener \($0.name) removed, draining" }
        for (before, after) in changes.changed {
            var parts: [String] = []
            if before.address != after.address { parts.append("now on \(after.address.text)") }
            if before.tls != after.tls {
                parts.append(after.tls == nil ? "no TLS any more" : "tls changed")
            }
            if before.proxyProtocol != after.proxyProtocol {
                parts.append("proxy_protocol is now \(after.proxyProtocol?.rawValue ?? "off")")
            }
            if before.limits != after.limits { parts.append("limits changed") }
            if before.transparent != after.transparent {
                parts.append("transparent is now \(after.transparent)")
            }
            if before.trustedProxies != after.trustedProxies {
                parts.append("trusted_proxies changed")
            }
            lines.append("listener \(after.name): " + parts.joined(separator: ", "))
        }
        return lines
    }

    private static func routes(_ old: [Route], _ new: [Route]) -> [String] {
        let changes = Changes(old, new, name: \.name)
        var lines = [
            summary("route", "added", changes.added.map(\.name)),
            summary("route", "removed", changes.removed.map(\.name)),
            summary(
                "route", "changed",
                changes.changed.filter { $0.before.ungoverned != $0.after.ungoverned }
                    .map(\.after.name)),
        ].compactMap { $0 }
        lines += routeGovernors(changes.changed)
        // The first match wins, so the order of those that stayed is part of the meaning.
        if changes.keptOld != changes.keptNew { lines.append("routes are in a new order") }
        return lines
    }

    private static func clusters(_ old: [Cluster], _ new: [Cluster]) -> [String] {
        let changes = Changes(old, new, name: \.name)
        var lines = changes.added.map { "cluster \($0.name) added" }
        lines += changes.removed.map { "cluster \($0.name) removed, draining" }
        for (before, after) in changes.changed {
            let parts = source(before.source, after.source) + settings(before, after)
            lines.append("cluster \(after.name): " + parts.joined(separator: ", "))
        }
        return lines
    }

    private static func source(_ old: Cluster.Source, _ new: Cluster.Source) -> [String] {
        if old == new { return [] }
        guard case .endpoints(let before) = old, case .endpoints(let after) = new else {
            if case .dns(let host, let port, _) = new {
                return ["now found by dns \(host):\(port)"]
            }
            if new == .originalDestination { return ["now original_destination"] }
            return ["now has fixed endpoints"]
        }
        let known = Dictionary(
            before.map { ($0.address, $0) }, uniquingKeysWith: { a, _ in a })
        let kept = Set(after.map(\.address))
        let added = after.count { known[$0.address] == nil }
        let draining = before.count { !kept.contains($0.address) }
        let reweighted = after.count { endpoint in
            known[endpoint.address].map { $0.weight != endpoint.weight } ?? false
        }
        let moved = after.count { endpoint in
            known[endpoint.address].map {
                $0.zone != endpoint.zone || $0.priority != endpoint.priority
            } ?? false
        }
        var parts: [String] = []
        if added > 0 { parts.append("\(Text.count(added, "endpoint")) added") }
        if draining > 0 {
            parts.append(
                added > 0 ? "\(draining) draining" : "\(Text.count(draining, "endpoint")) draining")
        }
        if reweighted > 0 { parts.append("\(Text.count(reweighted, "weight")) changed") }
        if moved > 0 {
            parts.append("zone or priority of \(Text.count(moved, "endpoint")) changed")
        }
        return parts.isEmpty ? ["endpoints reordered"] : parts
    }

    private static func settings(_ old: Cluster, _ new: Cluster) -> [String] {
        var parts: [String] = []
        if old.balancing != new.balancing {
            parts.append(
                old.balancing.kind != new.balancing.kind
                    ? "load_balancing is now \(new.balancing.kind.rawValue)"
                    : "load_balancing changed")
        }
        if old.connectTimeout != new.connectTimeout {
            parts.append("connect_timeout is now \(Quantity.text(new.connectTimeout))")
        }
        if old.keepalive != new.keepalive { parts.append("keepalive changed") }
        if old.tls != new.tls {
            parts.append(new.tls == nil ? "no TLS any more" : "tls changed")
        }
        if old.proxyProtocol != new.proxyProtocol {
            parts.append("proxy_protocol is now \(new.proxyProtocol?.rawValue ?? "off")")
        }
        if old.hostHeader != new.hostHeader { parts.append("host_header changed") }
        if old.http2 != new.http2 { parts.append("http2 is now \(new.http2)") }
        return parts + governors(old, new)
    }

    /// "2 routes changed: api, web", naming at most eight.
    static func summary(_ noun: String, _ verb: String, _ names: [String]) -> String? {
        if names.isEmpty { return nil }
        let shown = names.prefix(8).joined(separator: ", ") + (names.count > 8 ? ", ..." : "")
        return "\(Text.count(names.count, noun)) \(verb): \(shown)"
    }
}

/// Two lists matched by name.
struct Changes<Item: Equatable> {
    var added: [Item] = []
    var removed: [Item] = []
    var changed: [(before: Item, after: Item)] = []
    /// The names that both lists have, in the order of each.
    var keptOld: [String] = []
    var keptNew: [String] = []

    init(_ old: [Item], _ new: [Item], name: (Item) -> String) {
        let before = Dictionary(old.map { (name($0), $0) }, uniquingKeysWith: { a, _ in a })
        let after = Set(new.map(name))
        for item in new {
            guard let previous = before[name(item)] else {
                added.append(item)
                continue
            }
            keptNew.append(name(item))
            if previous != item { changed.append((previous, item)) }
        }
        for item in old {
            if after.contains(name(item)) {
                keptOld.append(name(item))
            } else {
                removed.append(item)
            }
        }
    }
}
