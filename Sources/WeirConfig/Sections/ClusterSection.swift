// Named sets of interchangeable endpoints, and how weir connects to them.

import WeirPolicy
import WeirTime

enum ClusterSection {
    static let name = Key("name", .name, required: true, "Its name in logs and metrics; unique.")
    static let endpoints = Key(
        "endpoints", .list(of: EndpointSection.kind, "endpoints"),
        "Fixed endpoints, each an IP:port or a mapping with its weight, zone and priority.")
    static let discovery = Key(
        "discovery", DiscoverySection.kind,
        "Endpoints that are looked up; or original_destination: each request goes where its "
            + "client's connection was going, on a transparent listener.")
    static let loadBalancing = Key(
        "load_balancing", .section(BalancingSection.decode),
        "How an endpoint is picked.")
    static let connectTimeout = Key(
        "connect_timeout", .duration(.milliseconds(1) ... .seconds(60)), default: "1s",
        "How long a connection may take to be made.")
    static let keepalive = Key(
        "keepalive", .section(KeepaliveSection.decode),
        "How idle upstream connections are kept.")
    static let tls = Key(
        "tls", .section(ClientTLSSection.decode), "TLS to endpoints; without it, plain HTTP.")
    static let proxyProtocol = Key(
        "proxy_protocol", .word([("off", ProxyProtocol?.none), ("v1", .v1), ("v2", .v2)]),
        default: "off", reload: .newConnections,
        "The PROXY protocol's header, by which endpoints are told who the client is. A connection "
            + "then serves one request only, since it is one client's.")
    static let hostHeader = Key(
        "host_header", hostHeaderKind, default: "preserve",
        "What the endpoint reads as Host: the client's (preserve), the endpoint's address or the "
            + "name that was looked up (endpoint), or { literal: www.example.com }.")
    static let circuitBreakers = Key(
        "circuit_breakers", .section(CeilingsSection.decode), "Hard caps for the whole cluster.")
    static let concurrency = Key(
        "concurrency", .section(ConcurrencySection.decode),
        "How many requests each endpoint works on at once.")
    static let queue = Key(
        "queue", .orOff(.section(QueueSection.decode)), default: "off",
        "Where requests wait while no endpoint has room. Adaptive concurrency brings one with it, "
            + "unless this says off.")
    static let outlierDetection = Key(
        "outlier_detection", .section(OutlierSection.decode),
        "Ejects endpoints that fail or are slow.")
    static let healthCheck = Key(
        "health_check", .orOff(.section(HealthCheckSection.decode)), default: "off",
        "Probes each endpoint.")
    static let slowStart = Key(
        "slow_start", .orOff(.duration(.milliseconds(100) ... .seconds(3600))), default: "off",
        "How long an endpoint that is new, or back, takes to get its whole share.")
    static let breaker = Key(
        "breaker", .section(BreakerSection.decode),
        "Stops asking the whole cluster while it keeps failing.")
    static let http2 = Key(
        "http2", .flag, default: "false", reload: .newConnections,
        "HTTP/2 to the endpoints: agreed by ALPN where they speak TLS, else from the first byte "
            + "on. Requests share connections.")

