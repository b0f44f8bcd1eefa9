// What happens next: a heap of events by time, then by the order in which they were planned.

/// What may happen. Sixteen at most: a kind takes four bits of an event's tag.
enum EventKind: UInt8 {
    /// A stream's next request; the index is the stream.
    case arrival
    /// An endpoint has done a piece of work; the index is the endpoint and its restarts.
    case workDone
    /// An answer that took no work: a refused connection, an error at the door.
    case answer
    /// Timers of requests. The subject names the request's step, or the request as a whole.
    case waitExpired, backoffOver, tryTimeout, due, patienceOver, clientRetry
    /// The control thread's turn.
    case tick
    /// A point of the report's time series.
    case sample
    case faultBegins, faultEnds, pauseOver
    /// A verdict reaches the worker that holds the request.
    case verdict
    /// A user of a closed loop has thought.
    case thought
}

/// One thing that will happen.
struct Event {
    /// Nanoseconds since the simulation's beginning.
    var time: Int64
    /// 48 bits of sequence number, 4 of kind, 12 of index: comparing tags orders by sequence.
    var tag: UInt64
    var subject: UInt64

    var kind: EventKind? { EventKind(rawValue: UInt8(truncatingIfNeeded: tag >> 12 & 0xF)) }
    var index: Int { Int(tag & 0xFFF) }

    @inline(__always)
    func isBefore(_ other: Event) -> Bool {
        time == other.time ? tag < other.tag : time < other.time
    }
}

/// Planned events in order. Allocates only when more are planned than ever before.
///
/// Most timers last equally long and are of no use when they go off, because what they guard has
/// happened. Those of one length are in order by themselves, so they wait in a *lane*, of which
/// only the first is in the heap: the heap stays as small as what really happens.
struct EventQueue {
    fileprivate struct Lane {
        let length: Int64
        /// One of the lane's timers is in the heap.
        var isArmed = false
        var ring: ContiguousArray<Event>
        var head = 0
        var count = 0
    }

    private static let arity = 4
    private static let maxLanes = 24
    private var heap: ContiguousArray<Event> = []
    private var lanes: ContiguousArray<Lane> = []
    private var sequence: UInt64 = 0
    /// When the last event happened.
    private(set) var now: Int64 = 0

    init() { heap.reserveCapacity(1024) }

    var isEmpty: Bool { heap.isEmpty }

    private mutating func tag(_ kind: EventKind, _ index: Int) -> UInt64 {
        sequence &+= 1
        return sequence << 16 | UInt64(kind.rawValue) << 12 | UInt64(index & 0xFFF)
    }

    /// Plans an event; what lies in the past happens now.
    mutating func plan(_ kind: EventKind, at time: Int64, index: Int = 0, subject: UInt64 = 0) {
        push(Event(time: max(time, now), tag: tag(kind, index), subject: subject))
    }

    /// Plans a timer that will probably not matter any more when it goes off.
    mutating func planTimer(_ kind: EventKind, after length: Int64, subject: UInt64) {
        guard let lane = lane(length) else {
            return plan(kind, at: later(length), subject: subject)
        }
        let event = Event(time: later(length), tag: tag(kind, lane + 1), subject: subject)
        if lanes[lane].isArmed {
            lanes[lane].append(event)
        } else {
            lanes[lane].isArmed = true
            push(event)
        }
    }

    private func later(_ length: Int64) -> Int64 {
        let (sum, overflow) = now.addingReportingOverflow(max(length, 0))
        return overflow ? .max : sum
    }

    private mutating func lane(_ length: Int64) -> Int? {
        for index in lanes.indices where lanes[index].length == length { return index }
        guard lanes.count < Self.maxLanes else { return nil }
        let empty = Event(time: 0, tag: 0, subject: 0)
        lanes.append(Lane(length: length, ring: ContiguousArray(repeating: empty, count: 64)))
        return lanes.count - 1
    }

    /// Takes out what happens next, unless it happens after `end`.
    mutating func next(until end: Int64) -> Event? {
        guard let first = heap.first, first.time <= end else { return nil }
        now = first.time
        removeFirst()
        return first
    }

    /// Puts the next timer of the lane that a timer came from into the heap.
    ///
    /// - Parameter isStale: the timer guards nothing any more, and need never go off.
    mutating func follow(_ timer: Event, isStale: (Event) -> Bool) {
        guard timer.index > 0, timer.index <= lanes.count else { return }
        let lane = timer.index - 1
        while let next = lanes[lane].popFirst() {
            if !isStale(next) { return push(next) }
        }
        lanes[lane].isArmed = false
    }

    // MARK: The heap

    private mutating func push(_ event: Event) {
        heap.append(event)
        heap.withUnsafeMutableBufferPointer { heap in
            var hole = heap.count - 1
            while hole > 0 {
                let parent = (hole - 1) / Self.arity
                guard event.isBefore(heap[parent]) else { break }
                heap[hole] = heap[parent]
                hole = parent
            }
            heap[hole] = event
        }
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap.withUnsafeMutableBufferPointer { heap in
            var hole = 0
            while true {
                let first = hole * Self.arity + 1
                guard first < heap.count else { break }
                var least = first
                for child in first + 1..<max(first + 1, min(first + Self.arity, heap.count))
                where heap[child].isBefore(heap[least]) {
                    least = child
                }
                guard heap[least].isBefore(last) else { break }
                heap[hole] = heap[least]
                hole = least
            }
            heap[hole] = last
        }
    }
}

extension EventQueue.Lane {
    fileprivate mutating func append(_ event: Event) {
        if count == ring.count { grow() }
        ring[(head + count) & (ring.count - 1)] = event
        count += 1
    }

    fileprivate mutating func popFirst() -> Event? {
        guard count > 0 else { return nil }
        let first = ring[head]
        head = (head + 1) & (ring.count - 1)
        count -= 1
        return first
    }

    private mutating func grow() {
        var larger = ContiguousArray<Event>()
        larger.reserveCapacity(ring.count * 2)
        for offset in 0..<count { larger.append(ring[(head + offset) & (ring.count - 1)]) }
        while larger.count < ring.count * 2 { larger.append(ring[0]) }
        ring = larger
        head = 0
    }
}
