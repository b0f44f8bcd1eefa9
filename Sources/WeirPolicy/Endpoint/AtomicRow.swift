// A fixed row of counters that many threads add to.

import Synchronization

/// Counters in one allocation, made once. The pointer never changes and every access is atomic,
/// which the compiler cannot see.
struct AtomicRow: ~Copyable, @unchecked Sendable {
    private let cells: UnsafeMutablePointer<Atomic<UInt32>>
    let count: Int

    init(count: Int) {
        self.count = count
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: count)
        cells.deallocate()
    }

    @inline(__always) func value(at index: Int) -> UInt32 {
        cells[index].load(ordering: .relaxed)
    }
    @inline(__always) func increment(at index: Int) {
        cells[index].wrappingAdd(1, ordering: .relaxed)
    }
    @inline(__always) func decrement(at index: Int) {
        cells[index].wrappingSubtract(1, ordering: .relaxed)
    }
}