    static let section = Section(
        "cluster", at: "clusters[]",
        "Named sets of interchangeable endpoints. Each has exactly one of endpoints and discovery.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080, { address: 10.0.1.2:8080, weight: 2 }]
                load_balancing: { policy: least_request }
                connect_timeout: 200ms
                host_header: { literal: api.internal }
                slow_start: 10s
            """,
        keys: [
            name.entry, endpoints.entry, discovery.entry, loadBalancing.entry,
            connectTimeout.entry, keepalive.entry, tls.entry, proxyProtocol.entry,
            hostHeader.entry,
            circuitBreakers.entry, concurrency.entry, queue.entry, outlierDetection.entry,
            healthCheck.entry,
            slowStart.entry, breaker.entry, http2.entry,
            .later("fault", "fault injection"),
        ])

    private static let hostHeaderWord = Kind<Cluster.HostHeader>.word(
        [("preserve", .preserve), ("endpoint", .endpoint)], orMapping: "{ literal: host[:port] }")

    private static let hostHeaderKind = Kind<Cluster.HostHeader>(
        type: hostHeaderWord.type, bounds: nil
    ) { node, report in
        guard case .mapping = node.content else {
            return hostHeaderWord.read(node, report)
        }
        guard let reader = SectionReader(node, HostHeaderSection.section, report) else {
            return nil
        }
        return reader.read(HostHeaderSection.literal).map { .literal($0) }
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Cluster? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let name = reader.read(name)
        if let name, let range = reader.valueRange(self.name) {
            report.places.declare(.cluster, name, range)
        }
        reader.requireOne(of: [endpoints.name, discovery.name])
        let fixed = reader.read(endpoints)
        if let fixed { refuseDuplicates(fixed, report) }
        if let zone = fixed?.lazy.compactMap(\.zone).first {
            report.places.zones.append(Places.Named(name: name ?? "", range: zone))
        }
        let source = reader.read(discovery) ?? fixed.map { .endpoints($0.map(\.endpoint)) }

        var cluster = Cluster(name: name ?? "", source: source ?? .endpoints([]))
        reader.read(loadBalancing, into: &cluster.balancing)
        reader.read(connectTimeout, into: &cluster.connectTimeout)
        reader.read(keepalive, into: &cluster.keepalive)
        cluster.tls = reader.read(tls)
        cluster.proxyProtocol = reader.read(proxyProtocol) ?? nil
        reader.read(hostHeader, into: &cluster.hostHeader)
        decodeGovernors(reader, into: &cluster)
        warnNoEffect(cluster, reader, report)
        refuseUnprovable(cluster, reader, report)
        refuseWithoutEndpoints(cluster, reader, report)
        reader.read(http2, into: &cluster.http2)
        if cluster.http2, cluster.proxyProtocol != nil, let range = reader.keyRange(http2) {
            report.error(
                .conflictingKeys, at: range,
                "'http2' shares connections among clients, 'proxy_protocol' gives each its own",
                help: "remove one of them")
        }
        return name == nil || source == nil ? nil : cluster
    }

    private static func decodeGovernors(_ reader: SectionReader, into cluster: inout Cluster) {
        reader.read(circuitBreakers, into: &cluster.ceilings)
        reader.read(concurrency, into: &cluster.concurrency)
        if let queue = reader.read(queue) {
            (cluster.queue, cluster.shadowQueue) = (queue.value, queue.value)
        } else {
            let pending = cluster.ceilings.maxPendingRequests ?? 0 > 0
            let modes = [cluster.concurrency.mode, pending ? cluster.ceilings.mode : .off]
            if modes.contains(.enforce) { cluster.queue = QueueSettings() }
            if modes.contains(where: { $0 != .off }) { cluster.shadowQueue = QueueSettings() }
        }
        reader.read(outlierDetection, into: &cluster.outlier)
        cluster.healthCheck = reader.read(healthCheck)?.value
        cluster.slowStart = reader.read(slowStart)?.value
        cluster.breaker = reader.read(breaker)
    }

    /// What cannot act in this cluster.
    private static func warnNoEffect(
        _ cluster: Cluster, _ reader: SectionReader, _ report: Report
    ) {
        if case .endpoints(let list) = cluster.source, list.count == 1, reader.has(endpoints),
            cluster.outlier.mode != .off, let range = reader.keyRange(outlierDetection)
        {
            report.warning(
                .neverEjects, at: range, "a cluster of one endpoint never ejects it",
                help: "ejection needs two or more endpoints; remove the key")
        }
    }

    /// A unix socket has no address that a certificate could be for.
    private static func refuseUnprovable(
        _ cluster: Cluster, _ reader: SectionReader, _ report: Report
    ) {
        guard let tls = cluster.tls, tls.verify, tls.serverName == nil,
            case .endpoints(let endpoints) = cluster.source, let range = reader.keyRange(self.tls),
            endpoints.contains(where: { if case .unix = $0.address { true } else { false } })
        else { return }
        report.error(
            .missingKey, at: range, "'tls' to a unix socket needs the key 'server_name'",
            help: "server_name: the name that the endpoint must prove")
    }

    /// What is known of one destination says nothing about the others.
    private static func refuseWithoutEndpoints(
        _ cluster: Cluster, _ reader: SectionReader, _ report: Report
    ) {
        guard cluster.source == .originalDestination else { return }
        let keys = [
            (loadBalancing.name, reader.keyRange(loadBalancing), true),
            (concurrency.name, reader.keyRange(concurrency), cluster.concurrency.mode != .off),
            (
                outlierDetection.name, reader.keyRange(outlierDetection),
                cluster.outlier.mode != .off
            ),
            (healthCheck.name, reader.keyRange(healthCheck), cluster.healthCheck != nil),
            (slowStart.name, reader.keyRange(slowStart), cluster.slowStart != nil),
        ]
        for case (let name, let range?, true) in keys {
            report.error(
                .conflictingKeys, at: range,
                "'\(name)' needs endpoints, which 'original_destination' has not",
                help: "remove the key; circuit_breakers and breaker hold for the whole cluster")
        }
    }

    /// An endpoint's state belongs to its address: two of one address would share it.
    private static func refuseDuplicates(_ endpoints: [EndpointSection.Placed], _ report: Report) {
        var seen: [Address: SourceRange] = [:]
        for placed in endpoints {
            guard let first = seen.updateValue(placed.range, forKey: placed.endpoint.address) else {
                continue
            }
            report.error(
                .duplicateAddress, at: placed.range, "the cluster already has this endpoint",
                help: "give it a 'weight' to have it picked more often",
                related: Diagnostic.Related(range: first, label: "first written here"))
        }
    }
}

enum HostHeaderSection {
    static let literal = Key("literal", .authority, required: true, "The host that is sent.")
    static let section = Section(
        "host_header", at: "clusters[].host_header", "A fixed Host.", keys: [literal.entry])
}
