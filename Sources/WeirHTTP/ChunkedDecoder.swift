// The chunked coding, decoded in place.

import CWeir

/// What a stretch of chunked bytes decoded to.
package struct ChunkedProgress: Equatable, Sendable {
    /// Bytes of input used up.
    package var consumed: Int
    /// Bytes of body, now contiguous at the start of the input.
    package var bodyLength: Int
    /// The last chunk and the trailers have been read.
    package var isComplete: Bool

    package init(consumed: Int, bodyLength: Int, isComplete: Bool) {
        self.consumed = consumed
        self.bodyLength = bodyLength
        self.isComplete = isComplete
    }
}

/// Decodes one chunked body (RFC 9112 section 7.1). Chunk extensions are dropped.
///
/// ```
/// size ─▶ (extension) ─▶ sizeEnd ─▶ data ─▶ dataEnd ─▶ dataEndLF ─▶ size …
///                           └─ size 0 ─▶ trailers ─▶ complete
/// ```
/// Verdicts depend on the bytes alone, not on how they were cut into calls. After an error the
/// decoder is of no use until `reset`.
package struct ChunkedDecoder: ~Copyable {
    /// Bytes of one chunk's size line.
    static let maxLineBytes = 1024
    /// Sizes stay far from where a sum of two could overflow.
    static let maxChunkSize = Int64.max / 2
    /// Framing that a body may cost: a fixed allowance and a multiple of the body's own bytes.
    /// Chunks of one byte cost five; only extensions, which nobody reads, get beyond this.
    static let maxFramingBytes = 16 * 1024
    static let maxFramingPerBodyByte: Int64 = 16

    private enum State: UInt8 {
        case size, `extension`, sizeEnd, data, dataEnd, dataEndLF, trailers, complete
    }

    /// The trailer fields that may be forwarded, each as `name: value CRLF`; empty until complete.
    package private(set) var trailers: [UInt8] = []

    private var state = State.size
    private var digits = 0
    private var lineBytes = 0
    /// The chunk's size while its line is read, then what is left of its data.
    private var remaining: Int64 = 0
    private var framingBytes: Int64 = 0
    private var bodyBytes: Int64 = 0
    private var section = TrailerSection()

    package init() {}

    /// Makes the decoder ready for the next body.
    package mutating func reset() {
        if !trailers.isEmpty { trailers = [] }
        state = .size
        digits = 0
        lineBytes = 0
        remaining = 0
        framingBytes = 0
        bodyBytes = 0
        section.reset()
    }

    /// Decodes what `bytes` hold, moving body bytes to their start. What follows the end of the
    /// body is left alone: it belongs to the next message.
    package mutating func decode(
        _ bytes: UnsafeMutableRawBufferPointer
    ) throws(Malformed) -> ChunkedProgress {
        guard let base = bytes.baseAddress else {
            return ChunkedProgress(consumed: 0, bodyLength: 0, isComplete: state == .complete)
        }
        var at = 0
        var kept = 0
        while at < bytes.count, state != .complete {
            if state == .data {
                let length = Int(min(remaining, Int64(bytes.count - at)))
                if kept != at { memmove(base + kept, base + at, length) }
                kept += length
                at += length
                bodyBytes += Int64(length)
                remaining -= Int64(length)
                if remaining == 0 { state = .dataEnd }
            } else {
                try take(base.load(fromByteOffset: at, as: UInt8.self))
                at += 1
            }
        }
        return ChunkedProgress(consumed: at, bodyLength: kept, isComplete: state == .complete)
    }

    /// Takes one byte of framing.
    @inline(__always)
    private mutating func take(_ byte: UInt8) throws(Malformed) {
        framingBytes += 1
        switch state {
        case .size: try takeSize(byte)
        case .extension:
            try countLineByte()
            if byte == Byte.carriageReturn {
                state = .sizeEnd
            } else if byte != Byte.tab, byte < Byte.space || byte > UInt8(ascii: "~") {
                throw .chunkSize
            }
        case .sizeEnd:
            guard byte == Byte.lineFeed else { throw .chunkSize }
            try beginChunk()
        case .dataEnd:
            guard byte == Byte.carriageReturn else { throw .chunkEnd }
            state = .dataEndLF
        case .dataEndLF:
            guard byte == Byte.lineFeed else { throw .chunkEnd }
            state = .size
        case .trailers:
            if try section.take(byte) {
                trailers = try section.forwardable()
                state = .complete
            }
        case .data, .complete: break
        }
    }

    /// One to sixteen digits, then the line's end or an extension; no blanks, no sign, no `0x`.
    @inline(__always)
    private mutating func takeSize(_ byte: UInt8) throws(Malformed) {
        if let digit = LineCursor.hexDigit(byte) {
            digits += 1
            guard digits <= 16, remaining <= Self.maxChunkSize >> 4 else { throw .chunkSize }
            remaining = remaining << 4 | Int64(digit)
            return
        }
        guard digits > 0 else { throw .chunkSize }
        switch byte {
        case Byte.carriageReturn: state = .sizeEnd
        case UInt8(ascii: ";"): state = .extension
        default: throw .chunkSize
        }
    }

    private mutating func countLineByte() throws(Malformed) {
        lineBytes += 1
        guard lineBytes <= Self.maxLineBytes else { throw .chunkSize }
    }

    @inline(__always)
    private mutating func beginChunk() throws(Malformed) {
        // `remaining` counts as body: a large chunk pays for its own line.
        let (body, overflows) = bodyBytes.addingReportingOverflow(remaining)
        let covered = min(overflows ? Int64.max : body, Self.maxChunkSize >> 4)
        guard
            framingBytes <= Int64(Self.maxFramingBytes) + covered * Self.maxFramingPerBodyByte
        else { throw .chunkSize }
        state = remaining > 0 ? .data : .trailers
        digits = 0
        lineBytes = 0
    }
}
