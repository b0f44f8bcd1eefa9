// The report as a table that is read in a terminal.

import WeirPolicy
import WeirTime

extension SimReport {
    /// The whole report as text of at most 120 columns.
    package var table: String {
        var lines = ["scenario \(scenario)   seed \(seed)   \(Text.seconds(length)) simulated"]
        lines.append(
            "capacity \(Text.number(capacity))/s   \(requests) requests"
                + "   attempts a request \(Text.ratio(whole.attemptsPerRequest))"
                + "   decisions \(Text.hex(decisionHash))")
        for window in windows where window.offered > 0 {
            lines.append("")
            lines += self.lines(of: window)
        }
        if let tenants = windows.first?.tenants, tenants.count > 1 {
            lines.append("")
            lines += tenantLines(tenants)
        }
        lines.append("")
        lines += endpointLines
        lines += violations.map { "VIOLATED \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }

    private static let columns = [14, 9, 9, 8, 9, 9, 9, 9]

    private static func row(_ cells: [String], _ rest: String = "") -> String {
        var line = ""
        for (cell, width) in zip(cells, columns) {
            let isFirst = line.isEmpty
            line += isFirst ? Text.left(cell, width) : Text.right(cell, width)
        }
        return rest.isEmpty ? line : line + "  " + rest
    }

    private static let heads = [
        "", "offered", "served", "%", "p50", "p95", "p99", "attempts",
    ]

    private func lines(of window: WindowReport) -> [String] {
        let until = min(window.window.until, length)
        let time = until - window.window.from
        let rate = time > .zero ? Double(window.served) / time.seconds : 0
        var lines = [
            "\(window.window.name): \(Text.seconds(window.window.from)) to \(Text.seconds(until)), "
                + "\(Text.number(rate)) served a second",
            Self.row(Self.heads, "not served"),
        ]
        for (index, tally) in window.classes.enumerated() where tally.offered > 0 {
            let name = index < classNames.count ? classNames[index] : "class \(index)"
            lines.append(Self.row(cells(name, tally), Self.reasons(tally)))
        }
        return lines
    }

    private func tenantLines(_ tenants: [Tally]) -> [String] {
        var lines = [Self.row(["tenants"] + Self.heads.dropFirst(), "not served")]
        // Equal offers keep the order of tenants: a sort need not be stable.
        let order = tenants.indices.sorted {
            (tenants[$0].offered, $1) > (tenants[$1].offered, $0)
        }
        for index in order.prefix(10) where tenants[index].offered > 0 {
            lines.append(
                Self.row(cells("tenant \(index)", tenants[index]), Self.reasons(tenants[index])))
        }
        return lines
    }

    private func cells(_ name: String, _ tally: Tally) -> [String] {
        [
            name, "\(tally.offered)", "\(tally.served)", Text.percent(tally.successRate),
            Text.milliseconds(tally.latency.quantile(0.5)),
            Text.milliseconds(tally.latency.quantile(0.95)),
            Text.milliseconds(tally.latency.quantile(0.99)),
            Text.ratio(tally.attemptsPerRequest),
        ]
    }

    private static func reasons(_ tally: Tally) -> String {
        var parts = tally.reasons.map { "\($0.refusal.code) \($0.count)" }
        if tally.failed > 0 { parts.append("passed on \(tally.failed)") }
        return parts.joined(separator: ", ")
    }

    private var endpointLines: [String] {
        let known = limits.compactMap { $0 }
        var lines: [String] = []
        if !known.isEmpty {
            lines.append("limits at the end: " + known.map(String.init).joined(separator: " "))
        }
        lines.append("ejections: \(ejections.count)")
        for logged in events.prefix(12) {
            lines.append(
                "  \(Text.seconds(logged.event.at - Instant(nanoseconds: 0))) \(logged.event.text)")
        }
        if events.count > 12 { lines.append("  and \(events.count - 12) more events") }
        return lines
    }
}

extension EndpointEvent {
    /// As the table says it.
    var text: String {
        let name = endpoint == 0 ? "cluster" : "endpoint \(endpoint - 1)"
        switch kind {
        case .ejected(let reason, let length, let isShadow):
            let verb = isShadow ? "would be ejected" : "ejected"
            return "\(name) \(verb) for \(Text.seconds(length)): \(reason.code)"
        case .spared(let reason): return "\(name) spared: \(reason.code)"
        case .probation: return "\(name) on probation"
        case .readmitted: return "\(name) readmitted"
        case .paused(let length): return "\(name) paused for \(Text.seconds(length))"
        case .unhealthy: return "\(name) unhealthy"
        case .wouldBeUnhealthy: return "\(name) would be unhealthy"
        case .wouldBeHealthy: return "\(name) would be healthy"
        case .healthy: return "\(name) healthy"
        case .limitChanged(let from, let to): return "\(name) limit \(from) -> \(to)"
        case .panicBegan: return "panic begins"
        case .panicEnded: return "panic ends"
        }
    }
}
