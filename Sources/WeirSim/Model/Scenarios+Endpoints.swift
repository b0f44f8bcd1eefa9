// The named scenarios in which single endpoints are the trouble.

import WeirTime

extension Scenario {
    /// O6a after Buoyant's experiment of 2016: eleven endpoints, one of them slow.
    static var slowEndpoint: Scenario {
        var scenario = troubled(
            "slow-endpoint", "One endpoint of eleven takes twenty times as long.", [.slow(20)],
            endpoints: [0], from: 10, until: 50)
        scenario.settings = .governed(endpoints: 11)
        scenario.models = [
            EndpointModel(
                workers: 100, service: .milliseconds(100), law: .lognormal(sigma: 0.3))
        ]
        scenario.streams[0].arrivals = .constant(1000)
        scenario.streams[0].slo = .seconds(1)
        return scenario
    }

    /// O6b: a third of one endpoint's answers are errors.
    static var failingEndpoint: Scenario {
        troubled(
            "failing-endpoint", "Half of one endpoint's answers are errors.",
            [.errors(share: 0.5, isFast: false)], endpoints: [0], from: 10, until: 50)
    }

    /// One endpoint dies and returns, again and again.
    static var flappingEndpoint: Scenario {
        var scenario = troubled(
            "flapping-endpoint", "One endpoint dies for 3 s out of 8, again and again.", [],
            endpoints: [0], from: 10, until: 50)
        scenario.faults = stride(from: Int64(10), to: 50, by: 8).map {
            Fault(.dead, from: .seconds($0), until: .seconds($0 + 3), endpoints: [0])
        }
        return scenario
    }

    /// The control of the slow endpoint: ten that are equal, and nothing wrong with any.
    static var symmetric: Scenario {
        troubled(
            "symmetric", "Ten equal endpoints and nothing wrong: nobody may be ejected.", [],
            endpoints: [], from: 0, until: 0)
    }

    /// Two routes of one cluster: one is sixteen times as much work as the other, and grows from
    /// 1.5 % of the requests to 20 %, while the work in all stays at 60 % of the capacity.
    static var routeMix: Scenario {
        let change = Interval.seconds(30)
        func step(_ first: Double, _ second: Double) -> ArrivalLaw {
            .open([RatePoint(.zero, first), RatePoint(change, first), RatePoint(change, second)])
        }
        var quick = Stream("quick", step(2304, 576))
        quick.work = 0.5
        quick.route = 1
        var report = Stream("report", step(36, 144))
        report.work = 8
        report.route = 2
        var scenario = Scenario(
            "route-mix", "One route is sixteen times as slow as the other, and becomes busier.",
            length: .seconds(90), streams: [quick, report], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.windows = [
            Window("before", .seconds(5), change), Window("after", change, .seconds(90)),
        ]
        return scenario
    }

    private static func troubled(
        _ name: String, _ summary: String, _ kinds: [Fault.Kind], endpoints: [Int], from: Int64,
        until: Int64
    ) -> Scenario {
        var load = Stream("load", .constant(1440))
        load.route = 1
        load.slo = .milliseconds(500)
        var scenario = Scenario(
            name, summary, length: .seconds(60), streams: [load], models: [tenfold],
            settings: .governed(endpoints: 10))
        scenario.faults = kinds.map {
            Fault($0, from: .seconds(from), until: .seconds(until), endpoints: endpoints)
        }
        scenario.windows = [
            Window("before", .seconds(2), .seconds(10)),
            Window("trouble", .seconds(10), .seconds(50)),
        ]
        return scenario
    }

    /// O7 after Prequal's figure 6 (Wydrowski et al., 2024): half of the hosts at 0.45 of the
    /// speed, and a load that grows beyond what all together can do.
    static var heterogeneous: Scenario {
        let fast = EndpointModel(workers: 8, service: Interval(nanoseconds: 24_166_667))
        let slow = EndpointModel(workers: 8, service: Interval(nanoseconds: 53_703_704))
        let steps = [0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74]
        var points: [RatePoint] = []
        var windows: [Window] = []
        for (index, step) in steps.enumerated() {
            let (from, until) = (Int64(index) * 10, Int64(index + 1) * 10)
            // 1.0 is what the slow half would get if all were alike: 62 % of the true capacity.
            points.append(RatePoint(.seconds(from), step * 1490))
            points.append(RatePoint(.seconds(until), step * 1490))
            windows.append(
                Window("step \(index + 1)", .seconds(from + 2), .seconds(until)))
        }
        var load = Stream("load", .open(points))
        load.route = 1
        load.patience = .seconds(5)
        load.slo = .seconds(1)
        var scenario = Scenario(
            "heterogeneous", "A growing load on hosts of which half are less than half as fast.",
            length: .seconds(90), streams: [load], models: [fast, slow],
            settings: .governed(endpoints: 10))
        scenario.windows = windows
        return scenario
    }

    /// O8: a tier that contention slows down, a ramp to 2,500 a second, and a spike of 1.5 times.
    static var checkout: Scenario {
        let base = 2500.0
        let spike: [RatePoint] = [
            RatePoint(.zero, 250), RatePoint(.seconds(20), base), RatePoint(.seconds(40), base),
            RatePoint(.seconds(40), base * 1.5), RatePoint(.seconds(50), base * 1.5),
            RatePoint(.seconds(50), base),
        ]
        var load = Stream("checkout", .open(spike))
        load.route = 1
        load.patience = .seconds(2)
        load.slo = .milliseconds(500)
        load.retries = .eager(2)
        // The peak is knee / (2 · service): 280 a second at 14 in service.
        let tier = EndpointModel(
            workers: 200, service: .milliseconds(25), law: .exponential, knee: 14)
        var scenario = Scenario(
            "checkout", "A tier with a knee, close to it, and a spike of half as much again.",
            length: .seconds(75), streams: [load], models: [tier],
            settings: .governed(endpoints: 10))
        scenario.windows = [
            Window("before", .seconds(25), .seconds(40)),
            Window("spike", .seconds(40), .seconds(50)),
            Window("after", .seconds(55), .seconds(75)),
        ]
        return scenario
    }
}
