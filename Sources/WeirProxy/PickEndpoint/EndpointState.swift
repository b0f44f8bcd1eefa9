// What is known of one endpoint, in the whole process and across reloads.

import Synchronization

/// Shared by all workers; keyed by cluster name and address, so that a reload forgets nothing.
package final class EndpointState: Sendable {
    private let inFlight = Atomic<Int>(0)
    private let total = Atomic<Int>(0)
    private let failed = Atomic<Int>(0)

    package init() {}

    /// Attempts that are under way.
    package var requestsInFlight: Int { inFlight.load(ordering: .relaxed) }
    /// Attempts since the endpoint is known.
    package var attempts: Int { total.load(ordering: .relaxed) }
    /// Attempts that ended without a response.
    package var failures: Int { failed.load(ordering: .relaxed) }

    func begin() {
        inFlight.wrappingAdd(1, ordering: .relaxed)
        total.wrappingAdd(1, ordering: .relaxed)
    }

    func end(isFailure: Bool) {
        inFlight.wrappingSubtract(1, ordering: .relaxed)
        if isFailure { failed.wrappingAdd(1, ordering: .relaxed) }
    }
}
