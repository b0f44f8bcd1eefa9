// How often something may happen: one rule of `rate_limits`.

import WeirPolicy

enum RateRuleSection {
    static let name = Key("name", .name, default: "none", "Its name in logs and metrics.")
    static let key = Key(
        "key", keys, default: "[]",
        "What has a bucket of its own: tenant, route, client_ip, method, host, { header: NAME }, "
            + "{ query: NAME }, { path_segment: N }, or a list of them for each combination. "
            + "Without it all requests share one. A missing value is a value of its own.")
    static let rate = RateReading.rateKey(
        required: true, "How much may be used; a request uses 'cost'.")
    static let cost = Key(
        "cost", .integer(1...1_000_000), default: "1", "What a request uses of the rate.")
    static let mode = Key("mode", .mode, default: "enforce", "Whether the rule refuses.")

    static let section = Section(
        "rate limit", at: "rate_limits[]", andAt: ["routes[].rate_limits[]"],
        "A rate and the buckets it holds for. A request is charged to its tenant's plan, its "
            + "route's rules and the global ones together, or, when any of them refuses, to none. "
            + "The answer is then 429 with the true Retry-After.",
        example: """
            rate_limits:
              - { name: everything, rate: 5000/s }
            routes:
              - name: search
                match: { path_prefix: /search }
                cluster: api
                rate_limits:
                  - { key: client_ip, rate: 5/s, burst: 10 }
                  - { key: [client_ip, { header: x-user }], rate: 100/m, mode: shadow }
            """,
        keys: [
            name.entry, key.entry, rate.entry, RateReading.burst.entry, cost.entry, mode.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> RateRule? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let name = reader.read(name)
        if let name, let range = reader.valueRange(self.name) {
            report.places.rules.append(Places.Named(name: name, range: range))
        }
        let key = reader.read(key)
        let cost = reader.read(cost) ?? 1
        let mode = reader.read(mode) ?? .enforce
        if mode == .off, let range = reader.valueRange(self.mode) {
            report.warning(
                .noEffect, at: range, "a rate limit with 'mode: off' has no effect",
                help: "'mode: shadow' counts what it would refuse")
        }
        guard let limit = RateReading.limit(reader, rate, cost: cost, report) else { return nil }
        var rule = RateRule(limit: limit)
        rule.name = name
        rule.key = key ?? []
        rule.cost = cost
        rule.mode = mode
        return rule
    }

    /// The rules of one list, whose names differ.
    static let rules = Kind<[RateRule]>(type: "list of rate limits", bounds: "up to 8") {
        node, report in
        let list = Kind.list(of: .section(decode), "rate limits", mayBeEmpty: true, atMost: 8)
        defer { report.places.endRules() }
        return list.read(node, report)
    }

    /// One key or a list of them.
    private static let keys = Kind<[RateKey]>(
        type: "word, mapping, or a list of them", bounds: nil
    ) { node, report in
        if case .list = node.content {
            return Kind.list(of: RateKeySection.kind, "keys", mayBeEmpty: true).read(node, report)
        }
        return RateKeySection.kind.read(node, report).map { [$0] }
    }
}

enum RateKeySection {
    static let header = Key("header", .endToEndField, "The value of this field.")
    static let query = Key(
        "query", .parameter("a parameter's name"), "The value of this query parameter.")
    static let pathSegment = Key(
        "path_segment", .integer(1...16), "This segment of the path; the first is 1.")

    static let section = Section(
        "key", at: "rate_limits[].key",
        "A word (tenant, route, client_ip, method, host) or a mapping with exactly one of these. "
            + "client_ip is an IPv4 address, or the first 64 bits of an IPv6 address.",
        keys: [header.entry, query.entry, pathSegment.entry])

    private static let word = Kind<RateKey>.word(
        [
            ("tenant", .tenant), ("route", .route), ("client_ip", .clientIP), ("method", .method),
            ("host", .host),
        ], orMapping: "a mapping such as { header: x-user }")

    static let kind = Kind<RateKey>(type: word.type, bounds: nil) { node, report in
        guard case .mapping = node.content else {
            let key = word.read(node, report)
            if key == .tenant { report.places.tenantUses.append(node.range) }
            return key
        }
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [header.name, query.name, pathSegment.name])
        if let name = reader.read(header) { return .header(name) }
        if let name = reader.read(query) { return .query(name) }
        return reader.read(pathSegment).map { .pathSegment($0) }
    }
}
