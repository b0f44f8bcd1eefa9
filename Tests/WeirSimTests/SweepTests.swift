// Random worlds under all oracles, and oracles that find seeded mistakes.

import Testing
import WeirTime

@testable import WeirSim

@Suite struct SweepTests {
    @Test(arguments: 0..<8 as Range<UInt64>)
    func `every invariant holds in random worlds`(part: UInt64) {
        let count: UInt64 = Effort.isThorough ? 250 : 5
        let failures = (part * count..<(part + 1) * count).compactMap { seed in
            var swarm = SwarmCase(seed: seed)
            // Calm weather is most of the work: in debug builds a quarter of the cases has it.
            if !Effort.isThorough, seed % 4 != 0 { swarm.calm = .seconds(1) }
            return Sweep.failure(of: swarm)
        }
        #expect(failures.isEmpty, "\(failures.map(\.description).joined(separator: "\n"))")
    }

    private static func invariants(_ sabotage: RunOptions.Sabotage) -> Set<String> {
        var found: Set<String> = []
        for seed in 0..<12 as Range<UInt64> {
            var swarm = SwarmCase(seed: seed)
            swarm.calm = .seconds(1)
            swarm.policies.remove(.shadow)
            swarm.policies.formUnion([.queue, .concurrency, .outlier, .retries])
            found.formUnion(Sweep.check(swarm, sabotage: sabotage).map(\.invariant))
        }
        return found.subtracting(["I30"])
    }

    @Test func `permits that are never given back are found`() {
        #expect(Self.invariants(.leaksPermits).contains("I15"))
    }

    @Test func `a worse class served before a better one is found`() {
        #expect(Self.invariants(.swapsClasses).isSuperset(of: ["I8", "I9"]))
    }

    @Test func `retries beyond the budget are found`() {
        var scenario = Scenario.retryAmplification
        scenario.length = .seconds(20)
        var options = RunOptions()
        options.sabotage = .ignoresBudget
        let report = Simulation.run(scenario: scenario, seed: 1, options: options)
        #expect(report.violations.contains { $0.invariant == "I18" })
    }

    @Test func `a cluster that never comes back is found`() throws {
        let swarm = try #require(
            (0..<40 as Range<UInt64>).map { SwarmCase(seed: $0) }.first { $0.mustRecover })
        #expect(Sweep.check(swarm, sabotage: .none) == [])
        let found = Sweep.check(swarm, sabotage: .none) { swarm in
            var story = swarm.story
            story.faults.append(
                Fault(
                    .slow(4), from: .zero, until: story.length,
                    endpoints: Array(0..<swarm.endpoints)))
            return story
        }
        #expect(found.map(\.invariant) == ["I30"])
    }

    @Test func `without a seeded mistake nothing is found`() {
        #expect(Self.invariants(.none) == [])
    }

    @Test func `a failing case is made as small as it gets`() throws {
        let swarm = try #require(
            (0..<40 as Range<UInt64>).map { SwarmCase(seed: $0) }.first {
                Sweep.check($0, sabotage: .leaksPermits).contains { $0.invariant == "I15" }
            })
        let smallest = Sweep.shrink(swarm, invariant: "I15", sabotage: .leaksPermits)
        let found = Sweep.check(smallest, sabotage: .leaksPermits)
        #expect(found.contains { $0.invariant == "I15" })
        #expect(smallest.endpoints <= 2)
        #expect(smallest.tenants == 1)
        #expect(smallest.faults == 0)
        #expect(smallest.load < swarm.load)
        #expect(smallest.policies.isSubset(of: swarm.policies))
    }
}
