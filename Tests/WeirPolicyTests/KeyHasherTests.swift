// That keys are SipHash-1-3, of parts that cannot be mistaken for each other.

import Testing
import WeirPolicy

/// SipHash-c-d as its authors write it down, byte by byte.
private func sipHash(
    _ message: [UInt8], _ k0: UInt64, _ k1: UInt64, rounds: Int, finalRounds: Int
) -> UInt64 {
    var v = [
        k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d, k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]
    func rotated(_ x: UInt64, _ by: UInt64) -> UInt64 { x << by | x >> (64 - by) }
    func round() {
        v[0] &+= v[1]
        v[1] = rotated(v[1], 13) ^ v[0]
        v[0] = rotated(v[0], 32)
        v[2] &+= v[3]
        v[3] = rotated(v[3], 16) ^ v[2]
        v[0] &+= v[3]
        v[3] = rotated(v[3], 21) ^ v[0]
        v[2] &+= v[1]
        v[1] = rotated(v[1], 17) ^ v[2]
        v[2] = rotated(v[2], 32)
    }
    var padded = message
    while padded.count % 8 != 7 { padded.append(0) }
    padded.append(UInt8(truncatingIfNeeded: message.count))
    for start in stride(from: 0, to: padded.count, by: 8) {
        let word = (0..<8).reduce(UInt64(0)) { $0 | UInt64(padded[start + $1]) << UInt64(8 * $1) }
        v[3] ^= word
        for _ in 0..<rounds { round() }
        v[0] ^= word
    }
    v[2] ^= 0xff
    for _ in 0..<finalRounds { round() }
    return v[0] ^ v[1] ^ v[2] ^ v[3]
}

private let k0: UInt64 = 0x0706_0504_0302_0100
private let k1: UInt64 = 0x0f0e_0d0c_0b0a_0908

private func hash(_ parts: [[UInt8]], seed: (UInt64, UInt64) = (k0, k1)) -> UInt64 {
    var hasher = KeyHasher(seed.0, seed.1)
    for part in parts { part.withUnsafeBytes { hasher.update($0) } }
    return hasher.finish()
}

@Suite struct `A key` {
    @Test func `of whole words is SipHash-1-3 by its published vectors`() {
        // Message n is the bytes 0, 1, ... n - 1; from the tests of Rust's core library.
        let vectors: [Int: UInt64] = [
            0: 0xabac_0158_050f_c4dc, 8: 0x3690_9511_8d29_9a8e, 16: 0xcc4f_dd1a_7d90_8b66,
        ]
        for (length, expected) in vectors {
            var hasher = KeyHasher(k0, k1)
            for start in stride(from: 0, to: length, by: 8) {
                hasher.update(
                    (0..<8).reduce(UInt64(0)) { $0 | UInt64(start + $1) << UInt64(8 * $1) })
            }
            #expect(hasher.finish() == expected)
        }
    }

    @Test func `is compared with a reference that knows the vectors of both variants`() {
        let fifteen = (0..<15).map { UInt8($0) }
        // The example of the SipHash paper's appendix.
        #expect(sipHash(fifteen, k0, k1, rounds: 2, finalRounds: 4) == 0xa129_ca61_49be_45e5)
        #expect(sipHash([0], k0, k1, rounds: 1, finalRounds: 3) == 0xc9f4_9bf3_7d57_ca93)
        let longest = (0..<63).map { UInt8($0) }
        #expect(sipHash(longest, k0, k1, rounds: 1, finalRounds: 3) == 0x9d19_9062_b7bb_b3a8)
    }

    @Test func `of any parts is SipHash-1-3 of their lengths and padded bytes`() {
        for length in 0..<70 {
            let first = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37) }
            let second = [UInt8](repeating: 255, count: length % 9)
            var message: [UInt8] = []
            for part in [first, second] {
                message += (0..<8).map { UInt8(truncatingIfNeeded: part.count >> (8 * $0)) }
                message += part
                while message.count % 8 != 0 { message.append(0) }
            }
            #expect(
                hash([first, second])
                    == sipHash(message, k0, k1, rounds: 1, finalRounds: 3))
        }
    }

    @Test func `tells parts from each other, and zeros from nothing`() {
        let rows: [[[UInt8]]] = [
            [], [[]], [[], []], [[0]], [[0, 0]], [[0], [0]], [[1, 2], [3]], [[1], [2, 3]],
            [[1, 2, 3]], [[1, 2, 3], []], [[], [1, 2, 3]],
        ]
        #expect(Set(rows.map { hash($0) }).count == rows.count)
    }

    @Test func `depends on both halves of the seed`() {
        let part: [UInt8] = [1, 2, 3]
        let seeds: [(UInt64, UInt64)] = [(1, 2), (2, 1), (1, 3), (0, 2), (0, 0)]
        #expect(Set(seeds.map { hash([part], seed: $0) }).count == seeds.count)
    }

    @Test func `of a rule differs by rule and by tenant, and is never 0`() {
        var keys: Set<UInt64> = []
        for tenant: UInt64 in 0..<100 {
            for rule: UInt64 in 0..<100 { keys.insert(KeyHasher.key(tenant, rule: rule)) }
        }
        #expect(keys.count == 10_000)
        #expect(!keys.contains(0))
    }
}
