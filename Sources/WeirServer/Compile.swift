// A checked configuration becomes the plans of the workers.

import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

/// An endpoint that the configuration or discovery has named.
struct KnownEndpoint {
    var address: SocketAddress
    var weight = 1
    var priority = 0
    var zone: String?
}

/// Compiles one generation. Everything that a worker reads per request is made for it alone.
struct Compiler {
    let configuration: Configuration
    let generation: UInt64
    let registry: CounterRegistry
    let sockets: ListenerSockets
    let clusters: ClusterDirectory
    let ledger: TenantLedger
    let names: NameDirectory
    let tls: TLSFiles
    let rings: [LogRing]

    /// The plan of one of `count` workers.
    func plan(worker: Int, of count: Int) -> Plan {
        var clusterIndex: [String: Int] = [:]
        for (index, cluster) in configuration.clusters.enumerated() {
            clusterIndex[cluster.name] = index
        }
        let rules = configuration.routes.map { rule($0, clusterIndex, worker) }
        let sample = configuration.runtime.accessLog?.sample ?? 0
        return Plan(
            generation: generation,
            listeners: configuration.listeners.compactMap { listener($0, worker) },
            table: RouteTable(rules),
            clusters: configuration.clusters.compactMap { cluster($0, worker) },
            unrouted: registry.route(CounterRegistry.unrouted, worker: worker),
            bufferMemory: configuration.runtime.bufferMemory / count,
            log: configuration.runtime.accessLog == nil || rings.isEmpty ? nil : rings[worker],
            logSample: UInt64(max(0, min(1, sample)) * 4_294_967_296), common: commonRules(),
            reasonLine: configuration.runtime.reasonHeader.map { Text("\($0): ") })
    }

    // MARK: Listeners

    private func listener(_ listener: WeirConfig.Listener, _ worker: Int) -> ListenerPlan? {
        guard let opened = sockets[listener] else { return nil }
        let limits = listener.limits
        var settings = ListenerSettings()
        settings.headBytes = limits.requestHeaderBytes
        settings.headFields = limits.requestHeaders
        settings.targetBytes = limits.requestURIBytes
        settings.bodyBytes = limits.requestBodyBytes ?? .max
        settings.headerTimeout = limits.headerTimeout
        settings.bodyTimeout = limits.bodyTimeout
        settings.bodyBytesPerWindow = Self.bytes(limits.bodyMinRate, in: limits.bodyTimeout)
        settings.sendTimeout = limits.sendTimeout
        settings.sendBytesPerWindow = Self.bytes(limits.sendMinRate, in: limits.sendTimeout)
        settings.idleTimeout = limits.idleTimeout
        settings.allowsHalfClose = limits.allowHalfClose
        settings.maxStreams = limits.maxConcurrentStreams
        settings.connectionsPerAddress = limits.maxConnectionsPerIP ?? .max
        settings.proxyProtocol = listener.proxyProtocol?.version
        settings.isTransparent = listener.transparent
        settings.trusted = listener.trustedProxies.compactMap { prefix in
            IPAddress(prefix.address).map {
                .init(address: $0, bits: $0.isV4 ? prefix.bits + 96 : prefix.bits)
            }
        }
        return ListenerPlan(
            name: listener.name, address: opened.address, fd: opened.sockets[worker],
            settings: settings, tls: tls.servers[listener.name])
    }

    private static func bytes(_ rate: Int, in window: Interval) -> UInt64 {
        UInt64(max(0, Double(rate) * window.seconds))
    }

    // MARK: Routes

    private func rule(
        _ route: Route, _ clusterIndex: [String: Int], _ worker: Int
    ) -> RouteRule {
        var rule = RouteRule(plan: plan(route, clusterIndex, worker))
        for host in route.match.hosts {
            switch host {
            case .exact(let name): rule.exactHosts.append(name)
            case .suffix(let suffix): rule.hostSuffixes.append(suffix)
            }
        }
        switch route.match.path {
        case .any: rule.path = .any
        case .exact(let path): rule.path = .exact(path)
        case .prefix(let path): rule.path = .prefix(path)
        case .regex(let source):
            // The configuration's checks have compiled it before; were it to fail now all the
            // same, it must match nothing: no path holds a NUL.
            rule.path = Pattern(source, isWhole: true).map { .regex($0) } ?? .exact("\0")
        }
        rule.conditions.listeners = route.match.listeners.map { Text($0) }
        rule.conditions.methods = route.match.methods.map { Text($0) }
        rule.conditions.headers = route.match.headers.map(condition)
        rule.conditions.query = route.match.query.map(condition)
        return rule
    }

    private func condition(_ match: Route.ValueMatch) -> ValueRule {
        let test: ValueRule.Test
        switch match.test {
        case .present: test = .present
        case .exact(let value): test = .exact(Text(value))
        case .prefix(let value): test = .prefix(Text(value))
        case .regex(let source):
            test = Pattern(source, isWhole: true).map { .regex($0) } ?? .exact(Text("\0"))
        }
        return ValueRule(name: Text(match.name), test: test, isInverted: match.invert)
    }

    private func plan(
        _ route: Route, _ clusterIndex: [String: Int], _ worker: Int
    ) -> RoutePlan {
        let action: RoutePlan.Action
        switch route.action {
        // The configuration's checks leave no cluster unnamed.
        case .forward(let name): action = .forward(cluster: clusterIndex[name] ?? 0)
        case .redirect(let redirect): action = .redirect(plan(redirect))
        case .respond(let response):
            action = .respond(
                status: response.status, body: Text(response.body),
                contentType: Text(response.contentType))
        }
        let prefixLength: Int
        switch route.match.path {
        case .prefix(let prefix): prefixLength = prefix.utf8.count
        default: prefixLength = 0
        }
        return RoutePlan(
            name: Text(route.name), action: action, timeout: route.timeout ?? .max,
            idleTimeout: route.idleTimeout, requestBuffer: route.requestBuffer,
            rules: rules(of: route), salt: ledger.salt("route \(route.name)"),
            prefixLength: prefixLength, prefixRewrite: route.prefixRewrite.map { Text($0) },
            requestEdits: requestEdits(route.requestHeaders),
            responseEdits: Self.edits(route.responseHeaders),
            counters: registry.route(route.name, worker: worker))
    }

