// Frames a body for HTTP/1: by length, in chunks, or by the connection's end.

import WeirHTTP
import WeirNet

/// Writes one message's body to a connection.
struct H1BodyWriter {
    enum Mode: UInt8 { case none, length, chunked, untilClose }

    private(set) var mode = Mode.none

    mutating func reset() { mode = .none }

    mutating func begin(_ mode: Mode) { self.mode = mode }

    /// Gathers a part of the body; the bytes must stay valid until the connection's next flush.
    func write(_ bytes: UnsafeRawBufferPointer, to connection: Connection) {
        guard bytes.count > 0 else { return }
        switch mode {
        case .none: break
        case .length, .untilClose: connection.gather(bytes)
        case .chunked:
            var out = ByteWriter(connection.reserve(20))
            out.append(hex: UInt64(bytes.count))
            out.append("\r\n")
            connection.commit(out.count)
            connection.gather(bytes)
            append("\r\n", to: connection)
        }
    }

    /// Gathers the end of the body; trailers need the chunked coding and are dropped without it.
    @inline(__always)
    func end(trailers: [UInt8], to connection: Connection) {
        if mode == .chunked { endChunks(trailers: trailers, to: connection) }
    }

    private func endChunks(trailers: [UInt8], to connection: Connection) {
        guard !trailers.isEmpty else { return append("0\r\n\r\n", to: connection) }
        var out = ByteWriter(connection.reserve(trailers.count + 8))
        out.append("0\r\n")
        trailers.withUnsafeBytes { out.append($0) }
        out.append("\r\n")
        connection.commit(out.count)
    }

    private func append(_ literal: StaticString, to connection: Connection) {
        var out = ByteWriter(connection.reserve(literal.utf8CodeUnitCount))
        out.append(literal)
        connection.commit(out.count)
    }
}
