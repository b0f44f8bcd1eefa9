// The chunked coding, decoded in place.

/// What a stretch of chunked bytes decoded to.
package struct ChunkedProgress: Equatable, Sendable {
    /// Bytes of input used up.
    package var consumed: Int
    /// Bytes of body, now contiguous at the start of the input.
    package var bodyLength: Int
    /// The last chunk and the trailers have been read.
    package var isComplete: Bool
}

/// Decodes one chunked body (RFC 9112 section 7.1). Chunk extensions are dropped.
package struct ChunkedDecoder: ~Copyable {
    /// The trailer fields that may be forwarded, each as `name: value CRLF`; empty until complete.
    package private(set) var trailers: [UInt8] = []

    package init() {}

    /// Makes the decoder ready for the next body.
    package mutating func reset() {}

    /// Decodes what `bytes` hold, moving body bytes to their start.
    package mutating func decode(
        _ bytes: UnsafeMutableRawBufferPointer
    ) throws(Malformed) -> ChunkedProgress {
        ChunkedProgress(consumed: 0, bodyLength: 0, isComplete: false)
    }
}