    private func plan(_ redirect: Route.Redirect) -> RedirectPlan {
        RedirectPlan(
            status: redirect.status, scheme: redirect.scheme.map { Text($0) },
            host: redirect.host.map { Text($0) }, port: redirect.port,
            path: redirect.path.map { Text($0) },
            prefixRewrite: redirect.prefixRewrite.map { Text($0) },
            stripQuery: redirect.stripQuery)
    }

    private static func edits(_ edits: HeaderEdits) -> FieldEdits {
        var plan = FieldEdits()
        plan.dropped = edits.remove.map { FieldEdits.Drop($0.lowercased()) }
        plan.dropped += edits.set.map { FieldEdits.Drop($0.name) }
        let lines = (edits.set + edits.add).map { "\($0.name): \($0.value)\r\n" }
        plan.lines = Text(lines.joined())
        return plan
    }

    /// Strangers do not name the class of their requests, to a weir behind this one either.
    private func requestEdits(_ edits: HeaderEdits) -> FieldEdits {
        var plan = Self.edits(edits)
        if let name = configuration.priorities.requestHeader?.lowercased() {
            for spelling in [name, String(name.map { $0 == "-" ? "_" : $0 })] {
                plan.dropped.append(FieldEdits.Drop(spelling, isClaim: true))
            }
        }
        return plan
    }

    // MARK: Clusters

    /// An endpoint without a zone is as near as any; so is every one where weir has none.
    private func isLocal(_ zone: String?) -> Bool {
        guard let own = configuration.runtime.zone, let zone else { return true }
        return own == zone
    }

    /// Makes the governors of this generation's clusters, or tells those that exist what is new.
    func adoptClusters() {
        for route in configuration.routes {
            clusters.adopt(
                route: route.name, breaker: route.breaker?.settings,
                hedge: route.hedge.flatMap { $0.mode == .off ? nil : $0.settings })
        }
        for cluster in configuration.clusters {
            clusters.adopt(
                cluster.name, governance(of: cluster),
                addresses: addresses(cluster).map(\.address))
            clusters[cluster.name]?.adopt(routes: routes(toCluster: cluster.name).map(\.name))
        }
    }

    private func cluster(_ cluster: WeirConfig.Cluster, _ worker: Int) -> ClusterPlan? {
        let hostHeader: ClusterPlan.HostHeader
        switch (cluster.hostHeader, cluster.source) {
        case (.preserve, _): hostHeader = .preserve
        case (.literal(let text), _): hostHeader = .fixed(Text(text))
        case (.endpoint, .dns(let host, let port, _)):
            hostHeader = .fixed(Text(port == 80 ? host : "\(host):\(port)"))
        case (.endpoint, .endpoints), (.endpoint, .originalDestination): hostHeader = .endpoint
        }
        guard let entry = clusters[cluster.name] else { return nil }
        let known = addresses(cluster)
        let balancer = Balancer(
            settings: cluster.balancing.settings,
            endpoints: known.map {
                BalancedEndpoint(
                    weight: $0.weight, priority: $0.priority, isLocalZone: isLocal($0.zone),
                    key: StableHash($0.address.description.utf8).value)
            })
        var plan = ClusterPlan(
            name: Text(cluster.name), balancer: balancer,
            hashOn: cluster.balancing.source, governor: entry.governor,
            hasRetries: retryModes(ofCluster: cluster.name).contains { $0 != .off },
            endpoints: known.compactMap { endpoint in
                entry.states[endpoint.address].map {
                    EndpointPlan(address: endpoint.address, weight: endpoint.weight, state: $0)
                }
            },
            connectTimeout: cluster.connectTimeout, idleTimeout: cluster.keepalive.idleTimeout,
            maxIdle: cluster.keepalive.maxIdle, hostHeader: hostHeader,
            counters: registry.cluster(cluster.name, worker: worker))
        plan.tls = tls.clients[cluster.name]
        plan.isH2 = cluster.http2
        plan.goesOn = cluster.source == .originalDestination
        plan.proxyProtocol = cluster.proxyProtocol?.version
        plan.shadowRefusal = shadowRefusal(of: cluster)
        plan.hasRetriesInShadow = retryModes(ofCluster: cluster.name).contains(.shadow)
        return plan
    }

    /// The endpoints of a cluster as they are known now, with their weights.
    func addresses(_ cluster: WeirConfig.Cluster) -> [KnownEndpoint] {
        switch cluster.source {
        case .endpoints(let list):
            return list.compactMap { endpoint in
                SocketAddress(endpoint.address).map {
                    KnownEndpoint(
                        address: $0, weight: endpoint.weight, priority: endpoint.priority,
                        zone: endpoint.zone)
                }
            }
        case .dns(let host, let port, let every):
            let name = NameDirectory.Name(host: host, port: port, every: every)
            return names.addresses(name).map { KnownEndpoint(address: $0) }
        case .originalDestination: return [KnownEndpoint(address: .original)]
        }
    }
}

extension ProxyProtocol {
    var version: ProxyHeader.Version {
        switch self {
        case .v1: .v1
        case .v2: .v2
        case .any: .any
        }
    }
}
