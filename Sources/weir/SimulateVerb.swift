// `weir simulate`: what the governors do to a named workload, in virtual time.

import WeirServer
import WeirSim

/// Runs one scenario of the simulator and prints its table.
enum SimulateVerb {
    static let help = """
        usage: weir simulate --scenario NAME [--seed N]
               weir simulate --sweep COUNT [--seed N]

        Runs the governors in virtual time against simulated clients and endpoints, and prints for
        each class and tenant what was offered, served and refused, and why. Equal seeds give equal
        reports. Every run is checked against the governors' invariants. A sweep runs COUNT random
        worlds and policies from the seed on, and prints the smallest that breaks an invariant.

        exit codes: 0 ok, 1 an invariant did not hold, 2 wrong usage

        scenarios:

        """ + Scenario.all.map { "  \($0.name)\n" }.joined()

    /// The exit code; `nil` where the arguments are not understood.
    static func run(_ arguments: [String]) -> Int32? {
        var scenario: Scenario?
        var seed: UInt64 = 1
        var sweep: UInt64?
        var rest = arguments[...]
        while let option = rest.popFirst() {
            guard let value = rest.popFirst() else { return nil }
            switch option {
            case "--scenario":
                guard let named = Scenario.named(value) else { return nil }
                scenario = named
            case "--seed":
                guard let number = UInt64(value) else { return nil }
                seed = number
            case "--sweep":
                guard let count = UInt64(value), count <= 1_000_000 else { return nil }
                sweep = count
            default: return nil
            }
        }
        if let sweep, scenario == nil, seed <= .max - sweep { return run(seed..<seed + sweep) }
        guard let scenario, sweep == nil else { return nil }
        let report = Simulation.run(scenario: scenario, seed: seed)
        Terminal.write(report.table, to: 1)
        for violation in report.violations { Terminal.write("violated: \(violation)\n") }
        return report.violations.isEmpty ? 0 : 1
    }

    private static func run(_ seeds: Range<UInt64>) -> Int32 {
        let failures = Sweep.run(seeds: seeds)
        for failure in failures { Terminal.write("\(failure)\n", to: 1) }
        Terminal.write("\(seeds.count) seeds, \(failures.count) with violations\n", to: 1)
        return failures.isEmpty ? 0 : 1
    }
}
