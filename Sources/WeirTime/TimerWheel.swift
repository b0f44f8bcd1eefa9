// Timers by the thousand: arming one that is already armed for earlier is a single store.

/// Names one timer of one wheel. Zero names none.
public struct TimerID: Hashable, Sendable {
    @usableFromInline let index: UInt32

    @usableFromInline init(index: UInt32) { self.index = index }

    /// No timer.
    public static let none = TimerID(index: 0)
}

/// A hierarchical timing wheel (Varghese and Lauck, 1987) of three levels of 256 slots.
///
/// A tick is 2^22 ns (4.2 ms). A timer never fires early and at most one tick late. Moving a timer
/// to a later deadline only stores the deadline: the entry is relinked when its old slot comes up,
/// so a keep-alive connection that re-arms its timer on each request does not touch the lists.
public final class TimerWheel {
    private struct Entry {
        var deadline: Int64
        var token: UInt
        var next: UInt32
        var previous: UInt32
        /// The list the entry is linked in, or `unlinked`.
        var slot: Int32
    }

    private static let tickShift: Int64 = 22
    private static let slotsPerLevel: Int64 = 256
    private static let unlinked: Int32 = -1

    private var entries: UnsafeMutablePointer<Entry>
    private var capacity: Int
    private var freeHead: UInt32 = 0
    private let heads: UnsafeMutablePointer<UInt32>
    /// One bit a slot of level 0, so that the next wake-up is found without walking lists.
    private let occupied: UnsafeMutablePointer<UInt64>
    private var cursor: Int64
    private var linkedCount = 0

    /// Creates an empty wheel whose first tick is the one of `now`.
    public init(now: Instant) {
        capacity = 64
        entries = .allocate(capacity: capacity)
        heads = .allocate(capacity: 3 * 256)
        heads.initialize(repeating: 0, count: 3 * 256)
        occupied = .allocate(capacity: 4)
        occupied.initialize(repeating: 0, count: 4)
        cursor = now.nanoseconds >> Self.tickShift
        addToFreeList(from: 1)
    }

    deinit {
        entries.deallocate()
        heads.deallocate()
        occupied.deallocate()
    }

    /// Makes a timer that is not armed; when it fires, `popExpired` returns `token`.
    public func add(token: UInt) -> TimerID {
        if freeHead == 0 { grow() }
        let index = freeHead
        let entry = entries + Int(index)
        freeHead = entry.pointee.next
        entry.pointee = Entry(
            deadline: .max, token: token, next: 0, previous: 0, slot: Self.unlinked)
        return TimerID(index: index)
    }

    /// Ends a timer; its ID may be reused.
    public func remove(_ id: TimerID) {
        guard id != .none else { return }
        unlink(id.index)
        entries[Int(id.index)].next = freeHead
        freeHead = id.index
    }

    /// Lets the timer fire at `deadline`, replacing any earlier or later one.
    public func arm(_ id: TimerID, at deadline: Instant) {
        guard id != .none else { return }
        let entry = entries + Int(id.index)
        entry.pointee.deadline = deadline.nanoseconds
        let slot = Int64(entry.pointee.slot)
        if slot >= 0, Self.tick(of: deadline.nanoseconds) >= tickWhenServed(slot) { return }
        unlink(id.index)
        link(id.index)
    }

    /// Lets the timer not fire until it is armed again.
    public func disarm(_ id: TimerID) {
        guard id != .none else { return }
        entries[Int(id.index)].deadline = .max
    }

    /// The deadline that the timer is armed for.
    public func deadline(of id: TimerID) -> Instant {
        id == .none ? .distantFuture : Instant(nanoseconds: entries[Int(id.index)].deadline)
    }

    /// Removes one expired timer from its slot and returns its token; `nil` when none is left.
    ///
    /// The timer stays allocated, disarmed. Call in a loop: handlers may arm and remove timers.
    public func popExpired(now: Instant) -> UInt? {
        let nowTick = now.nanoseconds >> Self.tickShift
        while cursor <= nowTick {
            if linkedCount == 0 {
                cursor = nowTick + 1
                return nil
            }
            let index = heads[Int(cursor & 255)]
            if index == 0 {
                advanceCursor()
                continue
            }
            unlink(index)
            let entry = entries + Int(index)
            if entry.pointee.deadline <= now.nanoseconds {
                entry.pointee.deadline = .max
                return entry.pointee.token
            }
            if entry.pointee.deadline != .max { link(index) }
        }
        return nil
    }

