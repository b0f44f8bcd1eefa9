// Reads `method SP target SP HTTP/1.x CRLF`, and takes the target apart.

import CWeir

extension LineCursor {
    static let maxMethodLength = 32

    /// Steps over the one empty line that may precede a request (RFC 9112 section 2.2), and
    /// refuses at once what cannot be a request: a TLS greeting, say.
    @inline(__always)
    mutating func passEmptyLine() throws(Malformed) -> Bool {
        if base[position] == Byte.carriageReturn || base[position] == Byte.lineFeed {
            guard try passLineEnd(else: .startLine), position < end else { return false }
        }
        guard weir_byte_is(base[position], WEIR_TOKEN) else {
            throw .startLine
        }
        return true
    }

    /// Reads the request line; `false` when its bytes have not all arrived.
    @inline(__always)
    mutating func readRequestLine(
        into head: inout RequestHead, maxTargetBytes: Int
    ) throws(Malformed) -> Bool {
        let methodEnd = weir_scan_token(base, position, end)
        guard methodEnd &- position <= Self.maxMethodLength else { throw .method }
        guard methodEnd < end else { return false }
        guard base[methodEnd] == Byte.space else { throw .method }
        head.methodName = stretch(position, methodEnd)
        head.method = Method(UnsafeRawPointer(base + position), length: methodEnd &- position)

        let targetStart = methodEnd &+ 1
        let targetEnd = weir_scan_target(base, targetStart, end)
        guard targetEnd &- targetStart <= maxTargetBytes else { throw .targetTooLong }
        guard targetEnd < end else { return false }
        guard base[targetEnd] == Byte.space, targetEnd > targetStart else {
            throw Self.targetFault(base[targetEnd])
        }
        head.target = stretch(targetStart, targetEnd)

        position = targetEnd &+ 1
        guard let minor = try readVersion() else { return false }
        head.minorVersion = minor
        guard try passLineEnd(else: .startLine) else { return false }
        try readTarget(into: &head)
        return true
    }

    /// Reads `HTTP/1.0` or `HTTP/1.1`; `nil` when its bytes have not all arrived.
    @inline(__always)
    mutating func readVersion() throws(Malformed) -> UInt8? {
        let start = position
        guard end &- start >= 8 else {
            for at in start..<end where base[at] < Byte.space { throw .startLine }
            return nil
        }
        position = start &+ 8
        let word = UnsafeRawPointer(base + start).loadUnaligned(as: UInt64.self)
        if word == Self.version(1) { return 1 }
        if word == Self.version(0) { return 0 }
        throw Self.versionFault(base + start)
    }

    @inline(__always)
    private static func version(_ minor: Int) -> UInt64 {
        let text: StaticString = minor == 1 ? "HTTP/1.1" : "HTTP/1.0"
        return UnsafeRawPointer(text.utf8Start).loadUnaligned(as: UInt64.self)
    }

    /// A version that HTTP knows but weir does not speak has an answer of its own.
    private static func versionFault(_ text: UnsafePointer<UInt8>) -> Malformed {
        let name = UnsafeRawBufferPointer(start: text, count: 5)
        let isNumbered =
            weir_byte_is(text[5], WEIR_DIGIT)
            && text[6] == UInt8(ascii: ".")
            && weir_byte_is(text[7], WEIR_DIGIT)
        return name.isExactly("HTTP/") && isNumbered ? .version : .startLine
    }

    private static func targetFault(_ byte: UInt8) -> Malformed {
        switch byte {
        case Byte.space, Byte.lineFeed, Byte.carriageReturn: .startLine
        default: .target
        }
    }

    @inline(__always)
    func stretch(_ start: Int, _ end: Int) -> Stretch {
        Stretch(
            start: UInt32(truncatingIfNeeded: start),
            length: UInt32(truncatingIfNeeded: end &- start))
    }
}

extension Method {
    /// Methods are case-sensitive: `get` is another method than `GET`.
    @inline(__always)
    init(_ name: UnsafeRawPointer, length: Int) {
        let bytes = UnsafeRawBufferPointer(start: name, count: length)
        switch length {
        case 3: self = bytes.isExactly("GET") ? .get : bytes.isExactly("PUT") ? .put : .other
        case 4: self = bytes.isExactly("POST") ? .post : bytes.isExactly("HEAD") ? .head : .other
        case 5:
            self = bytes.isExactly("PATCH") ? .patch : bytes.isExactly("TRACE") ? .trace : .other
        case 6: self = bytes.isExactly("DELETE") ? .delete : .other
        case 7:
            self =
                bytes.isExactly("OPTIONS")
                ? .options : bytes.isExactly("CONNECT") ? .connect : .other
        default: self = .other
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are those of the literal, letter case included.
    @inline(__always)
    func isExactly(_ literal: StaticString) -> Bool {
        guard count == literal.utf8CodeUnitCount else { return false }
        let wanted = literal.utf8Start
        for index in 0..<literal.utf8CodeUnitCount where self[index] != wanted[index] {
            return false
        }
        return true
    }
}
