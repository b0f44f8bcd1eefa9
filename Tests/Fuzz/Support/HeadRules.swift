// What holds for every head that is read as complete, checked from its bytes by naive code.

package import WeirHTTP

package typealias Bytes = UnsafeRawBufferPointer

/// The rules that requests and responses share. Slow and plain on purpose: it must not share a
/// mistake with the parser.
package struct HeadRules {
    private let bytes: Bytes
    private let length: Int

    package init(bytes: Bytes, length: Int) {
        self.bytes = bytes
        self.length = length
        require(length > 0 && length <= bytes.count, "a head's length lies within the input")
        require(ends(with: "\r\n\r\n"), "a head ends in an empty line")
        for index in 0..<length {
            let byte = bytes[index]
            require(byte != 0, "no NUL in a head")
            if byte == 13 { require(bytes[index + 1] == 10, "no bare CR in a head") }
            if byte == 10 { require(index > 0 && bytes[index - 1] == 13, "no bare LF in a head") }
        }
    }

    private func ends(with text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard length >= count else { return false }
        return (0..<count).allSatisfy { bytes[length - count + $0] == text.utf8Start[$0] }
    }

    /// The stretch's bytes; a stretch that leaves the head is a finding.
    package func read(_ stretch: Stretch) -> Bytes {
        let start = Int(stretch.start)
        let count = Int(stretch.length)
        require(start + count <= length, "a stretch lies within the head")
        return Bytes(rebasing: bytes[start..<(start + count)])
    }

    /// Checks each field by itself.
    package func check(_ fields: borrowing FieldIndex, limit: Int) {
        require(fields.count <= limit, "no more fields than the limit")
        var previousEnd = 0
        for index in 0..<fields.count {
            let field = fields[index]
            let name = read(field.name)
            require(!name.isEmpty && name.allSatisfy(isToken), "a field name is a token")
            require(Int(field.name.start) >= previousEnd, "fields follow one another")
            require(bytes[Int(field.name.end)] == UInt8(ascii: ":"), "a colon follows the name")
            let value = read(field.value)
            require(field.value.start > field.name.end, "the value follows the name")
            require(
                value.allSatisfy { $0 == 9 || $0 >= 32 && $0 != 127 }, "no control in a value")
            if let first = value.first, let last = value.last {
                require(!isBlank(first) && !isBlank(last), "no blank around a value")
            }
            previousEnd = Int(field.value.end)
            for hop in ["connection", "keep-alive", "te", "transfer-encoding", "upgrade"] {
                if isEqual(name, hop) { require(field.isHopByHop, "\(hop) is hop-by-hop") }
            }
        }
    }

    /// The values of the fields with this name.
    package func values(_ name: String, of fields: borrowing FieldIndex) -> [Bytes] {
        var found: [Bytes] = []
        for index in 0..<fields.count where isEqual(read(fields[index].name), name) {
            found.append(read(fields[index].value))
        }
        return found
    }

    /// What `Content-Length` and `Transfer-Encoding` state together; never both, never twice.
    package func statedFraming(
        of fields: borrowing FieldIndex, minorVersion: UInt8
    ) -> (length: Int64?, isChunked: Bool) {
        let lengths = values("content-length", of: fields)
        let codings = values("transfer-encoding", of: fields)
        require(lengths.count + codings.count <= 1, "one statement about the body's end")
        for coding in codings {
            require(isEqual(coding, "chunked"), "no coding but chunked")
            require(minorVersion == 1, "no coding in HTTP/1.0")
        }
        guard let text = lengths.first else { return (nil, !codings.isEmpty) }
        require(text.allSatisfy { (48...57).contains($0) }, "a length is digits")
        guard let length = Int64(String(decoding: text, as: UTF8.self)) else {
            finding("broken: a length fits 63 bits")
        }
        return (length, false)
    }
}

/// Letter case aside.
package func isEqual(_ bytes: Bytes, _ text: String) -> Bool {
    String(decoding: bytes, as: UTF8.self).lowercased() == text
}

package func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 }

/// `tchar` of RFC 9110 section 5.6.2.
package func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
}

/// The fields, place by place.
package func isSame(_ one: borrowing FieldIndex, _ other: borrowing FieldIndex) -> Bool {
    guard one.count == other.count else { return false }
    for index in 0..<one.count {
        let (a, b) = (one[index], other[index])
        guard a.name == b.name, a.value == b.value, a.known == b.known,
            a.isHopByHop == b.isHopByHop
        else { return false }
    }
    return true
}
