// A hard cap on what is under way, exact across workers.

import Synchronization

/// So many places, shared by all workers. What is taken is given back once.
struct Ceiling: ~Copyable, Sendable {
    private let limit: Atomic<Int>
    private let taken = Atomic<Int>(0)

    /// `Int.max` places are no limit.
    init(_ places: Int) { limit = Atomic(places) }

    /// What is taken stays so, and counts towards the new limit.
    func setLimit(_ places: Int) { limit.store(places, ordering: .relaxed) }

    /// Places that are taken.
    var count: Int { taken.load(ordering: .relaxed) }

    /// Takes a place; `false` where there is none.
    func take() -> Bool {
        let most = limit.load(ordering: .relaxed)
        var seen = taken.load(ordering: .relaxed)
        while seen < most {
            let (won, now) = taken.weakCompareExchange(
                expected: seen, desired: seen + 1, ordering: .sequentiallyConsistent)
            if won { return true }
            seen = now
        }
        return false
    }

    func giveBack() { taken.subtract(1, ordering: .sequentiallyConsistent) }
}
