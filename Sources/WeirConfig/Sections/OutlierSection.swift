// When an endpoint is put out of balancing for a while.

import WeirPolicy
import WeirTime

enum OutlierSection {
    private static let settings = OutlierSettings()
    private static let counts = Kind<OrOff<Int>>.orOff(.integer(1...100_000))
    private static let times: ClosedRange<Interval> = .milliseconds(100) ... .seconds(86400)

    private static func count(_ n: Int) -> String { n == 0 ? "off" : "\(n)" }

    static let mode = Key("mode", .mode, default: "enforce", "Whether endpoints are ejected.")
    static let consecutive5xx = Key(
        "consecutive_5xx", counts, default: count(settings.consecutive5xx),
        "Failures in a row that eject: 5xx, and what ended without an answer. A 429 or 503 with "
            + "Retry-After means busy, not broken, and counts for nothing.")
    static let consecutiveGateway = Key(
        "consecutive_gateway", counts, default: count(settings.consecutiveGateway),
        "Gateway failures in a row that eject: 502, 503, 504, and what ended without an answer.")
    static let interval = Key(
        "interval", .duration(.milliseconds(100) ... .seconds(3600)),
        default: Quantity.text(settings.interval), "The window over which endpoints are compared.")
    static let baseEjectionTime = Key(
        "base_ejection_time", .duration(times), default: Quantity.text(settings.baseEjectionTime),
        "The first ejection's length. It doubles with each one that follows, with jitter.")
    static let maxEjectionTime = Key(
        "max_ejection_time", .duration(times), default: Quantity.text(settings.maxEjectionTime),
        "What the doubling ends at.")
    static let maxEjectionPercent = Key(
        "max_ejection_percent", .integer(0...100), default: "\(settings.maxEjectionPercent)",
        "Of the cluster's endpoints that may be ejected at once. One of two or more always may.")
    static let panicThreshold = Key(
        "panic_threshold", .integer(0...100), default: "\(settings.panicThreshold)",
        "Below this percentage of usable endpoints all of them are used. 0 is never.")
    static let failureRate = Key(
        "failure_rate", .orOff(.section(FailureRateSection.decode)),
        "Ejects the endpoint that fails much more often than its peers.")
    static let latency = Key(
        "latency", .orOff(.section(OutlierLatencySection.decode)),
        "Ejects the endpoint that is much slower than its peers, unfinished requests included.")

    static let section = Section(
        "outlier_detection", at: "clusters[].outlier_detection",
        "Ejects endpoints that fail or are slow, as live traffic shows it, and readmits them on "
            + "probation. Without this section none is ejected.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080, 10.0.1.2:8080]
                outlier_detection:
                  consecutive_5xx: 5
                  base_ejection_time: 5s
                  max_ejection_percent: 50
                  latency: { factor: 3, min_requests: 50 }
            """,
        keys: [
            mode.entry, consecutive5xx.entry, consecutiveGateway.entry, interval.entry,
            baseEjectionTime.entry, maxEjectionTime.entry, maxEjectionPercent.entry,
            panicThreshold.entry, failureRate.entry, latency.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> OutlierSettings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var settings = OutlierSettings()
        settings.mode = reader.read(mode) ?? .enforce
        if let count = reader.read(consecutive5xx) { settings.consecutive5xx = count.value ?? 0 }
        if let count = reader.read(consecutiveGateway) {
            settings.consecutiveGateway = count.value ?? 0
        }
        reader.read(interval, into: &settings.interval)
        reader.read(baseEjectionTime, into: &settings.baseEjectionTime)
        reader.read(maxEjectionTime, into: &settings.maxEjectionTime)
        reader.read(maxEjectionPercent, into: &settings.maxEjectionPercent)
        reader.read(panicThreshold, into: &settings.panicThreshold)
        switch reader.read(failureRate) {
        case .off: settings.comparesFailures = false
        case .value(let minRequests): settings.failureMinRequests = minRequests
        case nil: break
        }
        switch reader.read(latency) {
        case .off: settings.latencyFactor = 0
        case .value(let latency):
            settings.latencyFactor = latency.factor
            settings.latencyMinRequests = latency.minRequests
        case nil: break
        }
        check(settings, reader, report)
        return settings
    }

    private static func check(
        _ settings: OutlierSettings, _ reader: SectionReader, _ report: Report
    ) {
        if settings.baseEjectionTime > settings.maxEjectionTime,
            let range = reader.valueRange(baseEjectionTime) ?? reader.valueRange(maxEjectionTime)
        {
            report.error(
                .limitOrder, at: range,
                "base_ejection_time (\(Quantity.text(settings.baseEjectionTime))) exceeds "
                    + "max_ejection_time (\(Quantity.text(settings.maxEjectionTime)))")
        }
        guard settings.mode != .off else { return }
        if settings.maxEjectionPercent == 0, let range = reader.valueRange(maxEjectionPercent) {
            report.warning(
                .neverEjects, at: range, "no share of the cluster may be ejected",
                help: "one endpoint of two or more still may; for none, write 'mode: off'")
        }
        if settings.consecutive5xx == 0, settings.consecutiveGateway == 0,
            !settings.comparesFailures, settings.latencyFactor == 0
        {
            report.warning(
                .neverEjects, at: reader.startRange, "everything that could eject is off",
                help: "leave one of consecutive_5xx, consecutive_gateway, failure_rate and latency "
                    + "on, or write 'mode: off'")
        }
    }
}

enum FailureRateSection {
    static let minRequests = Key(
        "min_requests", .integer(1...1_000_000),
        default: "\(OutlierSettings().failureMinRequests)",
        "Answers in an interval without which an endpoint is not judged.")

    static let section = Section(
        "failure_rate", at: "clusters[].outlier_detection.failure_rate",
        "Compares how often endpoints fail.", keys: [minRequests.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Int? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        return reader.read(minRequests) ?? OutlierSettings().failureMinRequests
    }
}

enum OutlierLatencySection {
    struct Latency: Sendable {
        var factor: Double
        var minRequests: Int
    }

    private static let settings = OutlierSettings()

    static let factor = Key(
        "factor", .decimal(1.1...1000, "1.1 to 1000", such: "3"),
        default: Decimal.text(settings.latencyFactor),
        "Times the median of its peers at which an endpoint counts as slow.")
    static let minRequests = Key(
        "min_requests", .integer(1...1_000_000), default: "\(settings.latencyMinRequests)",
        "Answers in an interval without which an endpoint's median is not judged.")

    static let section = Section(
        "latency", at: "clusters[].outlier_detection.latency",
        "Compares how long endpoints take.", keys: [factor.entry, minRequests.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Latency? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        return Latency(
            factor: reader.read(factor) ?? settings.latencyFactor,
            minRequests: reader.read(minRequests) ?? settings.latencyMinRequests)
    }
}
