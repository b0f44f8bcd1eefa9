// What the tests of the codec share: parsing from text, verdicts, a seeded generator.

import Foundation
import Testing
import WeirHTTP

/// SplitMix64: the same numbers from the same seed, everywhere.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// One field as text.
struct ReadField: Equatable {
    var name: String
    var value: String
    var known: KnownField
    var isHopByHop: Bool
}

/// What a request head was read as.
struct ReadRequest: Equatable {
    var length = 0
    var method = Method.other
    var methodName = ""
    var target = ""
    var form = TargetForm.origin
    var path = ""
    var query = ""
    var authority = ""
    var host = ""
    var minorVersion: UInt8 = 1
    var framing = BodyFraming.none
    var isPersistent = true
    var expectsContinue = false
    var wantsUpgrade = false
    var acceptsTrailers = false
    var fields: [ReadField] = []
}

/// What a response head was read as.
struct ReadResponse: Equatable {
    var length = 0
    var status = 0
    var reason = ""
    var minorVersion: UInt8 = 1
    var framing = BodyFraming.none
    var isPersistent = true
    var declaredLength: Int64 = -1
    var fields: [ReadField] = []
}

enum Verdict<Head: Equatable>: Equatable {
    case complete(Head)
    case needsMore
    case malformed(Malformed)

    var head: Head? {
        if case .complete(let head) = self { head } else { nil }
    }
    var fault: Malformed? {
        if case .malformed(let fault) = self { fault } else { nil }
    }
}

let ordinaryLimits = HeadLimits(maxBytes: 16_384, maxFields: 100, maxTargetBytes: 8_192)

/// The limits, and bytes in memory that ends where they end: an address sanitizer sees a read
/// beyond them.
func withExactBytes<Result>(
    _ bytes: [UInt8], _ body: (UnsafeMutableRawBufferPointer) -> Result
) -> Result {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    return body(memory)
}

private func text(_ stretch: Stretch, _ bytes: [UInt8]) -> String {
    String(decoding: bytes[Int(stretch.start)..<Int(stretch.end)], as: UTF8.self)
}

private func read(_ fields: borrowing FieldIndex, _ bytes: [UInt8]) -> [ReadField] {
    var all: [ReadField] = []
    for index in 0..<fields.count {
        let field = fields[index]
        all.append(
            ReadField(
                name: text(field.name, bytes), value: text(field.value, bytes),
                known: field.known, isHopByHop: field.isHopByHop))
    }
    return all
}

/// Parses a request that arrives in pieces which end at `cuts`.
func readRequest(
    _ bytes: [UInt8], limits: HeadLimits = ordinaryLimits, cuts: [Int] = []
) -> Verdict<ReadRequest> {
    var head = RequestHead(maxFields: limits.maxFields)
    var seen = 0
    for cut in cuts + [bytes.count] {
        let step = withExactBytes(Array(bytes[..<cut])) {
            H1Parser.parseRequest(
                UnsafeRawBufferPointer($0), seen: seen, limits: limits, into: &head)
        }
        seen = cut
        switch step {
        case .needsMore: continue
        case .malformed(let fault): return .malformed(fault)
        case .complete:
            return .complete(
                ReadRequest(
                    length: head.length, method: head.method,
                    methodName: text(head.methodName, bytes), target: text(head.target, bytes),
                    form: head.targetForm, path: text(head.path, bytes),
                    query: text(head.query, bytes), authority: text(head.authority, bytes),
                    host: text(head.host, bytes), minorVersion: head.minorVersion,
                    framing: head.framing, isPersistent: head.isPersistent,
                    expectsContinue: head.expectsContinue, wantsUpgrade: head.wantsUpgrade,
                    acceptsTrailers: head.acceptsTrailers, fields: read(head.fields, bytes)))
        }
    }
    return .needsMore
}

func readRequest(
    _ text: String, limits: HeadLimits = ordinaryLimits, cuts: [Int] = []
) -> Verdict<ReadRequest> {
    readRequest([UInt8](text.utf8), limits: limits, cuts: cuts)
}

/// Parses a response that arrives in pieces which end at `cuts`.
func readResponse(
    _ bytes: [UInt8], to method: WeirHTTP.Method = .get, limits: HeadLimits = ordinaryLimits,
    cuts: [Int] = []
) -> Verdict<ReadResponse> {
    var head = ResponseHead(maxFields: limits.maxFields)
    var seen = 0
    for cut in cuts + [bytes.count] {
        let step = withExactBytes(Array(bytes[..<cut])) {
            H1Parser.parseResponse(
                UnsafeRawBufferPointer($0), seen: seen, method: method, limits: limits,
                into: &head)
        }
        seen = cut
        switch step {
        case .needsMore: continue
        case .malformed(let fault): return .malformed(fault)
        case .complete:
            return .complete(
                ReadResponse(
                    length: head.length, status: head.status, reason: text(head.reason, bytes),
                    minorVersion: head.minorVersion, framing: head.framing,
                    isPersistent: head.isPersistent, declaredLength: head.declaredLength,
                    fields: read(head.fields, bytes)))
        }
    }
    return .needsMore
}

func readResponse(
    _ text: String, to method: WeirHTTP.Method = .get, limits: HeadLimits = ordinaryLimits,
    cuts: [Int] = []
) -> Verdict<ReadResponse> {
    readResponse([UInt8](text.utf8), to: method, limits: limits, cuts: cuts)
}

/// A request for `/` with these field lines after its `Host`.
func request(_ lines: String..., version: String = "1.1", method: String = "GET") -> String {
    "\(method) / HTTP/\(version)\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n"
}

/// An answer with these field lines.
func response(_ lines: String..., status: String = "200 OK", version: String = "1.1") -> String {
    "HTTP/\(version) \(status)\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n"
}
