// Comparisons on borrowed bytes.

import Glibc

/// Comparisons that allocate nothing.
package enum Bytes {
    /// No bytes.
    static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    package static func areEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        guard a.count == b.count else { return false }
        guard let x = a.baseAddress, let y = b.baseAddress else { return true }
        return memcmp(x, y, a.count) == 0
    }

    package static func hasPrefix(
        _ a: UnsafeRawBufferPointer, _ prefix: UnsafeRawBufferPointer
    ) -> Bool {
        a.count >= prefix.count
            && areEqual(UnsafeRawBufferPointer(rebasing: a[..<prefix.count]), prefix)
    }

    /// Equal but for the case of ASCII letters; `lower` is lower case already.
    package static func areEqual(
        _ a: UnsafeRawBufferPointer, ignoringCase lower: UnsafeRawBufferPointer
    ) -> Bool {
        let count = a.count
        guard count == lower.count else { return false }
        guard count >= 8, let x = a.baseAddress, let y = lower.baseAddress else {
            for index in 0..<count where lowercased(a[index]) != lower[index] { return false }
            return true
        }
        // Words of eight; the last one overlaps the one before it.
        var offset = 0
        while offset < count &- 8 {
            guard wordsAreEqual(x + offset, ignoringCase: y + offset) else { return false }
            offset &+= 8
        }
        return wordsAreEqual(x + (count &- 8), ignoringCase: y + (count &- 8))
    }

    @inline(__always)
    private static func wordsAreEqual(
        _ a: UnsafeRawPointer, ignoringCase b: UnsafeRawPointer
    ) -> Bool {
        let lower = b.loadUnaligned(as: UInt64.self)
        let difference = a.loadUnaligned(as: UInt64.self) ^ lower
        if difference == 0 { return true }
        // In no byte more than the bit that makes a letter a small one, and that only in letters:
        // the high bit of a byte of `letters` is set where that of `lower` is one of a to z.
        let high: UInt64 = 0x8080_8080_8080_8080
        let low = lower & ~high
        let fromA = low &+ 0x1F1F_1F1F_1F1F_1F1F
        let beyondZ = low &+ 0x0505_0505_0505_0505
        let letters = fromA & ~beyondZ & ~lower & high
        return difference & ~0x2020_2020_2020_2020 == 0 && difference &<< 2 & ~letters == 0
    }

    @inline(__always)
    package static func lowercased(_ byte: UInt8) -> UInt8 {
        byte &- 65 < 26 ? byte | 0x20 : byte
    }
}

extension UnsafeRawBufferPointer {
    /// A part of these bytes.
    @inline(__always)
    func part(_ start: Int, _ length: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<(start + length)])
    }
}
