// What is known of one endpoint, in the whole process and across reloads.

package import WeirPolicy
import Synchronization

/// Shared by all workers; keyed by cluster name and address, so that a reload forgets nothing.
package final class EndpointState: Sendable {
    /// Its places, its limit and whether it is fit for traffic.
    package let governor: EndpointGovernor
    private let total = Atomic<Int>(0)
    private let failed = Atomic<Int>(0)

    package init(governor: EndpointGovernor) { self.governor = governor }

    /// Attempts that are under way.
    package var requestsInFlight: Int { governor.requestsInFlight }
    /// Attempts that have ended since the endpoint is known.
    package var attempts: Int { total.load(ordering: .relaxed) }
    /// Attempts that failed, answers of 500 and more among them.
    package var failures: Int { failed.load(ordering: .relaxed) }

    func count(_ outcome: AttemptOutcome) {
        total.wrappingAdd(1, ordering: .relaxed)
        if outcome.isFailure { failed.wrappingAdd(1, ordering: .relaxed) }
    }
}
