// weir's own probes of endpoints.

import WeirPolicy
import WeirTime

enum HealthCheckSection {
    private static let settings = HealthCheckSettings()

    static let mode = Key(
        "mode", .mode, default: "enforce",
        "shadow probes and says what it has found, and takes no endpoint out.")
    static let path = Key("path", .urlPath, "Is asked for with GET.")
    static let tcp = Key("tcp", .present, "true: a connection is enough.")
    static let statuses = Key(
        "statuses", .statuses, default: "200-299", "Statuses of a healthy answer.")
    static let interval = Key(
        "interval", .duration(.milliseconds(100) ... .seconds(3600)),
        default: Quantity.text(settings.interval), "From one probe to the next.")
    static let timeout = Key(
        "timeout", .duration(.milliseconds(10) ... .seconds(60)),
        default: Quantity.text(settings.timeout), "How long a probe may take.")
    static let unhealthy = Key(
        "unhealthy", .integer(1...100), default: "\(settings.unhealthy)",
        "Failures in a row after which the endpoint is not used.")
    static let healthy = Key(
        "healthy", .integer(1...100), default: "\(settings.healthy)",
        "Successes in a row after which it is used again.")

    static let section = Section(
        "health_check", at: "clusters[].health_check",
        "Probes each endpoint: exactly one of path and tcp. A good probe does not bring back an "
            + "endpoint that live traffic has ejected.",
        example: """
            clusters:
              - name: api
                endpoints: [10.0.1.1:8080]
                health_check: { path: /healthz, interval: 5s, timeout: 1s, statuses: 200-399 }
            """,
        keys: [
            mode.entry, path.entry, tcp.entry, statuses.entry, interval.entry, timeout.entry,
            unhealthy.entry, healthy.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> HealthCheckSettings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [path.name, tcp.name])
        var settings = HealthCheckSettings()
        let statuses = reader.read(statuses)
        let isTCP = reader.read(tcp) == true
        if let path = reader.read(path) {
            settings.kind = .http(path: path, statuses: statuses ?? 200...299)
        } else if isTCP, let range = reader.keyRange(self.statuses) {
            report.warning(
                .noEffect, at: range, "'statuses' has no effect with 'tcp'",
                help: "a connection is enough; remove the key, or give a 'path'")
        }
        reader.read(mode, into: &settings.mode)
        reader.read(interval, into: &settings.interval)
        reader.read(timeout, into: &settings.timeout)
        reader.read(unhealthy, into: &settings.unhealthy)
        reader.read(healthy, into: &settings.healthy)
        if settings.timeout >= settings.interval,
            let range = reader.valueRange(timeout) ?? reader.valueRange(interval)
        {
            report.warning(
                .timeoutOrder, at: range,
                "the probe's timeout (\(Quantity.text(settings.timeout))) is not below its "
                    + "interval (\(Quantity.text(settings.interval)))",
                help: "a slow endpoint would be probed without a pause")
        }
        return settings
    }
}
