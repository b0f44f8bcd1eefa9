// How a worker wakes the log writer before its hundred milliseconds are over.

import CWeir
import Glibc

/// An eventfd, shared by the log writer and its rings and closed with the last of them.
package final class LogWakeup: Sendable {
    let descriptor: Int32

    package init() throws(LogFailure) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard descriptor >= 0 else { throw LogFailure(path: "", call: "eventfd") }
    }

    deinit { _ = close(descriptor) }

    /// Wakes the writer. Any thread; never waits.
    package func post() {
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    /// Forgets the posts so far and returns how many there were.
    @discardableResult
    package func clear() -> UInt64 {
        var posts: UInt64 = 0
        return read(descriptor, &posts, 8) == 8 ? posts : 0
    }
}

/// The access log could not be opened or written.
package struct LogFailure: Error, CustomStringConvertible {
    package let path: String
    /// The system call that failed.
    package let call: StaticString
    /// Its errno.
    package let code: Int32

    /// The failure that the last call of this thread left in errno.
    init(path: String, call: StaticString) {
        self.path = path
        self.call = call
        code = cweir_errno()
    }

    package var description: String {
        "access log \(path): \(call): \(String(cString: strerror(code)))"
    }
}
