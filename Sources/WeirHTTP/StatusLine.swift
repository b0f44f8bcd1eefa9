// Reads `HTTP/1.x SP status [SP reason] CRLF`.

import CWeir

extension LineCursor {
    /// Reads the status line; `false` when its bytes have not all arrived.
    @inline(__always)
    mutating func readStatusLine(into head: inout ResponseHead) throws(Malformed) -> Bool {
        guard let minor = try readVersion() else { return false }
        head.minorVersion = minor
        guard position < end else { return false }
        guard base[position] == Byte.space else { throw .startLine }

        let digits = position &+ 1
        var status = 0
        for at in digits..<(digits &+ 3) {
            guard at < end else { return false }
            guard weir_byte_is(base[at], WEIR_DIGIT) else { throw .status }
            status = status &* 10 &+ Int(base[at] & 0x0f)
        }
        guard status >= 100, status < 600 else { throw .status }
        head.status = status

        position = digits &+ 3
        guard position < end else { return false }
        // Many servers leave out the space where they have no reason to give.
        let reasonStart = base[position] == Byte.space ? position &+ 1 : position
        if reasonStart > position { position = weir_scan_value(base, reasonStart, end) }
        head.reason = stretch(reasonStart, position)
        return try passLineEnd(else: reasonStart > digits &+ 3 ? .startLine : .status)
    }
}
