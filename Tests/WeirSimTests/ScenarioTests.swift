// The named overload scenarios: who is served, who is refused, how soon it is over.

import Testing
import WeirPolicy
import WeirSim
import WeirTime

@Suite struct ScenarioTests {
    private func report(_ name: String, seed: UInt64 = 1) throws -> SimReport {
        let scenario = try #require(Scenario.named(name))
        let report = Simulation.run(scenario: scenario, seed: seed)
        #expect(report.violations == [])
        return report
    }

    private func served(_ report: SimReport, _ window: String) throws -> Double {
        let window = try #require(report.window(window))
        return Double(window.served) / Double(max(window.offered, 1))
    }

    @Test func `I29: equal seeds make equal decisions, other seeds others`() throws {
        let first = try report("slow-endpoint", seed: 5)
        #expect(try report("slow-endpoint", seed: 5).decisionHash == first.decisionHash)
        #expect(try report("slow-endpoint", seed: 6).decisionHash != first.decisionHash)
    }

    @Test func `at twice the capacity all of it is used`() throws {
        let report = try report("sustained-overload")
        #expect(report.goodput(from: .seconds(15), until: .seconds(40)) >= 0.95 * report.capacity)
    }

    @Test func `what is critical is served while a surge of the rest is shed`() throws {
        let report = try report("priority-surge")
        let surge = try #require(report.window("surge"))
        let critical = surge.classes[0]
        #expect(critical.offered > 10_000)
        #expect(Double(critical.served) >= 0.999 * Double(critical.offered))
        #expect(Double(surge.served) >= 0.95 * report.capacity * 30)
    }

    @Test func `whoever behaves is served beside a flood`() throws {
        let flood = try #require(try report("noisy-neighbour").window("flood"))
        for (tenant, tally) in flood.tenants.enumerated() where tenant > 0 {
            #expect(tally.offered > 1000)
            #expect(Double(tally.served) >= 0.999 * Double(tally.offered), "tenant \(tenant)")
        }
    }

    @Test(arguments: ["metastable", "brownout"])
    func `I30: soon after the last fault all are served again`(name: String) throws {
        #expect(try served(report(name), "after") >= 0.99)
    }

    @Test(arguments: ["retry-amplification", "retry-amplification-timeouts"])
    func `I18: with everything failing attempts stay within the budget`(name: String) throws {
        let failing = try #require(try report(name).window("failing"))
        #expect(failing.attemptsPerRequest <= 1.12)
    }

    @Test func `an endpoint that becomes slow is ejected within a second`() throws {
        let report = try report("slow-endpoint")
        let first = try #require(report.ejections.first)
        let at = first.event.at - Instant(nanoseconds: 0)
        #expect(at >= .seconds(10) && at <= .seconds(11))
        #expect(try served(report, "trouble") >= 0.999)
    }

    @Test func `an endpoint that fails costs hardly anybody an answer`() throws {
        #expect(try served(report("failing-endpoint"), "trouble") >= 0.999)
    }

    @Test func `equal endpoints are left alone`() throws {
        #expect(try report("symmetric").ejections.isEmpty)
    }
}
