// Fuzzes the response parser: cuts must not matter, and the body's end must be free of doubt.

import FuzzSupport
import WeirHTTP

private struct Reader: ~Copyable {
    let memory = GuardedMemory()
    var whole = ResponseHead(maxFields: 100)
    var pieces = ResponseHead(maxFields: 100)
    var other = ResponseHead(maxFields: 100)
}

nonisolated(unsafe) private var reader = Reader()

private let ordinary = HeadLimits(maxBytes: 16_384, maxFields: 100, maxTargetBytes: 8_192)
private let tight = HeadLimits(maxBytes: 120, maxFields: 3, maxTargetBytes: 24)

@c(LLVMFuzzerTestOneInput)
func fuzzResponse(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = Bytes(start: data, count: count)
    guard count > 0, count < GuardedMemory.capacity else { return 0 }
    var choices = Choices(input)
    let method: Method = choices.below(4) == 0 ? .head : .get
    let limits = choices.below(4) == 0 ? tight : ordinary
    reader.test(input, to: method, limits: limits, choices.cuts(of: count))
    return 0
}

extension Reader {
    mutating func test(_ input: Bytes, to method: Method, limits: HeadLimits, _ cuts: [Int]) {
        let verdict = Self.parse(memory, input, seen: 0, method, limits, &whole)
        var seen = 0
        var inPieces = ParseStep.needsMore
        for end in cuts where inPieces == .needsMore {
            let piece = Bytes(rebasing: input[..<end])
            inPieces = Self.parse(memory, piece, seen: seen, method, limits, &pieces)
            seen = end
        }
        switch verdict {
        case .needsMore: require(inPieces == .needsMore, "undecided whole, decided in pieces")
        case .malformed:
            if inPieces == .needsMore {
                // A wrong line in an unfinished head: it is found when the head ends.
                let ended = Array(input) + Array("\r\n\r\n".utf8)
                inPieces = ended.withUnsafeBytes {
                    Self.parse(memory, $0, seen: seen, method, limits, &pieces)
                }
            }
            require(inPieces == verdict, "\(verdict) whole, \(inPieces) in pieces")
        case .complete:
            require(inPieces == .complete, "complete whole, \(inPieces) in pieces")
            require(isSame(whole, pieces), "the same head whole and in pieces")
            checkEnds(input, method, limits)
            whole.check(input, method, limits)
        }
    }

    /// A complete head ends exactly where it says: one byte less is too few, and what follows it
    /// does not change it.
    private mutating func checkEnds(_ input: Bytes, _ method: Method, _ limits: HeadLimits) {
        let short = Bytes(rebasing: input[..<(whole.length - 1)])
        let cut = Self.parse(memory, short, seen: 0, method, limits, &other)
        require(cut == .needsMore, "a head without its last byte is \(cut)")
        let exact = Bytes(rebasing: input[..<whole.length])
        require(
            Self.parse(memory, exact, seen: 0, method, limits, &other) == .complete
                && isSame(whole, other), "what follows a head changes it")
    }

    private static func parse(
        _ memory: borrowing GuardedMemory, _ bytes: Bytes, seen: Int, _ method: Method,
        _ limits: HeadLimits, _ head: inout ResponseHead
    ) -> ParseStep {
        H1Parser.parseResponse(
            Bytes(memory.place(bytes)), seen: seen, method: method, limits: limits, into: &head)
    }
}

private func isSame(_ one: borrowing ResponseHead, _ other: borrowing ResponseHead) -> Bool {
    one.length == other.length && one.status == other.status && one.reason == other.reason
        && one.minorVersion == other.minorVersion && one.framing == other.framing
        && one.isPersistent == other.isPersistent && one.declaredLength == other.declaredLength
        && FuzzSupport.isSame(one.fields, other.fields)
}

extension ResponseHead {
    fileprivate func check(_ input: Bytes, _ method: Method, _ limits: HeadLimits) {
        let rules = HeadRules(bytes: input, length: length)
        require(length <= limits.maxBytes, "no longer than the limit")
        rules.check(fields, limit: limits.maxFields)
        require(minorVersion <= 1, "HTTP/1.0 or HTTP/1.1")
        require((100..<600).contains(status), "a status has three digits")
        require(
            rules.read(reason).allSatisfy { $0 == 9 || $0 >= 32 && $0 != 127 },
            "no control in a reason")

        let stated = rules.statedFraming(of: fields, minorVersion: minorVersion)
        require(declaredLength == stated.length ?? -1, "the declared length")
        if status < 200 || status == 204 {
            require(!stated.isChunked && (stated.length ?? 0) == 0, "no body behind \(status)")
        }
        let expected: BodyFraming
        if status < 200 || status == 204 || status == 304 || method == .head {
            expected = .none
        } else if stated.isChunked {
            expected = .chunked
        } else if let length = stated.length {
            expected = length == 0 ? .none : .length(length)
        } else {
            expected = .untilClose
        }
        require(framing == expected, "\(framing) where \(expected) is stated")
        require(framing != .untilClose || !isPersistent, "a body until the end ends its connection")
    }
}
