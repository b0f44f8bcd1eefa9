// Comparisons on borrowed bytes.

import Glibc

/// Comparisons that allocate nothing.
package enum Bytes {
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
        guard a.count == lower.count else { return false }
        for index in 0..<a.count where lowercased(a[index]) != lower[index] { return false }
        return true
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
