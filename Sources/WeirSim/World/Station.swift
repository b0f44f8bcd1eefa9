// One simulated endpoint at work: workers, a queue, and whatever is wrong with it at the moment.

import WeirPolicy
import WeirTime

/// A piece of work in an endpoint's queue.
struct Job {
    /// The attempt it belongs to, as a `Subject`.
    var attempt: UInt64
    /// Nanoseconds on an idle endpoint.
    var work: Int64
}

/// A ring of jobs; allocates only when longer than ever before.
struct JobQueue {
    private var ring = ContiguousArray(repeating: Job(attempt: 0, work: 0), count: 16)
    private var head = 0
    private(set) var count = 0

    mutating func append(_ job: Job) {
        if count == ring.count { grow() }
        ring[(head + count) & (ring.count - 1)] = job
        count += 1
    }

    mutating func popFirst() -> Job? {
        guard count > 0 else { return nil }
        let job = ring[head]
        head = (head + 1) & (ring.count - 1)
        count -= 1
        return job
    }

    mutating func removeAll() { (head, count) = (0, 0) }

    private mutating func grow() {
        var larger = ContiguousArray<Job>()
        larger.reserveCapacity(ring.count * 2)
        for offset in 0..<count { larger.append(ring[(head + offset) & (ring.count - 1)]) }
        while larger.count < ring.count * 2 { larger.append(Job(attempt: 0, work: 0)) }
        ring = larger
        head = 0
    }
}

struct Station {
    let model: EndpointModel
    /// Nanoseconds.
    let meanWork: Double
    var busy = 0
    var queue = JobQueue()
    /// Restarts, modulo 4: what was begun before one never ends.
    var era = 0
    /// What faults have made of it.
    var condition = Condition()
    /// Since when and until when it stands still.
    var pause: (from: Int64, until: Int64) = (0, 0)
    /// Attempts that have begun and not ended, as weir sees them.
    var inFlight = 0

    struct Condition {
        var slowness = 1.0
        /// Shares of 2^32.
        var errors: UInt64 = 0
        var isFast = false
        var silence: UInt64 = 0
        var busy: UInt64 = 0
        var retryAfter = Interval.zero
        var resets: UInt64 = 0
        var isDead = false
    }

    init(_ model: EndpointModel) {
        self.model = model
        meanWork = Double(model.service.nanoseconds)
    }

    /// How long a piece of work takes that begins now.
    func duration(_ work: Int64) -> Int64 {
        if model.knee == 0, condition.slowness == 1 { return work }
        var time = Double(work) * condition.slowness
        if model.knee > 0 {
            let crowd = Double(busy) / Double(model.knee)
            time *= 1 + crowd * crowd
        }
        return Int64(min(time, 1e15))
    }

    mutating func crash() {
        busy = 0
        queue.removeAll()
        era = (era + 1) & 3
    }
}
