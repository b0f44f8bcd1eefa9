// How an endpoint is picked.

enum BalancingSection {
    static let policy = Key(
        "policy", .word(Cluster.Balancing.Kind.allCases.map { ($0.rawValue, $0) }),
        default: "round_robin",
        "round_robin takes endpoints in turn by weight; least_request the less loaded of two drawn "
            + "by weight; peak_ewma the one of three with less latency times load; ring_hash and "
            + "maglev the one that hash_on leads to.")
    static let hashOn = Key(
        "hash_on", HashOnSection.kind,
        "What is hashed, with ring_hash and maglev: requests with the same value go to the same "
            + "endpoint. Those without a value are spread.")
    static let boundedLoad = Key(
        "bounded_load", .orOff(.decimal(1...16, "1 to 16", such: "1.25")), default: "off",
        "With ring_hash and maglev: times its fair share that an endpoint may be loaded before the "
            + "next one is taken.")

    static let section = Section(
        "load_balancing", at: "clusters[].load_balancing",
        "How an endpoint is picked, among those that are usable and have room.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080, 10.0.1.2:8080]
                load_balancing: { policy: ring_hash, hash_on: { header: x-user } }
            """,
        keys: [policy.entry, hashOn.entry, boundedLoad.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Cluster.Balancing? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var balancing = Cluster.Balancing()
        let kind = reader.read(policy)
        if let kind { balancing.kind = kind }
        balancing.hashOn = reader.read(hashOn)
        balancing.boundedLoad = reader.read(boundedLoad)?.value
        // A policy that was refused may have been meant to hash.
        guard kind != nil || !reader.has(policy) else { return balancing }
        if balancing.kind.isHash {
            if !reader.has(hashOn) {
                report.error(
                    .missingKey, at: reader.startRange,
                    "\(balancing.kind.rawValue) needs the key 'hash_on'",
                    help: "hash_on: tenant, client_ip, path, { header: NAME }, { cookie: NAME } or "
                        + "{ query: NAME }")
            }
            return balancing
        }
        let keys = [
            (hashOn.name, reader.keyRange(hashOn)),
            (boundedLoad.name, balancing.boundedLoad == nil ? nil : reader.keyRange(boundedLoad)),
        ]
        for case (let name, let range?) in keys {
            report.error(
                .conflictingKeys, at: range,
                "'\(name)' without a policy that hashes: this is \(balancing.kind.rawValue)",
                help: "give 'policy: ring_hash' or 'policy: maglev', or remove the key")
        }
        return balancing
    }
}

enum HashOnSection {
    static let header = Key("header", .endToEndField, "The value of this field.")
    static let cookie = Key("cookie", .parameter("a cookie's name"), "The value of this cookie.")
    static let query = Key(
        "query", .parameter("a parameter's name"), "The value of this query parameter.")

    static let section = Section(
        "hash_on", at: "clusters[].load_balancing.hash_on",
        "A word (tenant, client_ip, path) or a mapping with exactly one of these.",
        keys: [header.entry, cookie.entry, query.entry])

    private static let word = Kind<Cluster.HashKey>.word(
        [("tenant", .tenant), ("client_ip", .clientIP), ("path", .path)],
        orMapping: "a mapping such as { header: x-user }")

    static let kind = Kind<Cluster.HashKey>(type: word.type, bounds: nil) { node, report in
        guard case .mapping = node.content else {
            let key = word.read(node, report)
            if key == .tenant { report.places.tenantUses.append(node.range) }
            return key
        }
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [header.name, cookie.name, query.name])
        if let name = reader.read(header) { return .header(name) }
        if let name = reader.read(cookie) { return .cookie(name) }
        return reader.read(query).map { .query($0) }
    }
}
