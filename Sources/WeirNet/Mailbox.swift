// How threads talk to a loop: a bounded queue and an eventfd that wakes it.

import CWeir
import Glibc
import Synchronization

/// A queue of messages into one loop, written from any thread.
package final class Mailbox<Message: Sendable>: Sendable {
    private let queue: Mutex<[Message]>
    private let wakeup: Int32
    private let capacity: Int

    /// Creates an empty mailbox for at most `capacity` unread messages.
    package init(capacity: Int) throws(SystemError) {
        wakeup = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard wakeup >= 0 else { throw .last("eventfd") }
        queue = Mutex([])
        self.capacity = capacity
    }

    deinit { _ = close(wakeup) }

    /// Adds a message and wakes the loop; `false` when the mailbox is full.
    package func post(_ message: Message) -> Bool {
        let isAccepted = queue.withLock { messages in
            guard messages.count < capacity else { return false }
            messages.append(message)
            return true
        }
        if isAccepted { wake() }
        return isAccepted
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
    }

    /// Takes all messages.
    package func drain() -> [Message] {
        var count: UInt64 = 0
        _ = read(wakeup, &count, 8)
        return queue.withLock { messages in
            let taken = messages
            messages.removeAll()
            return taken
        }
    }

    /// A descriptor for a loop to watch; it becomes readable when a message was posted.
    package func makeWakeDescriptor() throws(SystemError) -> Int32 {
        let copy = fcntl(wakeup, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw .last("fcntl") }
        return copy
    }
}

/// Calls a closure whenever its descriptor is readable.
package final class ReadinessWatch: EventSource {
    private let action: () -> Void

    /// Takes ownership of `fd`.
    package init(fd: Int32, _ action: @escaping () -> Void) {
        self.action = action
        super.init(fd: fd)
    }

    package override func ready(_ events: Events) { action() }
}
