// `weir simulate`: what the governors do to a named workload, in virtual time.

import Glibc
import WeirServer
import WeirSim

/// Runs one scenario of the simulator and prints its table, or sweeps over random worlds.
struct SimulateVerb {
    static let help = """
        usage: weir simulate --scenario NAME [--config FILE [--cluster NAME]] [--seed N]
                             [--csv FILE] [--svg FILE]
               weir simulate --sweep COUNT [--seed N] [--scale N]

        Runs the governors in virtual time against simulated clients and endpoints, and prints for
        each class and tenant what was offered, served and refused, and why. Equal seeds give equal
        reports. Every run is checked against the governors' invariants.

        With a configuration the governors are those of one of its clusters: of the one that is
        named, or that the first route leads to. The workload is scaled to its endpoints. Without
        one all governors are on with their defaults. The time series is written as values to the
        file of --csv, and as a picture to that of --svg.

        A sweep runs COUNT random worlds and policies from the seed on, each SCALE times as long,
        and prints the smallest that breaks an invariant.

        exit codes: 0 ok, 1 an invariant did not hold or the configuration is refused,
        2 wrong usage

        scenarios:

        """ + Scenario.all.map { "  \(padded($0.name)) \($0.summary)\n" }.joined()

    private var scenario: Scenario?
    private var seed: UInt64 = 1
    private var sweep: UInt64?
    private var scale = 1
    private var config: String?
    private var cluster: String?
    private var csv: String?
    private var svg: String?

    /// The exit code; `nil` where the arguments are not understood.
    static func run(_ arguments: [String]) -> Int32? {
        var verb = SimulateVerb()
        guard verb.read(arguments) else { return nil }
        if let sweep = verb.sweep { return verb.run(verb.seed..<verb.seed + sweep) }
        guard let scenario = verb.scenario else { return nil }
        return verb.run(scenario)
    }

    private mutating func read(_ arguments: [String]) -> Bool {
        var rest = arguments[...]
        while let option = rest.popFirst() {
            guard let value = rest.popFirst(), take(option, value) else { return false }
        }
        if let sweep {
            return scenario == nil && config == nil && csv == nil && svg == nil
                && seed <= .max - sweep
        }
        return scenario != nil && scale == 1 && (cluster == nil || config != nil)
    }

    private mutating func take(_ option: String, _ value: String) -> Bool {
        switch option {
        case "--scenario":
            scenario = Scenario.named(value)
            return scenario != nil
        case "--seed":
            guard let number = UInt64(value) else { return false }
            seed = number
        case "--sweep":
            guard let count = UInt64(value), count <= 1_000_000 else { return false }
            sweep = count
        case "--scale":
            guard let number = Int(value), (1...1000).contains(number) else { return false }
            scale = number
        case "--config": config = value
        case "--cluster": cluster = value
        case "--csv": csv = value
        case "--svg": svg = value
        default: return false
        }
        return true
    }

    private func run(_ named: Scenario) -> Int32 {
        var scenario = named
        if let config {
            guard let configuration = Commands.configuration(file: config) else { return 1 }
            guard let settings = SimSettings(configuration, cluster: cluster) else {
                Terminal.write("\(config): no route leads to \(cluster ?? "a cluster")\n")
                return 1
            }
            scenario = scenario.adapted(to: settings)
        }
        let report = Simulation.run(scenario: scenario, seed: seed)
        Terminal.write(report.table, to: 1)
        var isWritten = true
        if let csv { isWritten = Self.write(report.csv, to: csv) && isWritten }
        if let svg { isWritten = Self.write(report.svg, to: svg) && isWritten }
        for violation in report.violations { Terminal.write("violated: \(violation)\n") }
        return report.violations.isEmpty && isWritten ? 0 : 1
    }

    private func run(_ seeds: Range<UInt64>) -> Int32 {
        var failures = 0
        for seed in seeds {
            guard let failure = Sweep.failure(of: SwarmCase(seed: seed, scale: scale)) else {
                continue
            }
            failures += 1
            Terminal.write("\(failure)\n", to: 1)
        }
        Terminal.write("\(seeds.count) seeds, \(failures) with violations\n", to: 1)
        return failures == 0 ? 0 : 1
    }

    private static func write(_ text: String, to path: String) -> Bool {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard fd >= 0 else {
            Terminal.write("\(path): \(String(cString: strerror(errno)))\n")
            return false
        }
        defer { _ = close(fd) }
        Terminal.write(text, to: fd)
        return true
    }

    private static func padded(_ name: String) -> String {
        name + String(repeating: " ", count: max(30 - name.count, 0))
    }
}
