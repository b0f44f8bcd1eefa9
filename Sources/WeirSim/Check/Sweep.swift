// Many seeds, one after the other: what fails, and the smallest case that still does.

import WeirTime

/// Runs cases of the swarm under all oracles.
package enum Sweep {
    /// A case that fails, and why.
    package struct Failure: Equatable, Sendable, CustomStringConvertible {
        package var found: SwarmCase
        package var violations: [Violation]
        /// The smallest case found that fails by the same invariant.
        package var smallest: SwarmCase

        package var description: String {
            var lines = ["\(found)"]
            if smallest != found { lines.append("  smallest: \(smallest)") }
            lines += violations.prefix(3).map { "  \($0)" }
            return lines.joined(separator: "\n")
        }
    }

    /// Runs a case twice as far as it takes: once to find what is wrong.
    package static func violations(of swarm: SwarmCase) -> [Violation] {
        check(swarm, sabotage: .none)
    }

    static func check(
        _ swarm: SwarmCase, sabotage: RunOptions.Sabotage,
        story: (SwarmCase) -> Scenario = \.story
    ) -> [Violation] {
        var options = RunOptions()
        options.checks = .all
        options.sabotage = sabotage
        let report = Simulation.run(scenario: story(swarm), seed: swarm.seed, options: options)
        guard let early = liveness(swarm, report) else { return report.violations }
        // One slow moment of a small endpoint, or one look at its base, is more than a hundredth
        // of two seconds. What comes back has it behind itself; what does not is as bad in sixty.
        var patient = swarm
        patient.calm = swarm.calm + longerLook
        options.checks = .cheap
        let longer = Simulation.run(scenario: story(patient), seed: swarm.seed, options: options)
        return report.violations + (liveness(patient, longer) == nil ? [] : [early])
    }

    /// How much longer the calm weather lasts where two seconds of it leave a doubt.
    private static let longerLook = Interval.seconds(58)

    /// I30: five seconds after the last fault and its victims nearly everything is served.
    private static func liveness(_ swarm: SwarmCase, _ report: SimReport) -> Violation? {
        guard swarm.mustRecover, swarm.calm > swarm.recovery, let calm = report.window("calm"),
            calm.offered > 0
        else {
            return nil
        }
        let served = Double(calm.served) / Double(calm.offered)
        guard served < 0.99 else { return nil }
        return Violation(
            invariant: "I30", at: calm.window.from,
            text: "only \(Text.percent(served)) % of \(calm.offered) are served in calm weather")
    }

    /// Runs the cases of all seeds; a failing one is made as small as it gets.
    package static func run(seeds: Range<UInt64>, scale: Int = 1) -> [Failure] {
        seeds.compactMap { seed in failure(of: SwarmCase(seed: seed, scale: scale)) }
    }

    /// `nil` when everything holds.
    package static func failure(of swarm: SwarmCase) -> Failure? {
        let violations = check(swarm, sabotage: .none)
        guard let first = violations.first else { return nil }
        let smallest = shrink(swarm, invariant: first.invariant, sabotage: .none)
        return Failure(found: swarm, violations: violations, smallest: smallest)
    }

    // MARK: Shrinking

    /// Halves what can be halved and leaves out what can be left out, as long as the same
    /// invariant fails.
    static func shrink(
        _ swarm: SwarmCase, invariant: String, sabotage: RunOptions.Sabotage
    ) -> SwarmCase {
        var smallest = swarm
        var isSmaller = true
        while isSmaller {
            isSmaller = false
            for candidate in candidates(smallest) where candidate != smallest {
                let violations = check(candidate, sabotage: sabotage)
                guard violations.contains(where: { $0.invariant == invariant }) else { continue }
                smallest = candidate
                isSmaller = true
            }
        }
        return smallest
    }

    /// Cases one step smaller.
    private static func candidates(_ swarm: SwarmCase) -> [SwarmCase] {
        var all: [SwarmCase] = []
        func add(_ change: (inout SwarmCase) -> Void) {
            var smaller = swarm
            change(&smaller)
            all.append(smaller)
        }
        let half = Interval(nanoseconds: swarm.stormy.nanoseconds / 2)
        if half >= .milliseconds(100) { add { $0.stormy = half } }
        // Liveness is judged in the last two calm seconds.
        if swarm.calm > .zero, !swarm.mustRecover {
            add { $0.calm = Interval(nanoseconds: $0.calm.nanoseconds / 2 / 1_000_000 * 1_000_000) }
        }
        if swarm.endpoints > 1 { add { $0.endpoints /= 2 } }
        if swarm.tenants > 1 { add { $0.tenants /= 2 } }
        if swarm.faults > 0 {
            add { $0.faults /= 2 }
            add { $0.faults -= 1 }
        }
        if swarm.load > 20 { add { $0.load /= 2 } }
        for (policy, _) in SwarmCase.Policies.names where swarm.policies.contains(policy) {
            add { $0.policies.remove(policy) }
        }
        return all
    }
}
