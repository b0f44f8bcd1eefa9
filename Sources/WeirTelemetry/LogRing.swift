// The way of a log line from a worker to the log writer: a ring that drops rather than waits.

import Synchronization

/// A ring of bytes between one producer, a worker, and one consumer, the log writer.
///
/// Positions count bytes since the start and never wrap; a line is always contiguous: one that
/// does not fit before the end of the memory goes to its start, and `padding` says where the
/// consumer has to skip. One such mark is enough: the producer can only come to the end again when
/// the consumer has passed the mark before.
package final class LogRing: @unchecked Sendable {
    private struct Producer {
        var position: UInt64 = 0
        /// The consumer's position when last looked at.
        var knownConsumed: UInt64 = 0
        var hasWoken = false
        var clock = SecondCache()
    }

    /// Smaller rings could not hold the longest line twice.
    package static let minCapacity = 256 << 10
    package static let defaultCapacity = 1 << 20

    package let capacity: Int
    private let mask: UInt64
    private let memory: UnsafeMutablePointer<UInt8>
    /// Behind a pointer, so that no access to it is checked for exclusivity. Producer only.
    private let producer: UnsafeMutablePointer<Producer>
    private let wakeup: LogWakeup?

    private let published = Atomic<UInt64>(0)
    private let padding = Atomic<UInt64>(.max)
    private let consumed = Atomic<UInt64>(0)

    /// - Parameters:
    ///   - capacity: bytes, rounded up to a power of two of at least `minCapacity`.
    ///   - wakeup: whom to wake when the ring becomes more than half full.
    package init(capacity: Int = LogRing.defaultCapacity, wakeup: LogWakeup? = nil) {
        var size = Self.minCapacity
        while size < min(capacity, 1 << 30) { size *= 2 }
        self.capacity = size
        self.wakeup = wakeup
        mask = UInt64(size - 1)
        memory = .allocate(capacity: size)
        producer = .allocate(capacity: 1)
        producer.initialize(to: Producer())
    }

    deinit {
        producer.pointee.clock.deallocate()
        producer.deallocate()
        memory.deallocate()
    }

    /// Writes the record's line; `false` when there is no room and the line is dropped, which the
    /// caller counts. Producer thread only; never waits, never allocates.
    package func append(_ record: AccessRecord) -> Bool {
        let bound = UInt64(truncatingIfNeeded: AccessLine.bound(record))
        let position = producer.pointee.position
        var start = position
        if position & mask &+ bound > mask &+ 1 { start = (position | mask) &+ 1 }
        guard hasRoom(upTo: start &+ bound) else { return false }

        let place = memory + Int(truncatingIfNeeded: start & mask)
        let end = AccessLine.write(record, at: place, &producer.pointee.clock)
        if start != position { padding.store(position, ordering: .relaxed) }
        let newPosition = start &+ UInt64(truncatingIfNeeded: end - place)
        producer.pointee.position = newPosition
        published.store(newPosition, ordering: .releasing)
        wakeWriterWhenHalfFull(newPosition)
        return true
    }

    @inline(__always)
    private func hasRoom(upTo end: UInt64) -> Bool {
        if end &- producer.pointee.knownConsumed <= mask &+ 1 { return true }
        producer.pointee.knownConsumed = consumed.load(ordering: .acquiring)
        return end &- producer.pointee.knownConsumed <= mask &+ 1
    }

    @inline(__always)
    private func wakeWriterWhenHalfFull(_ position: UInt64) {
        let half = mask / 2
        if position &- producer.pointee.knownConsumed > half {
            producer.pointee.knownConsumed = consumed.load(ordering: .acquiring)
        }
        if position &- producer.pointee.knownConsumed <= half {
            producer.pointee.hasWoken = false
        } else if !producer.pointee.hasWoken {
            producer.pointee.hasWoken = true
            wakeup?.post()
        }
    }

    // MARK: Consumer

    /// The lines that wait, up to the end of the memory: whole lines only. Consumer thread only.
    package func waiting() -> UnsafeRawBufferPointer {
        var start = consumed.load(ordering: .relaxed)
        let end = published.load(ordering: .acquiring)
        guard start != end else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let skip = padding.load(ordering: .relaxed)
        if skip == start {
            start = (start | mask) &+ 1
            consumed.store(start, ordering: .releasing)
        }
        var stop = min(end, (start | mask) &+ 1)
        if skip > start, skip < stop { stop = skip }
        return UnsafeRawBufferPointer(
            start: memory + Int(truncatingIfNeeded: start & mask),
            count: Int(truncatingIfNeeded: stop &- start))
    }

    /// Gives back the first `count` bytes of what `waiting` returned. Consumer thread only.
    package func release(_ count: Int) {
        let start = consumed.load(ordering: .relaxed)
        consumed.store(start &+ UInt64(clamping: count), ordering: .releasing)
    }

    /// Nothing waits.
    package var isEmpty: Bool {
        consumed.load(ordering: .acquiring) == published.load(ordering: .acquiring)
    }
}
