// Who a request belongs to, and what each of them is allowed.

import WeirPolicy

enum TenantsSection {
    static let identify = Key(
        "identify", .list(of: .section(TenantIdentitySection.decode), "ways to tell tenants apart"),
        required: true,
        "Tried in order; the first that yields a value is the tenant's key. Requests for which "
            + "none does belong to one tenant of their own.")
    static let plans = Key(
        "plans", .named(.plan, TenantPlanSection.decode), required: true,
        "What tenants are allowed, by the plan's name.")
    static let defaultPlan = Key(
        "default_plan", .reference(to: "plan"), required: true,
        "The plan of tenants that 'assignments' does not name.")
    static let assignments = Key(
        "assignments", .section(AssignmentsSection.decode), "Which tenant has which plan.")
    static let maxTracked = Key(
        "max_tracked", .integer(100...100_000_000), default: "100000", reload: .restart,
        "Tenants whose buckets are kept at once. Idle ones make room; when all are busy, new ones "
            + "share a bucket. A tenant in use never gets a fresh one.")
    static let headers = Key(
        "headers", .word(RateHeaders.allCases.map { ($0.rawValue, $0) }), default: "ietf",
        "Response fields that tell clients about their limits: RateLimit and RateLimit-Policy "
            + "(ietf), X-RateLimit-Limit, -Remaining and -Reset (x_ratelimit), or none.")
    static let mode = Key(
        "mode", .mode, default: "enforce", "Of the plans' rates and concurrency caps.")

    static let section = Section(
        "tenants", at: "tenants", "Who a request belongs to, and what each of them is allowed.",
        example: """
            tenants:
              identify:
                - header: x-api-key
                - client_ip: { v4_prefix: 32, v6_prefix: 64 }
              plans:
                free: { rate: 10/s, burst: 20 }
                pro: { rate: 200/s, burst: 400, weight: 4, concurrency: 100 }
              default_plan: free
              assignments: { inline: { acme: pro } }
            """,
        keys: [
            identify.entry, plans.entry, defaultPlan.entry, assignments.entry, maxTracked.entry,
            headers.entry, mode.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Tenants? {
        guard let reader = SectionReader(node, section, report) else {
            report.places.unreadable.insert(.plan)
            return nil
        }
        let identities = reader.read(identify)
        let plans = reader.read(plans)
        let defaultPlan = reader.read(defaultPlan)
        // Without any plans the missing key is enough of a finding.
        if plans == nil { report.places.unreadable.insert(.plan) }
        report.places.refer(to: .plan, defaultPlan, reader.valueRange(self.defaultPlan))
        let assignments = reader.read(assignments)
        let maxTracked = reader.read(maxTracked)
        let headers = reader.read(headers)
        let mode = reader.read(mode)
        guard let identities, let plans, let defaultPlan else { return nil }
        var tenants = Tenants(identify: identities, plans: plans, defaultPlan: defaultPlan)
        if let assignments { tenants.assignments = assignments }
        if let maxTracked { tenants.maxTracked = maxTracked }
        if let headers { tenants.headers = headers }
        if let mode { tenants.mode = mode }
        warnUnreached(tenants, reader, report)
        return tenants
    }

    /// Every request has a client address: what stands behind it is never asked.
    private static func warnUnreached(
        _ tenants: Tenants, _ reader: SectionReader, _ report: Report
    ) {
        let last = tenants.identify.count - 1
        let always = tenants.identify.firstIndex {
            if case .clientIP = $0 { true } else { false }
        }
        guard let always, always < last, let range = reader.keyRange(identify) else { return }
        report.warning(
            .noEffect, at: range, "what follows 'client_ip' is never asked",
            help: "every request has a client address; move 'client_ip' to the end")
    }
}

enum TenantPlanSection {
    static let rate = RateReading.rateKey(
        required: false, "Requests that each tenant may make; without it there is no limit.")
    static let weight = Key(
        "weight", .integer(1...1000), default: "1",
        "Its tenants' share of a queue, relative to the others' weights.")
    static let concurrency = Key(
        "concurrency", .integer(1...1_000_000),
        "Requests that each tenant may have under way at once; without it there is no limit.")
    static let priority = Key(
        "priority", .reference(to: "priority class"),
        "The class of its requests on routes that name none.")

    static let section = Section(
        "plan", at: "tenants.plans.NAME",
        "What each tenant of the plan is allowed. Beyond its rate or its concurrency the answer is "
            + "429.",
        keys: [
            rate.entry, RateReading.burst.entry, weight.entry, concurrency.entry, priority.entry,
        ])

    static func decode(_ name: String, _ node: YAMLNode, _ report: Report) -> TenantPlan? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        if !reader.has(rate), let range = reader.keyRange(RateReading.burst) {
            report.error(
                .conflictingKeys, at: range, "'burst' without 'rate'",
                help: "a burst is how much of a rate may be used at once")
        }
        var plan = TenantPlan(name: name)
        plan.rate = RateReading.limit(reader, rate, cost: 1, report)
        reader.read(weight, into: &plan.weight)
        plan.concurrency = reader.read(concurrency)
        plan.priority = reader.read(priority)
        report.places.refer(to: .priorityClass, plan.priority, reader.valueRange(priority))
        return plan
    }
}

enum AssignmentsSection {
    static let file = Key(
        "file", .filePath,
        "A file with one key,plan on each line. It is watched and read anew when it changes.")
    static let inline = Key("inline", plansByKey, "Plans by tenant key.")

    static let section = Section(
        "assignments", at: "tenants.assignments",
        "Which tenant has which plan: exactly one of file and inline.",
        keys: [file.entry, inline.entry])

    private static let plansByKey = Kind<[String: String]>(
        type: "mapping of tenant keys to plans", bounds: nil
    ) { node, report in
        guard case .mapping(let entries) = node.content else {
            report.error(
                .wrongType, at: node.range,
                "expected a mapping such as { acme: pro }, found \(node.found)")
            return nil
        }
        var plans: [String: String] = [:]
        for entry in YAMLNode.Entry.unique(entries, "the tenant", report) {
            guard (1...256).contains(entry.key.utf8.count) else {
                report.error(
                    .badText, at: entry.keyRange, "\(Text.quoted(entry.key)) is no tenant's key",
                    help: "keys have 1 to 256 bytes")
                continue
            }
            guard let plan = Kind<String>.reference(to: "plan").read(entry.value, report) else {
                continue
            }
            report.places.refer(to: .plan, plan, entry.value.range)
            plans[entry.key] = plan
        }
        return plans
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Tenants.Assignments? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [file.name, inline.name])
        if let path = reader.read(file) { return .file(path) }
        return reader.read(inline).map { .inline($0) }
    }
}
