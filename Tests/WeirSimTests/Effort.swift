// How much the tests simulate: less in debug builds, which are ten times as slow.

import WeirTime

@testable import WeirSim

enum Effort {
    #if DEBUG
        static let isThorough = false
    #else
        static let isThorough = true
    #endif

    /// Seeds of a scenario.
    static let seeds: ClosedRange<UInt64> = isThorough ? 1...3 : 1...1

    /// The scenario, or its first part in a debug build.
    static func scenario(_ full: Scenario, _ seconds: Int64) -> Scenario {
        var scenario = full
        if !isThorough { scenario.length = min(full.length, .seconds(seconds)) }
        return scenario
    }
}
