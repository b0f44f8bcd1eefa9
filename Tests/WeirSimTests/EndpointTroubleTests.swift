// What the governors have to reach when single endpoints are the trouble: O6 and O7, and I25.

import Testing
import WeirPolicy
import WeirTime

@testable import WeirSim

@Suite struct EndpointTroubleTests {
    private static func run(
        _ name: String, _ seed: UInt64, seconds: Int64 = 30
    ) throws -> SimReport {
        let scenario = Effort.scenario(try #require(Scenario.named(name)), seconds)
        let report = Simulation.run(scenario: scenario, seed: seed)
        #expect(report.violations == [], "seed \(seed)")
        return report
    }

    private static func firstEjection(_ report: SimReport, of endpoint: UInt32) -> Double? {
        report.ejections.first { $0.event.endpoint == endpoint + 1 }
            .map {
                (Instant(nanoseconds: $0.event.at.nanoseconds) - Instant(nanoseconds: 0)).seconds
            }
    }

    @Test(arguments: Effort.seeds)
    func `a mix of routes that shifts to the slow one ejects nobody and refuses nothing`(
        seed: UInt64
    ) throws {
        let report = try Self.run("route-mix", seed, seconds: 45)
        #expect(report.ejections.isEmpty)
        for name in ["before", "after"] {
            let window = try #require(report.window(name))
            #expect(Double(window.served) >= 0.999 * Double(window.offered), "\(name)")
        }
    }

    @Test(arguments: Effort.seeds)
    func `O6a: a slow endpoint is out within a second, and p99 70 % below round robin's`(
        seed: UInt64
    ) throws {
        let report = try Self.run("slow-endpoint", seed)
        let trouble = try #require(report.window("trouble")).classes[1]
        let plain = Simulation.run(
            settings: .plain(endpoints: 11), scenario: Effort.scenario(.slowEndpoint, 30),
            seed: seed)
        let bare = try #require(plain.window("trouble")).classes[1]
        let ours = try #require(trouble.latency.quantile(0.99)).seconds
        #expect(ours <= 0.3 * (try #require(bare.latency.quantile(0.99)).seconds))
        // What was sent to it before it was out is a larger part of a shorter time.
        #expect(trouble.goodRate >= (Effort.isThorough ? 0.9994 : 0.999))
        #expect(try #require(Self.firstEjection(report, of: 0)) <= 11)
    }

    @Test(arguments: Effort.seeds)
    func `O6b: half of one endpoint's answers fail, and nearly no client sees it`(
        seed: UInt64
    ) throws {
        let report = try Self.run("failing-endpoint", seed)
        let trouble = try #require(report.window("trouble")).classes[1]
        #expect(trouble.successRate >= 0.9995)
        #expect(try #require(Self.firstEjection(report, of: 0)) <= 12)
    }

    @Test func `O6b: what must not be sent twice sees one failure in a thousand`() throws {
        var scenario = Effort.scenario(.failingEndpoint, 30)
        scenario.streams[0].isIdempotent = false
        let report = Simulation.run(scenario: scenario, seed: 1)
        let trouble = try #require(report.window("trouble")).classes[1]
        #expect(trouble.successRate >= 0.9988)
    }

    @Test func `O6d: six of ten endpoints that fail at 60 % are not all ejected, and retries do`()
        throws
    {
        var scenario = Effort.scenario(.failingEndpoint, 30)
        scenario.streams[0].arrivals = .constant(800)
        // The one that must not be ejected any more fails an eighth of all requests.
        scenario.settings.clusters[0].retryBudget.percent = 20
        scenario.faults = [
            Fault(
                .errors(share: 0.6, isFast: false), from: .seconds(10), until: .seconds(50),
                endpoints: Array(0..<6))
        ]
        let report = Simulation.run(scenario: scenario, seed: 1)
        #expect(report.violations == [])
        #expect(report.series.allSatisfy { $0.ejected <= 5 })
        #expect(
            report.successRate(from: .seconds(15), until: min(.seconds(50), scenario.length))
                >= 0.99)
    }

    @Test(arguments: Effort.seeds)
    func `an endpoint that dies again and again costs nobody an answer`(seed: UInt64) throws {
        let report = try Self.run("flapping-endpoint", seed)
        let trouble = try #require(report.window("trouble")).classes[1]
        #expect(trouble.successRate >= 0.999)
    }

    @Test func `O7: unequal endpoints are used to the full, with latency as before`() throws {
        let report = try Self.run("heterogeneous", 1, seconds: 50)
        let first = try #require(report.window("step 1")).classes[1]
        let base = try #require(first.latency.quantile(0.999)).seconds
        for step in 1...9 where report.length >= .seconds(Int64(step) * 10) {
            let tally = try #require(report.window("step \(step)")).classes[1]
            let rate = [0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74][step - 1] * 1490
            let possible = min(1, report.capacity / rate)
            let tail = try #require(tally.latency.quantile(0.999)).seconds
            #expect(tally.successRate >= possible - (rate < 0.95 * 2400 ? 0.005 : 0.03))
            #expect(tail <= 2 * base, "step \(step)")
        }
    }

    @Test func `I25: in a healthy symmetric cluster nobody is ejected in a million requests`() {
        // Below, at and beyond the capacity; even and uneven work.
        let laws: [(ServiceLaw, Double)] = [
            (.exponential, 1440), (.lognormal(sigma: 0.8), 1680), (.exponential, 4800),
        ]
        for (index, (law, rate)) in laws.enumerated() {
            var scenario = Scenario.symmetric
            scenario.models[0].law = law
            scenario.streams[0].arrivals = .constant(rate)
            scenario.streams[0].patience = .seconds(1)
            scenario.length = .seconds(Effort.isThorough ? 180 : 10)
            let report = Simulation.run(scenario: scenario, seed: UInt64(index))
            #expect(report.ejections.isEmpty, "\(law) at \(rate)")
        }
    }
}
