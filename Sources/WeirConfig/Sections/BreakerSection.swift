// When a route or a cluster is not asked for a while.

import WeirPolicy
import WeirTime

enum BreakerSection {
    private static let settings = BreakerSettings()

    static let mode = Key("mode", .mode, default: "enforce", "Whether the breaker refuses.")
    static let failurePercent = Key(
        "failure_percent", .integer(1...100), default: "\(settings.failurePercent)",
        "Failures among a hundred of the window's requests at which it opens.")
    static let minRequests = Key(
        "min_requests", .integer(1...1_000_000), default: "\(settings.minRequests)",
        "Requests in the window without which it stays closed.")
    static let window = Key(
        "window", .duration(.milliseconds(100) ... .seconds(3600)),
        default: Quantity.text(settings.window), "What failure_percent looks back on.")
    static let openFor = Key(
        "open_for", .duration(.milliseconds(10) ... .seconds(3600)),
        default: Quantity.text(settings.openFor), "How long it stays open before it probes.")
    static let probes = Key(
        "probes", .integer(1...1000), default: "\(settings.probes)",
        "Requests that may be under way while it probes. All must succeed for it to close.")
    static let fallback = Key(
        "fallback", .section(FallbackSection.decode), "The answer while it is open, instead of 503."
    )

    static let section = Section(
        "breaker", at: "routes[].breaker", andAt: ["clusters[].breaker"],
        "Stops asking what keeps failing, and probes it after a while. There is none unless it is "
            + "written; outlier_detection acts on single endpoints and is usually enough.",
        example: """
            routes:
              - name: recommendations
                cluster: api
                breaker:
                  failure_percent: 50
                  open_for: 5s
                  fallback: { status: 200, body: "[]", content_type: application/json }
            """,
        keys: [
            mode.entry, failurePercent.entry, minRequests.entry, window.entry, openFor.entry,
            probes.entry, fallback.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> BreakerPolicy? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var settings = BreakerSettings()
        settings.mode = reader.read(mode) ?? .enforce
        reader.read(failurePercent, into: &settings.failurePercent)
        reader.read(minRequests, into: &settings.minRequests)
        reader.read(window, into: &settings.window)
        reader.read(openFor, into: &settings.openFor)
        reader.read(probes, into: &settings.probes)
        var policy = BreakerPolicy(settings: settings)
        policy.fallback = reader.read(fallback)
        return policy
    }
}

/// A fixed response with a name and a place of its own.
enum FallbackSection {
    static let section = Section(
        "fallback", at: "routes[].breaker.fallback", andAt: ["clusters[].breaker.fallback"],
        "A fixed response.",
        keys: [
            DirectResponseSection.status.entry, DirectResponseSection.body.entry,
            DirectResponseSection.contentType.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Route.DirectResponse? {
        DirectResponseSection.decode(node, as: section, report)
    }
}
