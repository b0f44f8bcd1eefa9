// How many downstream connections the whole process may have, exact across workers.

import Synchronization

/// A counted ceiling that all workers share.
package final class ConnectionBudget: Sendable {
    private let open = Atomic<Int>(0)
    private let limit: Atomic<Int>
    /// The connections of each client address.
    let byAddress = AddressBudget()

    package init(limit: Int) { self.limit = Atomic(limit) }

    /// Connections that are open.
    package var count: Int { open.load(ordering: .relaxed) }

    /// Changes the ceiling; connections above a lower one stay.
    package func setLimit(_ value: Int) { limit.store(value, ordering: .relaxed) }

    /// Counts one more connection; `false` when there are enough.
    func take() -> Bool {
        let taken = open.wrappingAdd(1, ordering: .relaxed).newValue
        if taken <= limit.load(ordering: .relaxed) { return true }
        give()
        return false
    }

    func give() { open.wrappingSubtract(1, ordering: .relaxed) }
}
