// Mutated messages: whatever the bytes, readers stay within them and cuts do not matter.

import Testing
import WeirHTTP

@Suite struct MutationTests {
    /// Bytes that mean something to the grammar, and some that do not.
    private static let spice: [UInt8] = [
        0, 9, 10, 13, 32, 34, 35, 37, 44, 46, 47, 48, 58, 59, 63, 64, 92, 95, 97, 127, 128, 255,
    ]

    private func mutate(_ bytes: [UInt8], _ numbers: inout SeededNumbers) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...3, using: &numbers) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &numbers)
            let byte = Self.spice.randomElement(using: &numbers) ?? 0
            switch Int.random(in: 0..<5, using: &numbers) {
            case 0: bytes[place] = byte
            case 1: bytes.insert(byte, at: place)
            case 2: bytes.remove(at: place)
            case 3: bytes.removeSubrange(place...)
            default:
                let other = Int.random(in: 0..<bytes.count, using: &numbers)
                bytes.insert(contentsOf: bytes[min(place, other)...max(place, other)], at: place)
            }
        }
        return Array(bytes.prefix(3000))
    }

    /// Cut into pieces, a message is read as it is whole. Where the whole is refused for a line in
    /// the middle of a head that never ends, pieces may leave it undecided: time cuts it off.
    private func expectSame<Head>(
        _ whole: Verdict<Head>, _ pieces: Verdict<Head>, _ bytes: [UInt8]
    ) {
        let isUndecided = whole.fault != nil && pieces == .needsMore
        #expect(whole == pieces || isUndecided, "\(bytes)")
    }

    @Test func `reads mutated messages the same in one piece and in many`() {
        var numbers = SeededNumbers(seed: 2026)
        for message in CorpusMessage.all where message.bytes.count < 2000 {
            for _ in 0..<15 {
                let bytes = mutate(message.bytes, &numbers)
                guard bytes.count > 1 else { continue }
                let cuts = (0..<3).map { _ in Int.random(in: 1..<bytes.count, using: &numbers) }
                    .sorted()
                if message.path.hasPrefix("request/") {
                    expectSame(readRequest(bytes), readRequest(bytes, cuts: cuts), bytes)
                    let each = readRequest(bytes, cuts: Array(1..<min(bytes.count, 150)))
                    expectSame(readRequest(bytes), each, bytes)
                } else {
                    expectSame(readResponse(bytes), readResponse(bytes, cuts: cuts), bytes)
                }
            }
        }
    }

    @Test func `decodes mutated bodies the same in one piece and in many`() {
        var numbers = SeededNumbers(seed: 31)
        for message in CorpusMessage.all where message.path.contains("chunk") {
            guard let gap = message.bytes.firstRange(of: Array("\r\n\r\n".utf8)) else { continue }
            for _ in 0..<100 {
                let bytes = mutate(Array(message.bytes[gap.upperBound...]), &numbers)
                guard bytes.count > 1 else { continue }
                let cuts = (0..<3).map { _ in Int.random(in: 1..<bytes.count, using: &numbers) }
                    .sorted()
                let whole = decode(bytes)
                let pieces = decode(bytes, cuts: cuts)
                // Pieces before a fault have been handed out; the fault itself is the same.
                #expect(whole.fault == pieces.fault, "\(bytes)")
                if whole.fault == nil { #expect(whole == pieces, "\(bytes)") }
            }
        }
    }

    @Test(arguments: [Int.min, -1, 0, 1, 50, 99, Int.max])
    func `a wrong count of seen bytes or a senseless limit harms nobody`(number: Int) {
        let bytes = [UInt8](request("X: y").utf8)
        var head = RequestHead(maxFields: 10)
        for cut in 1...bytes.count {
            let step = withExactBytes(Array(bytes[..<cut])) {
                H1Parser.parseRequest(
                    UnsafeRawBufferPointer($0), seen: number, limits: ordinaryLimits, into: &head)
            }
            if cut < bytes.count { #expect(step == .needsMore) }
        }
        let limits = HeadLimits(maxBytes: min(number, 20), maxFields: 0, maxTargetBytes: number)
        let step = withExactBytes(bytes) {
            H1Parser.parseRequest(
                UnsafeRawBufferPointer($0), seen: 0, limits: limits, into: &head)
        }
        #expect(step != .complete && step != .needsMore)
    }

    @Test func `what is read as complete lies within the message`() {
        var numbers = SeededNumbers(seed: 9)
        for message in CorpusMessage.all where message.bytes.count < 2000 {
            for _ in 0..<15 {
                let bytes = mutate(message.bytes, &numbers)
                var head = RequestHead(maxFields: 100)
                let step = withExactBytes(bytes) {
                    H1Parser.parseRequest(
                        UnsafeRawBufferPointer($0), seen: 0, limits: ordinaryLimits, into: &head)
                }
                guard step == .complete else { continue }
                #expect(head.length <= bytes.count)
                for part in [head.target, head.path, head.query, head.authority, head.host] {
                    #expect(Int(part.end) <= head.length)
                }
                for index in 0..<head.fields.count {
                    #expect(Int(head.fields[index].name.end) < head.length)
                    #expect(Int(head.fields[index].value.end) < head.length)
                }
            }
        }
    }
}
