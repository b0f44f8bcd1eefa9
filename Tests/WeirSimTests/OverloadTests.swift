// What the governors have to reach under overload: the scenarios O1 to O5 and O8, three seeds each.

import Testing
import WeirPolicy
import WeirTime

@testable import WeirSim

@Suite struct OverloadTests {
    private static func run(
        _ name: String, _ seed: UInt64, seconds: Int64
    ) throws -> SimReport {
        let scenario = Effort.scenario(try #require(Scenario.named(name)), seconds)
        let report = Simulation.run(scenario: scenario, seed: seed)
        #expect(report.violations == [], "seed \(seed)")
        return report
    }

    private static func goodput(_ report: SimReport, _ from: Int64, _ until: Int64) -> Double {
        report.goodput(from: .seconds(from), until: min(.seconds(until), report.length))
    }

    private static func p99(_ tally: Tally) throws -> Double {
        try #require(tally.latency.quantile(0.99)).seconds
    }

    @Test(arguments: Effort.seeds)
    func `O1: twice the capacity is served at 97 % of it, without a limit set by hand`(
        seed: UInt64
    ) throws {
        let report = try Self.run("sustained-overload", seed, seconds: 21)
        let unloaded = try #require(report.window("unloaded")).classes[1]
        let overload = try #require(report.window("overload"))
        #expect(Self.goodput(report, 15, 40) >= 0.97 * report.capacity)
        #expect(try Self.p99(overload.classes[1]) <= 2 * Self.p99(unloaded))
        #expect(overload.classes[1].inTime == overload.classes[1].served)
        #expect(unloaded.successRate == 1)
    }

    @Test(arguments: Effort.seeds)
    func `O2: a surge of what may be shed costs critical requests nothing`(seed: UInt64) throws {
        let report = try Self.run("priority-surge", seed, seconds: 24)
        let unloaded = try #require(report.window("unloaded")).classes[0]
        let surge = try #require(report.window("surge"))
        #expect(surge.classes[0].goodRate >= 0.999)
        #expect(try Self.p99(surge.classes[0]) <= 1.3 * Self.p99(unloaded))
        // The limits need some seconds, which are a larger part of a shorter time.
        let least = (Effort.isThorough ? 0.97 : 0.95) * report.capacity
        #expect(Self.goodput(report, 12, 40) >= least)
    }

    @Test(arguments: Effort.seeds)
    func `O3: tenants within their share are served beside a flood, and nothing is wasted`(
        seed: UInt64
    ) throws {
        let report = try Self.run("noisy-neighbour", seed, seconds: 26)
        let before = try #require(report.window("before")).classes[1]
        for name in ["flood", "rest"] {
            let window = try #require(report.window(name))
            for tenant in 1...9 where window.tenants[tenant].offered > 100 {
                let tally = window.tenants[tenant]
                #expect(tally.goodRate >= 0.999, "tenant \(tenant)")
                #expect(try Self.p99(tally) <= 1.4 * Self.p99(before), "tenant \(tenant)")
            }
        }
        for (from, until) in [(12, 40), (44, 60)] as [(Int64, Int64)] {
            guard report.length >= .seconds(from + 5) else { continue }
            #expect(Self.goodput(report, from, until) >= 0.97 * report.capacity)
        }
    }

    @Test(arguments: Effort.seeds)
    func `O4: a pause that plain proxies never recover from is over in five seconds`(
        seed: UInt64
    ) throws {
        let report = try Self.run("metastable", seed, seconds: 24)
        #expect(report.successRate(from: .seconds(18), until: report.length) >= 0.99)
        let recovery = try #require(report.recovery(after: .seconds(13), share: 0.99))
        #expect(recovery <= .seconds(5))
        #expect(report.whole.attemptsPerRequest <= 1.1)
    }

    @Test func `O4: without governors the same pause is the end of it`() {
        let scenario = Effort.scenario(.metastable, 20)
        let report = Simulation.run(
            settings: .plain(endpoints: 10), scenario: scenario, seed: 1)
        #expect(report.successRate(from: .seconds(18), until: scenario.length) < 0.5)
    }

    @Test(arguments: ["retry-amplification", "retry-amplification-timeouts"])
    func `O5: retries are a tenth of requests, whatever fails and however slowly`(
        name: String
    ) throws {
        for seed in Effort.seeds {
            let report = try Self.run(name, seed, seconds: 49)
            let failing = try #require(report.window("failing"))
            #expect(failing.attemptsPerRequest <= 1.12, "seed \(seed)")
            let after = try #require(report.window("after")).classes[1]
            #expect(after.successRate >= 0.999, "seed \(seed)")
        }
    }

    @Test(arguments: Effort.seeds)
    func `a brownout of all endpoints is over when it is over`(seed: UInt64) throws {
        let report = try Self.run("brownout", seed, seconds: 30)
        let after = try #require(report.window("after")).classes[1]
        #expect(after.successRate >= 0.99)
        let recovery = try #require(report.recovery(after: .seconds(20), share: 0.99))
        #expect(recovery <= .seconds(5))
    }

    @Test(arguments: Effort.seeds)
    func `O8: a tier with a knee comes through a spike beyond it`(seed: UInt64) throws {
        let report = try Self.run("checkout", seed, seconds: 59)
        let after = try #require(report.window("after")).classes[1]
        #expect(after.successRate >= 0.975)
        #expect(try #require(after.latency.quantile(0.95)) <= .milliseconds(250))
        #expect(Self.goodput(report, 41, 50) >= 0.9 * report.capacity)
    }

    @Test(.enabled(if: Effort.isThorough))
    func `O8: without governors the tier collapses and stays so`() {
        var scenario = Scenario.checkout
        scenario.length = .seconds(60)
        let report = Simulation.run(
            settings: .plain(endpoints: 10), scenario: scenario, seed: 1)
        #expect(report.successRate(from: .seconds(55), until: .seconds(60)) < 0.5)
    }
}
