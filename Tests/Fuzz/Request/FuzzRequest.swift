// Fuzzes the request parser: cuts must not matter, and what passes must be free of doubt.

import FuzzSupport
import WeirHTTP

private struct Reader: ~Copyable {
    let memory = GuardedMemory()
    var whole = RequestHead(maxFields: 100)
    var pieces = RequestHead(maxFields: 100)
    var other = RequestHead(maxFields: 100)
}

nonisolated(unsafe) private var reader = Reader()

private let ordinary = HeadLimits(maxBytes: 16_384, maxFields: 100, maxTargetBytes: 8_192)
private let tight = HeadLimits(maxBytes: 120, maxFields: 3, maxTargetBytes: 24)

@c(LLVMFuzzerTestOneInput)
func fuzzRequest(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = Bytes(start: data, count: count)
    guard count > 0, count < GuardedMemory.capacity else { return 0 }
    var choices = Choices(input)
    reader.test(input, limits: choices.below(4) == 0 ? tight : ordinary, choices.cuts(of: count))
    return 0
}

extension Reader {
    mutating func test(_ input: Bytes, limits: HeadLimits, _ cuts: [Int]) {
        let verdict = Self.parse(memory, input, seen: 0, limits, &whole)
        var seen = 0
        var inPieces = ParseStep.needsMore
        for end in cuts where inPieces == .needsMore {
            let piece = Bytes(rebasing: input[..<end])
            inPieces = Self.parse(memory, piece, seen: seen, limits, &pieces)
            seen = end
        }
        switch verdict {
        case .needsMore: require(inPieces == .needsMore, "undecided whole, decided in pieces")
        case .malformed:
            if inPieces == .needsMore {
                // A wrong line in an unfinished head: it is found when the head ends.
                let ended = Array(input) + Array("\r\n\r\n".utf8)
                inPieces = ended.withUnsafeBytes {
                    Self.parse(memory, $0, seen: seen, limits, &pieces)
                }
            }
            require(inPieces == verdict, "\(verdict) whole, \(inPieces) in pieces")
        case .complete:
            require(inPieces == .complete, "complete whole, \(inPieces) in pieces")
            require(isSame(whole, pieces), "the same head whole and in pieces")
            checkEnds(input, limits)
            whole.check(input, limits)
        }
    }

    /// A complete head ends exactly where it says: one byte less is too few, and what follows it
    /// does not change it.
    private mutating func checkEnds(_ input: Bytes, _ limits: HeadLimits) {
        let short = Bytes(rebasing: input[..<(whole.length - 1)])
        let cut = Self.parse(memory, short, seen: 0, limits, &other)
        require(cut == .needsMore, "a head without its last byte is \(cut)")
        let exact = Bytes(rebasing: input[..<whole.length])
        require(
            Self.parse(memory, exact, seen: 0, limits, &other) == .complete
                && isSame(whole, other), "what follows a head changes it")
    }

    private static func parse(
        _ memory: borrowing GuardedMemory, _ bytes: Bytes, seen: Int, _ limits: HeadLimits,
        _ head: inout RequestHead
    ) -> ParseStep {
        H1Parser.parseRequest(Bytes(memory.place(bytes)), seen: seen, limits: limits, into: &head)
    }
}

private func isSame(_ one: borrowing RequestHead, _ other: borrowing RequestHead) -> Bool {
    one.length == other.length && one.method == other.method
        && one.methodName == other.methodName && one.target == other.target
        && one.targetForm == other.targetForm && one.path == other.path
        && one.query == other.query && one.authority == other.authority
        && one.host == other.host && one.minorVersion == other.minorVersion
        && one.framing == other.framing && one.isPersistent == other.isPersistent
        && one.expectsContinue == other.expectsContinue
        && one.wantsUpgrade == other.wantsUpgrade
        && one.acceptsTrailers == other.acceptsTrailers
        && FuzzSupport.isSame(one.fields, other.fields)
}

extension RequestHead {
    fileprivate func check(_ input: Bytes, _ limits: HeadLimits) {
        let rules = HeadRules(bytes: input, length: length)
        require(length <= limits.maxBytes, "no longer than the limit")
        rules.check(fields, limit: limits.maxFields)
        require(minorVersion <= 1, "HTTP/1.0 or HTTP/1.1")
        checkTarget(rules, limits)
        checkFraming(rules)

        let hosts = rules.values("host", of: fields)
        require(hosts.count <= 1, "one Host at most")
        require(hosts.count == 1 || minorVersion == 0, "a Host in HTTP/1.1")
        let hostBytes = rules.read(host)
        require(
            host.start >= authority.start && host.end <= authority.end,
            "the host is in the authority")
        require(
            hostBytes.allSatisfy { $0 > 32 && $0 < 127 && !"@/\\?#,%".utf8.contains($0) },
            "no doubtful byte in a host")
    }

    private func checkTarget(_ rules: borrowing HeadRules, _ limits: HeadLimits) {
        let name = rules.read(methodName)
        require(!name.isEmpty && name.allSatisfy(isToken), "the method is a token")
        let whole = rules.read(target)
        require(!whole.isEmpty && whole.count <= limits.maxTargetBytes, "a target within its limit")
        require(whole.allSatisfy { $0 > 32 && $0 != 127 }, "no control or blank in a target")
        for part in [path, query] where !part.isEmpty {
            require(part.start >= target.start && part.end <= target.end, "parts of the target")
        }
        let pathBytes = rules.read(path)
        require(targetForm != .origin || pathBytes.first == UInt8(ascii: "/"), "a path has a slash")
        require(targetForm != .asterisk || method == .options, "an asterisk is for OPTIONS")
        require((targetForm == .authority) == (method == .connect), "an authority is for CONNECT")
        for segment in pathBytes.split(separator: UInt8(ascii: "/")) {
            let text = String(decoding: segment, as: UTF8.self)
            require(text != "." && text != "..", "no dot segment in a path")
        }
    }

    private func checkFraming(_ rules: borrowing HeadRules) {
        let stated = rules.statedFraming(of: fields, minorVersion: minorVersion)
        switch framing {
        case .none: require(!stated.isChunked && (stated.length ?? 0) == 0, "no body is stated")
        case .length(let length):
            require(length > 0 && stated.length == length, "the stated length")
        case .chunked: require(stated.isChunked, "chunked is stated")
        case .untilClose: finding("broken: a request's body never ends with its connection")
        }
        if expectsContinue || wantsUpgrade { require(minorVersion == 1, "not in HTTP/1.0") }
        require(!expectsContinue || framing != .none, "who waits has a body to send")
        require(!wantsUpgrade || framing == .none, "no upgrade behind a body")
    }
}
