// How much a cluster takes at once, and who may wait: ceilings, concurrency, queue.

import WeirPolicy
import WeirTime

enum CeilingsSection {
    private static let least = Kind<OrOff<Int>>.orOff(.integer(1...10_000_000))

    static let mode = Key(
        "mode", .mode, default: "enforce", "shadow counts what it would refuse, and refuses nobody."
    )
    static let maxConnections = Key(
        "max_connections", least, default: "off",
        "Connections. HTTP/1 needs one for each request in flight.")
    static let maxPendingRequests = Key(
        "max_pending_requests", .orOff(.integer(0...10_000_000)), default: "off",
        "Requests that wait. Beyond it the answer is 503.")
    static let maxRequests = Key(
        "max_requests", least, default: "off", "Requests in flight.")
    static let maxRetries = Key(
        "max_retries", .orOff(.integer(0...10_000_000)), default: "off",
        "Retries in flight. Beyond it the failure is answered as it is.")

    static let section = Section(
        "circuit_breakers", at: "clusters[].circuit_breakers",
        "Hard caps, exact across all workers of the process.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080]
                circuit_breakers: { max_requests: 4000, max_retries: 3 }
            """,
        keys: [
            mode.entry, maxConnections.entry, maxPendingRequests.entry, maxRequests.entry,
            maxRetries.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Cluster.Ceilings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var ceilings = Cluster.Ceilings()
        reader.read(mode, into: &ceilings.mode)
        ceilings.maxConnections = reader.read(maxConnections)?.value
        ceilings.maxPendingRequests = reader.read(maxPendingRequests)?.value
        ceilings.maxRequests = reader.read(maxRequests)?.value
        ceilings.maxRetries = reader.read(maxRetries)?.value
        return ceilings
    }
}

enum ConcurrencySection {
    private static let settings = ConcurrencySettings()
    private static let limits = Kind<Int>.integer(1...65_535)

    static let mode = Key(
        "mode", Kind<Mode>.word([("adaptive", .enforce), ("shadow", .shadow), ("off", .off)]),
        default: "adaptive",
        "adaptive: an endpoint gets no more requests at once than its latency shows it can work "
            + "on. shadow finds the limit, counts what it would refuse, and refuses nobody.")
    static let min = Key(
        "min", limits, default: "\(settings.minimum)", "The least that a limit can be.")
    static let max = Key(
        "max", limits, default: "\(settings.maximum)", "The most that a limit can be.")

    static let section = Section(
        "concurrency", at: "clusters[].concurrency",
        "How many requests each endpoint works on at once, found by measurement. Without this "
            + "section there is no limit.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080]
                concurrency: { mode: adaptive, min: 10, max: 1000 }
                queue: { max_wait: 100ms, max_length: 500 }
            """,
        keys: [mode.entry, min.entry, max.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> ConcurrencySettings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var settings = ConcurrencySettings()
        settings.mode = reader.read(mode) ?? .enforce
        reader.read(min, into: &settings.minimum)
        reader.read(max, into: &settings.maximum)
        if settings.minimum > settings.maximum,
            let range = reader.valueRange(min) ?? reader.valueRange(max)
        {
            report.error(
                .limitOrder, at: range,
                "min (\(settings.minimum)) exceeds max (\(settings.maximum))")
            return nil
        }
        settings.initial = Swift.min(
            Swift.max(settings.initial, settings.minimum), settings.maximum)
        return settings
    }
}

enum QueueSection {
    private static let settings = QueueSettings()
    private static let waits: ClosedRange<Interval> = .milliseconds(1) ... .seconds(60)

    static let maxWait = Key(
        "max_wait", .duration(waits), default: Quantity.text(settings.maxWait),
        "How long a request may wait for a permit, and never past its deadline.")
    static let standingWait = Key(
        "standing_wait", .duration(waits), default: Quantity.text(settings.standingWait),
        "How long it may wait once its tenant's queue has not been empty for max_wait.")
    static let maxLength = Key(
        "max_length", .integer(1...1_000_000), default: "\(settings.maxLength)",
        "Requests that wait at once. A full queue pushes out the newest request of the tenant "
            + "that has most of them, in the worst class.")

    static let section = Section(
        "queue", at: "clusters[].queue",
        "Where requests wait while no endpoint has room: by priority class, then fairly between "
            + "tenants. Without a queue they are refused at once.",
        keys: [maxWait.entry, standingWait.entry, maxLength.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> QueueSettings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var settings = QueueSettings()
        reader.read(maxWait, into: &settings.maxWait)
        reader.read(maxLength, into: &settings.maxLength)
        // A default that exceeds what is written would be a contradiction that nobody wrote.
        settings.standingWait = min(settings.standingWait, settings.maxWait)
        reader.read(standingWait, into: &settings.standingWait)
        if settings.standingWait > settings.maxWait, let range = reader.valueRange(standingWait) {
            report.error(
                .limitOrder, at: range,
                "standing_wait (\(Quantity.text(settings.standingWait))) exceeds max_wait "
                    + "(\(Quantity.text(settings.maxWait)))",
                help: "a queue that stands must be waited in for less time, not more")
        }
        return settings
    }
}
