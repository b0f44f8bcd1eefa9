// The parts of a cluster: endpoints, discovery, kept connections.

import WeirTime

enum EndpointSection {
    /// An endpoint and where it is written.
    struct Placed {
        var endpoint: Cluster.Endpoint
        var range: SourceRange
        var zone: SourceRange?
    }

    static let address = Key(
        "address", .endpointAddress, required: true, "Where the origin listens.")
    static let weight = Key(
        "weight", .integer(1...1000), default: "1", "Its share, relative to the others' weights.")

    static let zone = Key(
        "zone", .name, default: "none",
        "Where it runs. Endpoints in the zone of 'runtime' are preferred.")
    static let priority = Key(
        "priority", .integer(0...9), default: "0",
        "0 is used first; higher ones when too few of those before are usable.")

    static let section = Section(
        "endpoint", at: "clusters[].endpoints[]",
        "An endpoint; an IP:port alone stands for a mapping with that address.",
        keys: [address.entry, weight.entry, zone.entry, priority.entry])

    static let kind = Kind<Placed>(type: "IP:port or mapping", bounds: nil) { node, report in
        if case .scalar = node.content {
            return Kind<Address>.endpointAddress.read(node, report).map {
                Placed(endpoint: Cluster.Endpoint(address: $0), range: node.range)
            }
        }
        guard let reader = SectionReader(node, section, report) else { return nil }
        let weight = reader.read(EndpointSection.weight)
        let zone = reader.read(EndpointSection.zone)
        let priority = reader.read(EndpointSection.priority)
        guard let address = reader.read(EndpointSection.address),
            let range = reader.valueRange(EndpointSection.address)
        else { return nil }
        var endpoint = Cluster.Endpoint(address: address)
        if let weight { endpoint.weight = weight }
        endpoint.zone = zone
        if let priority { endpoint.priority = priority }
        return Placed(
            endpoint: endpoint, range: range, zone: reader.keyRange(EndpointSection.zone))
    }
}

enum DiscoverySection {
    static let dns = Key(
        "dns", .dnsTarget, required: true,
        "A name whose addresses (A and AAAA records) are the endpoints, and their port.")
    static let resolveEvery = Key(
        "resolve_every", .duration(.milliseconds(100) ... .seconds(86400)),
        default: "the records' time to live", "How often the name is looked up again.")

    static let section = Section(
        "discovery", at: "clusters[].discovery", "Endpoints that are looked up.",
        example: """
            clusters:
              - name: catalog
                discovery: { dns: catalog.internal:8080, resolve_every: 10s }
            """,
        keys: [
            dns.entry, resolveEvery.entry,
            .later("file", "endpoints from a watched file", insteadOf: "dns"),
        ])

    private static let word = Kind<Cluster.Source>.word(
        [("original_destination", .originalDestination)],
        orMapping: "a mapping such as { dns: name:port }")

    /// A section, or the word for what needs none.
    static let kind = Kind<Cluster.Source>(type: word.type, bounds: nil) { node, report in
        guard case .mapping = node.content else { return word.read(node, report) }
        return decode(node, report)
    }

    private static func decode(_ node: YAMLNode, _ report: Report) -> Cluster.Source? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let every = reader.read(resolveEvery)
        return reader.read(dns).map { .dns(host: $0.host, port: $0.port, resolveEvery: every) }
    }
}

enum KeepaliveSection {
    static let idleTimeout = Key(
        "idle_timeout", .duration(.milliseconds(10) ... .seconds(86400)), default: "60s",
        "How long an idle upstream connection is kept. Keep it below the origin's own timeout.")
    static let maxIdle = Key(
        "max_idle", .integer(0...100_000), default: "64",
        "Idle connections kept for each worker and endpoint. 0 closes after each request.")

    static let section = Section(
        "keepalive", at: "clusters[].keepalive", "How idle upstream connections are kept.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080]
                keepalive: { idle_timeout: 30s, max_idle: 128 }
            """,
        keys: [idleTimeout.entry, maxIdle.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Cluster.Keepalive? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var keepalive = Cluster.Keepalive()
        reader.read(idleTimeout, into: &keepalive.idleTimeout)
        reader.read(maxIdle, into: &keepalive.maxIdle)
        return keepalive
    }
}
