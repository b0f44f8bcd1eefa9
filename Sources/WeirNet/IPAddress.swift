// Addresses in 16 bytes: an IPv4 address is held in its IPv4-mapped IPv6 form.

import Glibc

/// An IPv4 or IPv6 address.
package struct IPAddress: Hashable, Sendable {
    /// The first 64 bits, as a number.
    package let high: UInt64
    /// The last 64 bits, as a number.
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An IPv4 address given as a number, 127.0.0.1 being 0x7F000001.
    package init(v4: UInt32) {
        high = 0
        low = 0xFFFF_0000_0000 | UInt64(v4)
    }

    /// Parses dotted IPv4 or IPv6 text without brackets; `nil` when it is neither.
    package init?(_ text: String) {
        // C would stop reading at a NUL and take what stands before it.
        guard !text.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        var v6 = in6_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(v4: UInt32(bigEndian: v4.s_addr))
        } else if inet_pton(AF_INET6, text, &v6) == 1 {
            self.init(v6)
        } else {
            return nil
        }
    }

    /// Parses text like `init(_: String)`, without making a string of it.
    package init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0, bytes.count < 46 else { return nil }
        let parsed = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 46) {
            text -> IPAddress? in
            for (index, byte) in bytes.enumerated() {
                guard byte != 0 else { return nil }
                text.initializeElement(at: index, to: CChar(bitPattern: byte))
            }
            text.initializeElement(at: bytes.count, to: 0)
            guard let base = text.baseAddress else { return nil }
            var v4 = in_addr()
            if inet_pton(AF_INET, base, &v4) == 1 {
                return IPAddress(v4: UInt32(bigEndian: v4.s_addr))
            }
            var v6 = in6_addr()
            return inet_pton(AF_INET6, base, &v6) == 1 ? IPAddress(v6) : nil
        }
        guard let parsed else { return nil }
        self = parsed
    }

    init(_ address: in6_addr) {
        (high, low) = withUnsafeBytes(of: address) {
            (
                UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)),
                UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }

    /// The address is IPv4 (or IPv4-mapped IPv6).
    package var isV4: Bool { high == 0 && low >> 32 == 0xFFFF }

    /// 127.0.0.0/8 or ::1.
    package var isLoopback: Bool {
        isV4 ? low & 0xFF00_0000 == 0x7F00_0000 : high == 0 && low == 1
    }

    /// The address lies in the prefix of `bits` bits (0...128, counted in the 128-bit form).
    package func matches(prefix: IPAddress, bits: Int) -> Bool {
        let highMask = bits >= 64 ? ~0 : ~(~UInt64(0) >> UInt64(bits))
        let lowMask = bits <= 64 ? 0 : bits >= 128 ? ~0 : ~(~UInt64(0) >> UInt64(bits - 64))
        return (high ^ prefix.high) & highMask == 0 && (low ^ prefix.low) & lowMask == 0
    }

    /// Writes the text form (at most 45 bytes) and returns its length.
    package func format(into out: UnsafeMutablePointer<UInt8>) -> Int {
        if isV4 {
            var count = 0
            for position in 0..<4 {
                let octet = UInt32(truncatingIfNeeded: low >> UInt64(24 &- 8 &* position)) & 0xFF
                let tens = (octet &* 205) >> 11
                if octet >= 10 {
                    let hundreds = (tens &* 205) >> 11
                    if octet >= 100 {
                        out[count] = UInt8(truncatingIfNeeded: 48 &+ hundreds)
                        count &+= 1
                    }
                    out[count] = UInt8(truncatingIfNeeded: 48 &+ tens &- hundreds &* 10)
                    count &+= 1
                }
                out[count] = UInt8(truncatingIfNeeded: 48 &+ octet &- tens &* 10)
                out[count &+ 1] = UInt8(ascii: ".")
                count &+= 2
            }
            return count &- 1
        }
        var raw = (high.bigEndian, low.bigEndian)
        var text: InlineArray<46, CChar> = .init(repeating: 0)
        var span = text.mutableSpan
        return span.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress,
                inet_ntop(AF_INET6, &raw, base, socklen_t(buffer.count)) != nil
            else { return 0 }
            let length = strlen(base)
            memcpy(out, base, length)
            return length
        }
    }
}

extension IPAddress: CustomStringConvertible {
    package var description: String {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 46) { buffer in
            guard let base = buffer.baseAddress else { return "" }
            let length = format(into: base)
            return String(decoding: UnsafeBufferPointer(start: base, count: length), as: UTF8.self)
        }
    }
}
