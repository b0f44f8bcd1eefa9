// What an endpoint asks for before it is tried again.

extension ResponseHead {
    /// Seconds of the last `Retry-After` that is a number (RFC 9110 section 10.2.3); `nil` where
    /// there is none. A date is not read: it needs clocks that agree.
    package func retryAfterSeconds(in message: UnsafeRawBufferPointer) -> Int64? {
        var seconds: Int64?
        for index in 0..<fields.count where fields[index].known == .retryAfter {
            let start = Int(fields[index].valueStart)
            let count = Int(fields[index].valueLength)
            guard count > 0, count <= 9, start + count <= message.count else { continue }
            var value: Int64 = 0
            for byte in message[start..<start + count] {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else {
                    value = -1
                    break
                }
                value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            }
            if value >= 0 { seconds = value }
        }
        return seconds
    }
}
