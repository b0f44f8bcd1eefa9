// Signals as messages of a loop, so that no handler runs between two instructions.

import CWeir
import Glibc

/// Calls a closure with the number of each signal that weir answers to.
package final class SignalWatch: EventSource {
    /// SIGHUP, SIGTERM, SIGINT and SIGUSR1.
    package static let signals: [Int32] = [SIGHUP, SIGTERM, SIGINT, SIGUSR1]

    private let action: (Int32) -> Void

    /// Takes the signals from their default actions, and ignores SIGPIPE for the whole process.
    ///
    /// Call it before the first thread starts: threads inherit the mask, and a signal goes to any
    /// thread that does not block it.
    package static func block() {
        var set = mask()
        _ = pthread_sigmask(SIG_BLOCK, &set, nil)
        _ = signal(SIGPIPE, SIG_IGN)
    }

    /// Starts watching; the loop holds the watch until it is removed.
    package init(loop: EventLoop, _ action: @escaping (Int32) -> Void) throws(SystemError) {
        self.action = action
        var set = Self.mask()
        let descriptor = signalfd(
            -1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
        guard descriptor >= 0 else { throw .last("signalfd") }
        super.init(fd: descriptor)
        try loop.addForReading(self)
    }

    package override func ready(_ events: Events) {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        while fd >= 0, read(fd, &info, size) == size {
            action(Int32(truncatingIfNeeded: info.ssi_signo))
        }
    }

    private static func mask() -> sigset_t {
        var set = sigset_t()
        _ = sigemptyset(&set)
        for number in signals { _ = sigaddset(&set, number) }
        return set
    }
}
