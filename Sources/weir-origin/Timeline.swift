// Waits to the microsecond: the loop's own wheel is a tick (17 ms) late, too coarse for a service
// time of 10 ms.

import CWeir
import Glibc
import WeirNet
import WeirTime

/// Something that waits. At most one wait at a time.
class Waiter {
    /// Names the wait in force; entries of the heap that carry another number are void.
    fileprivate var number: UInt64 = 0

    /// The wait is over.
    func waitEnded() {}
}

/// A heap of waits over one timerfd.
final class Timeline: EventSource {
    private struct Entry {
        let due: Instant
        let number: UInt64
        let waiter: Waiter
    }

    private var heap: [Entry] = []
    private var lastNumber: UInt64 = 0
    private var armedFor = Instant.distantFuture

    init(loop: EventLoop) throws(SystemError) {
        let descriptor = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
        guard descriptor >= 0 else { throw .last("timerfd_create") }
        super.init(fd: descriptor)
        try loop.addForReading(self)
    }

    /// Calls `waiter` in `wait`, instead of whenever it waited for before.
    func call(_ waiter: Waiter, in wait: Interval) {
        let due = MonotonicClock.now() + wait
        lastNumber += 1
        waiter.number = lastNumber
        heap.append(Entry(due: due, number: lastNumber, waiter: waiter))
        siftUp(from: heap.count - 1)
        arm()
    }

    func cancel(_ waiter: Waiter) { waiter.number = 0 }

    override func ready(_ events: Events) {
        var expirations: UInt64 = 0
        _ = read(fd, &expirations, 8)
        armedFor = .distantFuture
        let now = MonotonicClock.now()
        while let first = heap.first, first.due <= now {
            removeFirst()
            guard first.waiter.number == first.number else { continue }
            first.waiter.number = 0
            first.waiter.waitEnded()
        }
        arm()
    }

    private func arm() {
        guard let first = heap.first, first.due < armedFor else { return }
        armedFor = first.due
        var setting = itimerspec()
        // Zero would disarm it.
        let due = max(1, first.due.nanoseconds)
        setting.it_value.tv_sec = Int(due / 1_000_000_000)
        setting.it_value.tv_nsec = Int(due % 1_000_000_000)
        _ = timerfd_settime(fd, Int32(TFD_TIMER_ABSTIME), &setting, nil)
    }

    private func siftUp(from start: Int) {
        var index = start
        while index > 0, heap[index].due < heap[(index - 1) / 2].due {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < heap.count && heap[child].due < heap[least].due {
                least = child
            }
            guard least != index else { return }
            heap.swapAt(index, least)
            index = least
        }
    }
}
