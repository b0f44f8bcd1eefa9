// A seed replays a run: I29.

import Testing
import WeirTime

@testable import WeirSim

@Suite struct DeterminismTests {
    private static func short(_ scenario: Scenario, _ seconds: Int64) -> Scenario {
        var scenario = scenario
        scenario.length = .seconds(seconds)
        return scenario
    }

    @Test(arguments: ["priority-surge", "metastable", "flapping-endpoint"])
    func `I29: equal seeds make equal reports, to the last decision`(name: String) throws {
        let scenario = Self.short(try #require(Scenario.named(name)), 12)
        let first = Simulation.run(scenario: scenario, seed: 11)
        let second = Simulation.run(scenario: scenario, seed: 11)
        #expect(first.decisionHash == second.decisionHash)
        #expect(first == second)
        #expect(first.table == second.table)
    }

    @Test func `I29: equal seeds make equal cases of the sweep`() {
        for seed in 0..<10 as Range<UInt64> {
            let scenario = SwarmCase(seed: seed).story
            #expect(scenario == SwarmCase(seed: seed).story)
            let hashes = (0..<2).map { _ in
                Simulation.run(scenario: scenario, seed: seed).decisionHash
            }
            #expect(hashes[0] == hashes[1], "seed \(seed)")
        }
    }

    @Test func `another seed is another run`() throws {
        let scenario = Self.short(.sustainedOverload, 2)
        let hashes = Set(
            (0..<10).map {
                Simulation.run(scenario: scenario, seed: $0).decisionHash
            })
        #expect(hashes.count == 10)
    }

    @Test func `looking closer changes nothing`() {
        let scenario = Self.short(.metastable, 12)
        var options = RunOptions()
        options.checks = .all
        let closely = Simulation.run(scenario: scenario, seed: 3, options: options)
        #expect(closely == Simulation.run(scenario: scenario, seed: 3))
        #expect(closely.violations == [])
    }

    @Test func `clients and their work are the same under other settings`() {
        let scenario = Self.short(.sustainedOverload, 8)
        let governed = Simulation.run(scenario: scenario, seed: 5)
        let plain = Simulation.run(
            settings: .plain(endpoints: 10), scenario: scenario, seed: 5)
        #expect(governed.series.map(\.offered) == plain.series.map(\.offered))
        #expect(governed.decisionHash != plain.decisionHash)
    }
}
