// Whether an endpoint passes weir's own probes: pure counting, no probing.

/// Counts successes and failures in a row.
///
///     healthy --`unhealthy` failures in a row--> unhealthy
///     unhealthy --`healthy` successes in a row--> healthy
///
/// An endpoint counts as healthy until it has been found otherwise: weir's start refuses nobody.
package struct HealthState: Equatable, Sendable {
    /// What a probe changed.
    package enum Change: Equatable, Sendable { case becameHealthy, becameUnhealthy }

    package private(set) var isHealthy = true
    /// Probes in a row that contradict the state.
    package private(set) var contradictions = 0

    package init() {}

    /// Takes in one probe's result.
    package mutating func record(isSuccess: Bool, _ settings: HealthCheckSettings) -> Change? {
        guard isSuccess != isHealthy else {
            contradictions = 0
            return nil
        }
        contradictions += 1
        guard contradictions >= (isHealthy ? settings.unhealthy : settings.healthy) else {
            return nil
        }
        isHealthy.toggle()
        contradictions = 0
        return isHealthy ? .becameHealthy : .becameUnhealthy
    }
}
