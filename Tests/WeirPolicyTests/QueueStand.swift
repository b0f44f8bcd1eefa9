// An admission queue with a clock, for tests: its waiters are numbered as they come, from 1.

import WeirPolicy
import WeirTime

struct QueueStand {
    struct Arrival {
        let waiter: UInt64
        let insertion: AdmissionQueue.Insertion

        var isQueued: Bool { handle != 0 }

        var refusal: Refusal? {
            if case .refused(let refusal) = insertion { refusal } else { nil }
        }

        var handle: UInt32 {
            if case .queued(let handle, _, _) = insertion { handle } else { 0 }
        }

        var expiry: Instant? {
            if case .queued(_, let expiry, _) = insertion { expiry } else { nil }
        }

        var evicted: UInt64 {
            if case .queued(_, _, let evicted) = insertion { evicted } else { 0 }
        }
    }

    var queue: AdmissionQueue
    var settings: QueueSettings
    var now = Instant(nanoseconds: 0)
    private(set) var arrivals: UInt64 = 0

    init(length: Int = 500, shares: [Int] = []) {
        settings = QueueSettings()
        settings.maxLength = length
        settings.minimumShares = shares
        queue = AdmissionQueue(settings)
    }

    mutating func pass(_ time: Interval) { now = now + time }

    mutating func setLength(_ length: Int) {
        settings.maxLength = length
        queue.update(settings)
    }

    @discardableResult mutating func arrive(
        _ priority: UInt8 = 0, tenant: UInt64 = 0, weight: UInt16 = 1, within time: Interval = .max,
        isRetry: Bool = false
    ) -> Arrival {
        arrivals += 1
        let request = AdmissionQueue.Request(
            priority: priority, tenant: tenant, weight: weight, deadline: now + time,
            waiter: arrivals, isRetry: isRetry)
        return Arrival(waiter: arrivals, insertion: queue.insert(request, now: now))
    }

    mutating func pop() -> UInt64 { queue.pop(now: now) }

    mutating func pop(_ count: Int) -> [UInt64] { (0..<count).map { _ in pop() } }

    /// All that still get a permit, in order.
    mutating func drain() -> [UInt64] {
        var order: [UInt64] = []
        while case let waiter = pop(), waiter != 0 { order.append(waiter) }
        return order
    }

    mutating func popExpired() -> [UInt64] {
        var expired: [UInt64] = []
        while case let waiter = queue.popExpired(now: now), waiter != 0 { expired.append(waiter) }
        return expired
    }
}
