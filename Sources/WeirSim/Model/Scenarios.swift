// The named scenarios: the standard overloads that a governor is judged by.

import WeirPolicy
import WeirTime

extension Scenario {
    /// All of them, in the order of the documentation.
    package static var all: [Scenario] {
        [
            sustainedOverload, prioritySurge, noisyNeighbour, metastable, retryAmplification,
            retryAmplificationByTimeouts, slowEndpoint, failingEndpoint, flappingEndpoint,
            heterogeneous, checkout, brownout, routeMix, symmetric,
        ]
    }

    /// The scenario of a name; `nil` when there is none.
    package static func named(_ name: String) -> Scenario? { all.first { $0.name == name } }

    /// Ten endpoints of eight workers: 2,400 requests a second.
    static let tenfold = EndpointModel(
        workers: 8, service: Interval(nanoseconds: 33_333_333), law: .exponential)

    private static func seconds(_ number: Int64) -> Interval { .seconds(number) }

    // MARK: Overload

    /// O1.
    static var sustainedOverload: Scenario {
        var load = Stream("load", .step(1200, to: 4800, from: seconds(10), until: seconds(40)))
        load.route = 1
        load.patience = .milliseconds(500)
        load.slo = .milliseconds(500)
        var scenario = Scenario(
            "sustained-overload", "Twice the capacity in one class for half a minute.",
            length: seconds(45), streams: [load], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.windows = [
            Window("unloaded", seconds(2), seconds(10)),
            Window("overload", seconds(15), seconds(40)),
        ]
        return scenario
    }

    /// O2.
    static var prioritySurge: Scenario {
        var critical = Stream("critical", .constant(720))
        critical.route = 0
        critical.slo = .milliseconds(500)
        critical.patience = seconds(1)
        var prefetch = Stream(
            "prefetch", .step(240, to: 2880, from: seconds(10), until: seconds(40)))
        prefetch.route = 2
        prefetch.slo = .seconds(1)
        prefetch.patience = seconds(1)
        var scenario = Scenario(
            "priority-surge", "A surge of what may be shed beside what may not.",
            length: seconds(50), streams: [critical, prefetch], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.windows = [
            Window("unloaded", seconds(2), seconds(10)), Window("surge", seconds(10), seconds(40)),
        ]
        return scenario
    }

    /// O3: nine tenants within their share and one with ten times its own; then five rest.
    static var noisyNeighbour: Scenario {
        var quiet = Stream("quiet", .constant(900))
        quiet.tenants = .even(first: 1, count: 5)
        var leaving = Stream(
            "leaving",
            .open([
                RatePoint(.zero, 720), RatePoint(seconds(40), 720),
                RatePoint(seconds(40), 0),
            ]))
        leaving.tenants = .even(first: 6, count: 4)
        var noisy = Stream("noisy", .step(150, to: 1800, from: seconds(10), until: seconds(60)))
        noisy.tenants = .one(0)
        var streams = [quiet, leaving, noisy]
        for index in streams.indices {
            streams[index].route = 1
            streams[index].patience = seconds(1)
            streams[index].slo = .milliseconds(500)
        }
        var scenario = Scenario(
            "noisy-neighbour", "One tenant wants ten times its share; then half of them rest.",
            length: seconds(65), streams: streams, models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.windows = [
            Window("before", seconds(2), seconds(10)), Window("flood", seconds(10), seconds(40)),
            Window("rest", seconds(42), seconds(60)),
        ]
        return scenario
    }

    /// O4.
    static var metastable: Scenario {
        var load = Stream("load", .constant(1680))
        load.route = 1
        load.patience = seconds(1)
        load.retries = .eager(3)
        var scenario = Scenario(
            "metastable", "All endpoints stand still for 3 s while clients retry three times.",
            length: seconds(40), streams: [load], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.faults = [
            Fault(.pause, from: seconds(10), until: seconds(13), endpoints: Array(0..<10))
        ]
        scenario.windows = [
            Window("trigger", seconds(10), seconds(13)), Window("after", seconds(18), seconds(40)),
        ]
        return scenario
    }

    /// O5.
    static var retryAmplification: Scenario {
        amplification(
            "retry-amplification", "Every attempt fails within 2 ms for 20 s.",
            .errors(share: 1, isFast: true))
    }

    /// O5, the second variant.
    static var retryAmplificationByTimeouts: Scenario {
        amplification(
            "retry-amplification-timeouts", "No attempt is answered for 20 s.",
            .silence(share: 1))
    }

    private static func amplification(
        _ name: String, _ summary: String, _ kind: Fault.Kind
    ) -> Scenario {
        var load = Stream("load", .constant(1200))
        load.route = 1
        var settings = SimSettings.governed(endpoints: 10)
        settings.routes[1].retry?.attempts = 3
        settings.routes[1].retry?.perTryTimeout = seconds(1)
        settings.routes[1].retry?.conditions.insert(.perTryTimeout)
        var scenario = Scenario(
            name, summary, length: seconds(60), streams: [load], models: [tenfold],
            settings: settings)
        scenario.faults = [
            Fault(kind, from: seconds(15), until: seconds(35), endpoints: Array(0..<10))
        ]
        scenario.windows = [
            Window("failing", seconds(15), seconds(35)), Window("after", seconds(45), seconds(60)),
        ]
        return scenario
    }

    /// All endpoints slow down at once.
    static var brownout: Scenario {
        var load = Stream("load", .constant(1680))
        load.route = 1
        load.patience = seconds(1)
        load.retries = .eager(3)
        var scenario = Scenario(
            "brownout", "All endpoints need five times as long for 10 s; clients retry thrice.",
            length: seconds(45), streams: [load], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.faults = [
            Fault(.slow(5), from: seconds(10), until: seconds(20), endpoints: Array(0..<10))
        ]
        scenario.windows = [
            Window("brownout", seconds(10), seconds(20)), Window("after", seconds(25), seconds(45)),
        ]
        return scenario
    }
}
