// Bytes on their way out: a buffer, and the body behind it that is never built.

import Glibc
import WeirHTTP
import WeirNet

/// What a connection has still to send.
struct Outbox {
    enum Progress { case done, blocked, failed }

    private var bytes: [UInt8] = []
    private var sent = 0

    var isEmpty: Bool { bytes.isEmpty }
    var count: Int { bytes.count - sent }

    mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
    mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
    mutating func append(_ more: UnsafeRawBufferPointer) { bytes.append(contentsOf: more) }

    /// Appends a chunk of the chunked coding.
    mutating func append(chunk: UnsafeRawBufferPointer) {
        append(String(chunk.count, radix: 16) + "\r\n")
        bytes.append(contentsOf: chunk)
        append("\r\n")
    }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        sent = 0
    }

    /// Sends what is there.
    mutating func flush(to fd: Int32) -> Progress {
        var moved = 0
        return flush(to: fd, and: UnsafeRawBufferPointer(start: nil, count: 0), moved: &moved)
    }

    /// Sends what is there and, in the same call, what stands behind it; `moved` is how much of
    /// the latter was sent. `done` only says that nothing blocked.
    mutating func flush(
        to fd: Int32, and body: UnsafeRawBufferPointer, moved: inout Int
    ) -> Progress {
        while sent < bytes.count || moved < body.count {
            let offset = sent
            let rest = UnsafeRawBufferPointer(rebasing: body[moved...])
            let transfer = bytes.withUnsafeBytes { own in
                Self.send(UnsafeRawBufferPointer(rebasing: own[offset...]), rest, to: fd)
            }
            switch transfer {
            case .bytes(let count):
                let ownPart = min(count, bytes.count - sent)
                sent += ownPart
                moved += count - ownPart
            case .wouldBlock: return .blocked
            case .endOfStream, .failed: return .failed
            }
        }
        removeAll()
        return .done
    }

    private static func send(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, to fd: Int32
    ) -> Transfer {
        if second.isEmpty, let base = first.baseAddress {
            return Socket.send(fd, base, count: first.count)
        }
        if first.isEmpty, let base = second.baseAddress {
            return Socket.send(fd, base, count: second.count)
        }
        let pieces = [first, second].map {
            iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
        }
        return Socket.send(fd, pieces: pieces, count: 2)
    }
}
