// Runs a scenario: the entry of `weir simulate`, the sweep and the tests.

import WeirPolicy
import WeirTime

/// Simulations in virtual time. Equal settings, scenario and seed make equal reports.
package enum Simulation {
    /// Runs a scenario under settings; those of the scenario itself where there are none.
    package static func run(
        settings: SimSettings? = nil, scenario: Scenario, seed: UInt64
    ) -> SimReport {
        run(settings: settings, scenario: scenario, seed: seed, options: RunOptions())
    }

    static func run(
        settings: SimSettings? = nil, scenario: Scenario, seed: UInt64, options: RunOptions
    ) -> SimReport {
        let settings = settings ?? scenario.settings
        guard isRunnable(settings, scenario) else { return empty(settings, scenario, seed) }
        var world = World(settings: settings, scenario: scenario, seed: seed, options: options)
        world.run()
        return world.report(seed: seed)
    }

    /// How many attempts the watched request got.
    static func attempts(scenario: Scenario, seed: UInt64, options: RunOptions) -> Int {
        var world = World(
            settings: scenario.settings, scenario: scenario, seed: seed, options: options)
        world.run()
        return world.watchedAttempts
    }

    /// Streams name routes and routes clusters by index; what names nothing cannot be simulated.
    private static func isRunnable(_ settings: SimSettings, _ scenario: Scenario) -> Bool {
        scenario.streams.allSatisfy { settings.routes.indices.contains($0.route) }
            && settings.routes.allSatisfy { settings.clusters.indices.contains($0.cluster) }
            && settings.controlInterval > .zero && isSmall(settings, scenario)
    }

    /// An event names streams, faults and endpoints with twelve bits, and a restart with two of
    /// them.
    private static func isSmall(_ settings: SimSettings, _ scenario: Scenario) -> Bool {
        let endpoints = settings.clusters.reduce(0) { $0 + $1.endpoints.count }
        return endpoints < 1024 && scenario.streams.count < 4096 && scenario.faults.count < 4096
    }

    private static func empty(
        _ settings: SimSettings, _ scenario: Scenario, _ seed: UInt64
    ) -> SimReport {
        let wrong = Violation(
            invariant: "settings", at: .zero,
            text: "a stream or a route names what is not there, or there are too many")
        return SimReport(
            scenario: scenario.name, seed: seed, length: scenario.length,
            classNames: settings.classes, capacity: scenario.capacity(settings), windows: [],
            series: [], events: [], requests: 0, wishes: 0, wishesGranted: 0, retries: 0,
            retriesOverBudget: 0, decisionHash: 0, violations: [wrong], limits: [])
    }
}

extension World {
    borrowing func report(seed: UInt64) -> SimReport {
        SimReport(
            scenario: scenario.name, seed: seed, length: scenario.length,
            classNames: settings.classes, capacity: scenario.capacity(settings),
            windows: recorder.windows.indices.map {
                WindowReport(
                    window: recorder.windows[$0], classes: recorder.classes[$0],
                    tenants: recorder.tenants[$0])
            },
            series: recorder.series, events: recorder.events, requests: recorder.arrivals,
            wishes: recorder.wishes, wishesGranted: recorder.wishesGranted,
            retries: recorder.retries, retriesOverBudget: recorder.retriesOverBudget,
            decisionHash: recorder.decisionHash, violations: oracles.violations,
            limits: endpoints.map { $0.currentLimit == .max ? nil : $0.currentLimit })
    }
}
