// Fuzzes the chunked decoder: cuts must not matter, and a plain reader must agree with it.

import FuzzSupport
import WeirHTTP

nonisolated(unsafe) private let memory = GuardedMemory()

@c(LLVMFuzzerTestOneInput)
func fuzzChunked(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = Bytes(start: data, count: count)
    guard count < GuardedMemory.capacity else { return 0 }
    var choices = Choices(input)
    var decoder = ChunkedDecoder()
    let whole = Decoded(input, cuts: [count], &decoder)
    for _ in 0..<2 {
        decoder.reset()
        let pieces = Decoded(input, cuts: choices.cuts(of: count), &decoder)
        require(whole.fault == pieces.fault, "the same verdict whole and in pieces")
        // Of a body with a fault, what came before it may have been handed out.
        if whole.fault == nil { require(whole == pieces, "the same body whole and in pieces") }
    }
    whole.check(input)
    return 0
}

/// What became of one body.
private struct Decoded: Equatable {
    var body: [UInt8] = []
    var trailers: [UInt8] = []
    var consumed = 0
    var isComplete = false
    var fault: Malformed?

    init(_ input: Bytes, cuts: [Int], _ decoder: inout ChunkedDecoder) {
        var start = 0
        for end in cuts where !isComplete {
            let piece = memory.place(Bytes(rebasing: input[start..<end]))
            do throws(Malformed) {
                let progress = try decoder.decode(piece)
                require(progress.consumed <= piece.count, "no more consumed than there is")
                require(progress.bodyLength <= progress.consumed, "no more body than consumed")
                require(
                    progress.isComplete || progress.consumed == piece.count,
                    "all is consumed until the end")
                body += piece[..<progress.bodyLength]
                consumed += progress.consumed
                isComplete = progress.isComplete
            } catch {
                fault = error
                return
            }
            start = end
        }
        trailers = Array(decoder.trailers)
    }

    func check(_ input: Bytes) {
        guard fault == nil else { return }
        let expected = PlainReader.read(input)
        require(body == expected.body, "the body that a plain reader finds")
        require(isComplete == (expected.end != nil), "complete where a plain reader says so")
        guard let end = expected.end else { return }
        require(consumed == end, "\(consumed) consumed, the body ends at \(end)")
        checkTrailers()
    }

    /// Trailers are forwarded as they are: each must be a line that means one thing.
    private func checkTrailers() {
        var rest = trailers[...]
        while !rest.isEmpty {
            guard let colon = rest.firstIndex(of: UInt8(ascii: ":")),
                let end = rest.firstIndex(of: 13), colon < end, end + 1 < rest.endIndex
            else { finding("broken: a trailer is a line") }
            require(rest[..<colon].allSatisfy(isToken), "a trailer's name is a token")
            require(
                rest[colon..<end].allSatisfy { $0 == 9 || $0 >= 32 && $0 != 127 },
                "no control in a trailer")
            require(rest[end + 1] == 10, "no bare CR in a trailer")
            let name = String(decoding: rest[..<colon], as: UTF8.self).lowercased()
            require(
                !["content-length", "transfer-encoding", "host", "connection", "trailer"]
                    .contains(name), "\(name) is no trailer")
            rest = rest[(end + 2)...]
        }
    }
}

/// Reads well-formed chunks naively; only asked about what the decoder found no fault with.
private enum PlainReader {
    static func read(_ input: Bytes) -> (body: [UInt8], end: Int?) {
        var body: [UInt8] = []
        var at = 0
        while let lineEnd = endOfLine(input, from: at) {
            let line = input[at..<lineEnd].prefix { $0 != UInt8(ascii: ";") }
            guard let size = Int(String(decoding: line, as: UTF8.self), radix: 16) else {
                finding("broken: a size that no plain reader reads")
            }
            at = lineEnd + 2
            if size == 0 { return (body, endOfTrailers(input, from: at)) }
            let end = size > input.count - at ? input.count : at + size
            body += input[at..<end]
            guard end + 2 <= input.count, end - at == size else { return (body, nil) }
            require(input[end] == 13 && input[end + 1] == 10, "CRLF ends a chunk")
            at = end + 2
        }
        return (body, nil)
    }

    private static func endOfTrailers(_ input: Bytes, from start: Int) -> Int? {
        var at = start
        while let lineEnd = endOfLine(input, from: at) {
            if lineEnd == at { return lineEnd + 2 }
            at = lineEnd + 2
        }
        return nil
    }

    /// Where CRLF stands.
    private static func endOfLine(_ input: Bytes, from start: Int) -> Int? {
        var at = start
        while at + 1 < input.count {
            if input[at] == 13, input[at + 1] == 10 { return at }
            at += 1
        }
        return nil
    }
}