    /// Moves an empty wheel on to `now`; otherwise the first timer armed after hours of rest would
    /// have the hours walked through tick by tick.
    public func skipIdleTime(to now: Instant) {
        if linkedCount == 0 { cursor = max(cursor, now.nanoseconds >> Self.tickShift) }
    }

    /// When `popExpired` may next have something to return; `nil` when no timer is linked.
    public func nextWake() -> Instant? {
        guard linkedCount > 0 else { return nil }
        // Timers of the upper levels come down at the boundary, and may be due before a timer of
        // level 0 that lies beyond it.
        let boundary = (cursor | 255) + 1
        let start = Int(cursor & 255)
        for word in start / 64..<4 {
            var bits = occupied[word]
            if word == start / 64 { bits &= ~UInt64(0) << UInt64(start % 64) }
            guard bits != 0 else { continue }
            let slot = word * 64 + bits.trailingZeroBitCount
            return Instant(nanoseconds: (cursor + Int64(slot - start)) << Self.tickShift)
        }
        return Instant(nanoseconds: boundary << Self.tickShift)
    }

    // MARK: Lists

    private func addToFreeList(from first: Int) {
        for index in stride(from: capacity - 1, through: first, by: -1) {
            (entries + index).initialize(
                to: Entry(
                    deadline: .max, token: 0, next: freeHead, previous: 0, slot: Self.unlinked))
            freeHead = UInt32(index)
        }
    }

    private func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
        (larger + 1).moveInitialize(from: entries + 1, count: capacity - 1)
        entries.deallocate()
        entries = larger
        let first = capacity
        capacity *= 2
        addToFreeList(from: first)
    }

    private func advanceCursor() {
        cursor += 1
        guard cursor & 255 == 0 else { return }
        // Rule: level 2 first, since what it holds may belong in the level 1 slot that is next.
        if (cursor >> 8) & 255 == 0 { cascade(slot: 512 + Int((cursor >> 16) & 255)) }
        cascade(slot: 256 + Int((cursor >> 8) & 255))
    }

    private func cascade(slot: Int) {
        var index = heads[slot]
        while index != 0 {
            let next = entries[Int(index)].next
            unlink(index)
            if entries[Int(index)].deadline != .max { link(index) }
            index = next
        }
    }

    /// Rounded up, so that a slot's tick has passed only when its timers have expired.
    private static func tick(of deadline: Int64) -> Int64 {
        (deadline >> tickShift) + (deadline & ((1 << tickShift) - 1) == 0 ? 0 : 1)
    }

    /// When a slot is next looked at: to fire its timers, or to link them anew further down.
    private func tickWhenServed(_ slot: Int64) -> Int64 {
        if slot < Self.slotsPerLevel { return cursor &+ ((slot &- cursor) & 255) }
        let shift: Int64 = slot < 2 * Self.slotsPerLevel ? 8 : 16
        // The slot that the cursor stands in has been served: it is a whole round away.
        let place = (cursor >> shift) &+ 1
        return (place &+ ((slot &- place) & 255)) << shift
    }

    private func link(_ index: UInt32) {
        let entry = entries + Int(index)
        let deadline = entry.pointee.deadline
        let tick = max(Self.tick(of: deadline), cursor)
        let distance = tick - cursor
        let slot: Int
        if distance < Self.slotsPerLevel {
            slot = Int(tick & 255)
            occupied[slot / 64] |= 1 << UInt64(slot % 64)
        } else if distance < Self.slotsPerLevel << 8 {
            slot = 256 + Int((tick >> 8) & 255)
        } else {
            // Beyond the wheel's 19 hours a timer waits in the last slot and is linked again.
            let reachable = min(tick, cursor + (Self.slotsPerLevel << 16) - 1)
            slot = 512 + Int((reachable >> 16) & 255)
        }
        let head = heads[slot]
        entry.pointee.next = head
        entry.pointee.previous = 0
        entry.pointee.slot = Int32(slot)
        if head != 0 { entries[Int(head)].previous = index }
        heads[slot] = index
        linkedCount += 1
    }

    private func unlink(_ index: UInt32) {
        let entry = entries + Int(index)
        let slot = Int(entry.pointee.slot)
        guard slot >= 0 else { return }
        let next = entry.pointee.next
        let previous = entry.pointee.previous
        if previous != 0 { entries[Int(previous)].next = next } else { heads[slot] = next }
        if next != 0 { entries[Int(next)].previous = previous }
        if slot < 256, heads[slot] == 0 { occupied[slot / 64] &= ~(1 << UInt64(slot % 64)) }
        entry.pointee.slot = Self.unlinked
        linkedCount -= 1
    }
}
