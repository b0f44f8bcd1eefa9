// An ECDSA signature as tokens carry it (RFC 7518 section 3.4), and as OpenSSL reads it.

/// The two numbers r and s of a signature on the curve P-256.
enum ECDSASignature {
    /// Each number takes half of them.
    static let bytes = 64
    /// A sequence of two integers of 33 bytes.
    static let maxEncodedBytes = 2 + 2 * (2 + 33)

    /// Writes r and s, of `bytes` bytes, as DER (RFC 3279 section 2.2.3) into
    /// `maxEncodedBytes`; returns how many it takes.
    static func encode(
        _ raw: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) -> Int {
        var count = 2
        for start in stride(from: 0, to: bytes, by: bytes / 2) {
            let end = start + bytes / 2
            var first = start
            // As few bytes as hold the number, and one more where it would look negative.
            while first < end - 1, raw[first] == 0 { first += 1 }
            let isPadded = raw[first] >= 0x80
            out[count] = 0x02
            out[count + 1] = UInt8(end - first + (isPadded ? 1 : 0))
            count += 2
            if isPadded {
                out[count] = 0
                count += 1
            }
            for index in first..<end {
                out[count] = raw[index]
                count += 1
            }
        }
        out[0] = 0x30
        out[1] = UInt8(count - 2)
        return count
    }
}
