// Heads that wait for their turn, and the frames in which they leave.

import Testing

@testable import WeirHTTP

/// The heads of a session, with what they are told.
private final class Waiting {
    private let memory = H2Memory()
    private var heads = H2Heads()

    deinit { heads.clear(memory) }

    var isEmpty: Bool { heads.isEmpty }

    func append(_ block: [UInt8], of id: Int32) -> Bool {
        block.withUnsafeBytes { heads.append($0, of: id, memory: memory) }
    }

    func frames(of id: Int32, flags: UInt8, isFirst: Bool) -> [UInt8]? {
        heads.frames(of: id, flags: flags, isFirst: isFirst).map { Array($0) }
    }

    func removeLast() { heads.removeLast(memory: memory) }
    func remove(of id: Int32) { heads.remove(of: id, memory: memory) }
    func clear() { heads.clear(memory) }
}

@Suite("Heads of HTTP/2 that wait")
struct H2HeadsTests {
    private static let endsHead: UInt8 = 4
    private static let endsStream: UInt8 = 1

    /// The payloads of a head's frames, which must be in order.
    private func payloads(
        _ frames: [UInt8], id: Int32, endsStream: Bool
    ) throws -> [[UInt8]] {
        var at = 0
        var found: [[UInt8]] = []
        while at < frames.count {
            try #require(at + 9 <= frames.count)
            let length =
                Int(frames[at]) << 16 | Int(frames[at + 1]) << 8 | Int(frames[at + 2])
            let isLast = at + 9 + length == frames.count
            #expect(length <= 16_384)
            #expect(frames[at + 3] == (at == 0 ? 1 : 9))
            let ends = at == 0 && endsStream ? Self.endsStream : 0
            #expect(frames[at + 4] == (isLast ? Self.endsHead : 0) | ends)
            #expect(frames[(at + 5)..<(at + 9)] == [0, 0, 0, UInt8(id)])
            found.append(Array(frames[(at + 9)..<(at + 9 + length)]))
            at += 9 + length
        }
        return found
    }

    private func block(_ length: Int, _ byte: UInt8 = 7) -> [UInt8] {
        (0..<length).map { byte &+ UInt8(truncatingIfNeeded: $0) }
    }

    @Test(
        "a head leaves in frames that any peer takes; the first of all empties the table",
        arguments: [0, 1, 16_382, 16_383, 16_384, 16_385, 32_766, 32_767, 32_768, 100_000])
    func frames(length: Int) throws {
        let heads = Waiting()
        for isFirst in [true, false] {
            let block = block(length)
            #expect(heads.append(block, of: 5))
            let flags = Self.endsHead | (isFirst ? Self.endsStream : 0)
            // Asked for in vain once, as where there is no room.
            _ = heads.frames(of: 5, flags: flags, isFirst: !isFirst)
            let frames = try #require(heads.frames(of: 5, flags: flags, isFirst: isFirst))
            let payloads = try payloads(frames, id: 5, endsStream: isFirst)
            #expect(payloads.flatMap { $0 } == (isFirst ? [0x20] : []) + block)
            heads.remove(of: 5)
            #expect(heads.isEmpty)
        }
    }

    @Test("heads of a stream leave in their order, whichever of others are taken or dropped")
    func order() throws {
        let heads = Waiting()
        var expected: [Int32: [[UInt8]]] = [:]
        var chance = SeededNumbers(seed: 7)
        for round in 0..<5000 {
            let id = Int32.random(in: 1...9, using: &chance)
            if Int.random(in: 0..<5, using: &chance) < 2 {
                let block = block(Int.random(in: 0..<900, using: &chance), UInt8(round % 256))
                #expect(heads.append(block, of: id))
                expected[id, default: []].append(block)
            } else if let next = expected[id]?.first {
                let frames = try #require(heads.frames(of: id, flags: 4, isFirst: false))
                #expect(try payloads(frames, id: id, endsStream: false) == [next])
                heads.remove(of: id)
                expected[id]?.removeFirst()
            } else {
                #expect(heads.frames(of: id, flags: 4, isFirst: false) == nil)
                heads.remove(of: id)
            }
            #expect(heads.isEmpty == expected.values.allSatisfy(\.isEmpty))
        }
        heads.clear()
        #expect(heads.isEmpty)
    }

    @Test("a head beyond any that is sent is refused")
    func tooLarge() {
        let heads = Waiting()
        #expect(!heads.append(block(H2Fields.most + 1), of: 1))
        #expect(heads.isEmpty)
        #expect(heads.append(block(H2Fields.most), of: 1))
        #expect(heads.append(block(5), of: 3))
        heads.removeLast()
        #expect(heads.frames(of: 3, flags: 4, isFirst: false) == nil)
        heads.remove(of: 1)
        #expect(heads.isEmpty)
    }

    @Test("only heads are replaced")
    func kinds() {
        func stream(_ frame: [UInt8]) -> Int32? {
            frame.withUnsafeBytes { H2Heads.stream(ofHead: $0) }
        }
        #expect(stream([0, 0, 1, 1, 4, 0, 0, 1, 3, 0x88]) == 259)
        #expect(stream([0, 0, 0, 4, 0, 0, 0, 0, 0]) == nil)
        #expect(stream([0, 0, 0, 0, 1, 0, 0, 0, 3]) == nil)
        #expect(stream(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)) == nil)
        #expect(stream([0, 0, 0, 1]) == nil)
    }
}
