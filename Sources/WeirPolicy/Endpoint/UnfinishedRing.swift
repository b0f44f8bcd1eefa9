// How many requests of which age have no answer yet.

package import WeirTime

/// Counts of unanswered requests by the slot of time in which they began.
///
/// A slot is 2^25 ns (34 ms) and there are 256, so that 8.6 s fit. An older request stands in the
/// slot of a younger one: it is taken for younger than it is until that slot has aged, and never
/// for older. Adding and removing are one atomic each, and must name the same instant.
package struct UnfinishedRing: ~Copyable, Sendable {
    static let slotBits: Int64 = 25
    private static let slots: Int64 = 256
    /// Ages that the ring tells apart, in nanoseconds.
    package static let span = (slots - 2) << slotBits

    private let row = AtomicRow(count: Int(slots))

    package init() {}

    @inline(__always) private static func slot(_ time: Int64) -> Int {
        Int((time >> slotBits) & (slots - 1))
    }

    package func add(_ startedAt: Instant) {
        row.increment(at: Self.slot(startedAt.nanoseconds))
    }
    package func remove(_ startedAt: Instant) {
        row.decrement(at: Self.slot(startedAt.nanoseconds))
    }

    /// How many began before `now - age` and have no answer.
    package func count(olderThan age: Int64, now: Instant) -> Int {
        guard age < Self.span else { return 0 }
        let current = now.nanoseconds >> Self.slotBits
        // The whole slot must be older.
        var slot = ((now.nanoseconds - max(age, 0)) >> Self.slotBits) - 1
        var sum = 0
        while slot > current - Self.slots {
            sum += count(at: slot)
            slot -= 1
        }
        return sum
    }

    /// When the oldest one began, as precisely as a slot; `nil` when all are answered.
    package func oldest(now: Instant) -> Int64? {
        let current = now.nanoseconds >> Self.slotBits
        for slot in (current - Self.slots + 1)...current where count(at: slot) > 0 {
            return slot << Self.slotBits
        }
        return nil
    }

    private func count(at slot: Int64) -> Int {
        // Below zero for a moment, where one thread's removal is seen before another's addition.
        max(Int(Int32(bitPattern: row.value(at: Int(slot & (Self.slots - 1))))), 0)
    }
}
