// Where the access log goes: a file, a FIFO or the standard output, written without waiting.

import CWeir
import Glibc

/// An open log file. Owns its descriptor.
package final class LogOutput: Sendable {
    /// What one write came to.
    enum Written {
        case bytes(Int)
        /// A FIFO or a socket is full; `waitDescriptor` tells when it no longer is.
        case wouldBlock
        case failed(LogFailure)
    }

    package let path: String
    let descriptor: Int32
    private let isSocket: Bool

    /// Opens `path` for appending, made if need be. `/dev/stdout` is what the process was given.
    package init(path: String) throws(LogFailure) {
        self.path = path
        // Non-blocking matters for FIFOs: opening one without a reader fails rather than waits.
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK
        var fd = open(path, flags, 0o640)
        if fd < 0, path == "/dev/stdout" {
            // A socket, as under systemd, or a file of another user cannot be opened again.
            fd = fcntl(1, F_DUPFD_CLOEXEC, 0)
        }
        guard fd >= 0 else { throw LogFailure(path: path, call: "open") }
        descriptor = fd
        var status = stat()
        isSocket = fstat(fd, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    deinit { _ = close(descriptor) }

    func write(_ bytes: UnsafeRawBufferPointer) -> Written {
        while true {
            let count =
                isSocket
                ? send(
                    descriptor, bytes.baseAddress, bytes.count,
                    Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
                : Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            if count >= 0 { return .bytes(count) }
            let failure = LogFailure(path: path, call: "write")
            if failure.code == EAGAIN { return .wouldBlock }
            if failure.code != EINTR { return .failed(failure) }
        }
    }
}
