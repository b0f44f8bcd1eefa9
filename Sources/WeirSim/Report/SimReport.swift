// What a simulation has shown.

import WeirPolicy
package import WeirTime

/// An invariant that did not hold.
package struct Violation: Equatable, Sendable, CustomStringConvertible {
    /// As docs/policies numbers it: `I12`.
    package var invariant: String
    package var at: Interval
    package var text: String

    package var description: String { "\(invariant) at \(at.seconds) s: \(text)" }
}

/// One part of the time.
package struct WindowReport: Equatable, Sendable {
    package var window: Window
    /// By class, the best first.
    package var classes: [Tally]
    /// By tenant; the first 32 of them.
    package var tenants: [Tally]

    /// All classes together. Latencies are not added up.
    package var offered: Int { classes.reduce(0) { $0 + $1.offered } }
    package var served: Int { classes.reduce(0) { $0 + $1.served } }
    package var attempts: Int { classes.reduce(0) { $0 + $1.attempts } }
    package var attemptsPerRequest: Double {
        offered == 0 ? 0 : Double(attempts) / Double(offered)
    }
}

/// The whole of it.
package struct SimReport: Equatable, Sendable {
    package var scenario: String
    package var seed: UInt64
    package var length: Interval
    package var classNames: [String]
    /// Requests a second that the endpoints can serve.
    package var capacity: Double
    /// The first one is the whole time.
    package var windows: [WindowReport]
    package var series: [SeriesPoint]
    /// Changes of endpoints, but for those of limits.
    package var events: [LoggedEvent]
    /// Requests that arrived, clients' own tries again among them.
    package var requests: Int
    /// What clients wanted, however often they tried, and how much of it they got.
    package var wishes: Int
    package var wishesGranted: Int
    package var retries: Int
    package var retriesOverBudget: Int
    /// Equal for equal decisions.
    package var decisionHash: UInt64
    package var violations: [Violation]
    /// By endpoint, at the end; `nil` is none.
    package var limits: [Int?]

    package var whole: WindowReport {
        windows.first
            ?? WindowReport(window: Window("all", .zero, length), classes: [], tenants: [])
    }

    /// A window by its name.
    package func window(_ name: String) -> WindowReport? {
        windows.first { $0.window.name == name }
    }

    /// Ejections, those in shadow mode left out.
    package var ejections: [LoggedEvent] {
        events.filter {
            if case .ejected(_, _, isShadow: false) = $0.event.kind { return true }
            return false
        }
    }

    /// The share of requests that arrived in a time and were served; 1 when none arrived.
    package func successRate(from: Interval, until: Interval) -> Double {
        var (offered, served) = (0, 0)
        for point in series where point.at > from && point.at <= until {
            offered += point.offered.reduce(0, +)
            served += point.servedOfOffered.reduce(0, +)
        }
        return offered == 0 ? 1 : Double(served) / Double(offered)
    }

    /// Answers a second in a time.
    package func goodput(from: Interval, until: Interval) -> Double {
        var served = 0
        var time: Int64 = 0
        var last: Int64 = 0
        for point in series {
            if point.at > from, point.at <= until {
                served += point.served.reduce(0, +)
                time += point.at.nanoseconds - last
            }
            last = point.at.nanoseconds
        }
        return time == 0 ? 0 : Double(served) / Interval(nanoseconds: time).seconds
    }

    /// The time from `instant` until every tenth of a second to come has at least `share` served;
    /// `nil` if that never was.
    package func recovery(after instant: Interval, share: Double) -> Interval? {
        var since: Interval?
        for point in series where point.at > instant {
            let offered = point.offered.reduce(0, +)
            let served = point.servedOfOffered.reduce(0, +)
            let isGood = offered == 0 || Double(served) >= share * Double(offered)
            if isGood { since = since ?? point.at } else { since = nil }
        }
        return since.map { $0 - instant }
    }
}
