// Takes an authority apart: host and port, from `Host` or from a request target.

import CWeir

enum Authority {
    /// The host within `authority`, or `nil` where it is not `uri-host [":" port]`.
    ///
    /// Stricter than RFC 3986 in what no real client sends and servers read differently: no
    /// userinfo, no percent-encoding, no comma (two `Host` fields joined), no empty port, no
    /// IPvFuture, no zone.
    static func host(of authority: Stretch, in base: UnsafePointer<UInt8>) -> Stretch? {
        let start = Int(authority.start)
        let end = Int(authority.end)
        guard end > start else { return nil }
        let hostEnd: Int
        if base[start] == UInt8(ascii: "[") {
            guard let closed = endOfIPv6(base, start + 1, end) else { return nil }
            hostEnd = closed
        } else {
            hostEnd = weir_scan_host(base, start, end)
        }
        guard hostEnd > start else { return nil }
        if hostEnd < end {
            guard base[hostEnd] == Byte.colon, isPort(base, hostEnd + 1, end) else { return nil }
        }
        return Stretch(
            start: authority.start, length: UInt32(truncatingIfNeeded: hostEnd &- start))
    }

    /// The index behind the closing bracket.
    private static func endOfIPv6(_ base: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int? {
        var at = start
        var colons = 0
        while at < end, base[at] != UInt8(ascii: "]") {
            let byte = base[at]
            let isHex = weir_byte_is(byte, WEIR_HEX)
            guard isHex || byte == Byte.colon || byte == UInt8(ascii: ".") else { return nil }
            if byte == Byte.colon { colons += 1 }
            at += 1
        }
        // The longest text of an IPv6 address has 45 bytes.
        guard at < end, (2...7).contains(colons), at - start <= 45 else { return nil }
        return at + 1
    }

    @inline(__always)
    private static func isPort(_ base: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end > start, end &- start <= 5 else { return false }
        var port = 0
        var at = start
        while at < end {
            guard weir_byte_is(base[at], WEIR_DIGIT) else { return false }
            port = port &* 10 &+ Int(base[at] & 0x0f)
            at &+= 1
        }
        return port <= 65535
    }
}
