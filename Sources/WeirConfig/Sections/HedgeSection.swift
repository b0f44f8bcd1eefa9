// A second request where the first takes long.

import WeirTime

enum HedgeSection {
    static let mode = Key(
        "mode", .mode, default: "enforce",
        "shadow counts the hedges that it would send, on a budget of their own, and sends none.")
    static let after = Key(
        "after", afterKind, default: "p95",
        "How long the first may take: a percentile of the route's own answers (p50 to p99), or a "
            + "duration.")
    static let percent = Key(
        "percent", .integer(1...10), default: "1",
        "Hedges for each hundred of the route's requests. Each is paid for from the cluster's "
            + "retry budget too.")

    static let section = Section(
        "hedge", at: "routes[].hedge",
        "Sends a GET or HEAD a second time, to another endpoint, when the first takes long; the "
            + "answer that comes first is used. Other methods are never hedged.",
        example: """
            routes:
              - name: api
                cluster: api
                hedge: { after: p95, percent: 1 }
            """,
        keys: [mode.entry, after.entry, percent.entry])

    private static let delay = Kind<Interval>.duration(.milliseconds(1) ... .seconds(60))

    private static let afterKind = Kind<Hedge.After>(
        type: "pN or \(delay.type)", bounds: "p50 to p99, or \(delay.bounds ?? "")"
    ) { node, report in
        guard let text = node.text, text.hasPrefix("p") else {
            return delay.read(node, report).map { .delay($0) }
        }
        guard let percentile = AddressText.number(String(text.dropFirst())),
            (50...99).contains(percentile)
        else {
            report.error(
                .outOfRange, at: node.range, "\(Text.quoted(text)) is no percentile",
                help: "expected p50 to p99, or a duration")
            return nil
        }
        return .percentile(percentile)
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Hedge? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var hedge = Hedge(after: .percentile(95))
        reader.read(mode, into: &hedge.mode)
        reader.read(after, into: &hedge.after)
        reader.read(percent, into: &hedge.percent)
        return hedge
    }
}
