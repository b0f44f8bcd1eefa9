// Recognises the field names that weir has to know, by length and eight bytes at a time.

package enum FieldName {
    /// What longer names are refused for; it also keeps a length within 16 bits.
    static let maxLength = 1024

    /// Tells which known field a name is, letter case aside.
    ///
    /// - Parameter name: `length` bytes that are all tchars. Folding case by `| 0x20` is exact
    ///   only for those: no tchar but `-` becomes `-`, none but a letter becomes a letter.
    @inline(__always)
    package static func recognise(_ name: UnsafeRawPointer, length: Int) -> KnownField {
        switch length {
        case 2: return same(name, "te") ? .te : .other
        case 3: return same(name, "via") ? .via : .other
        case 4: return same(name, "host") ? .host : same(name, "date") ? .date : .other
        case 6:
            if same(name, "accept") { return .accept }
            if same(name, "cookie") { return .cookie }
            if same(name, "server") { return .server }
            return same(name, "expect") ? .expect : .other
        case 7:
            return same(name, "upgrade") ? .upgrade : same(name, "trailer") ? .trailer : .other
        case 8: return same(name, "location") ? .location : .other
        case 9: return same(name, "forwarded") ? .forwarded : .other
        case 10:
            if same(name, "connection") { return .connection }
            if same(name, "user-agent") { return .userAgent }
            if same(name, "keep-alive") { return .keepAlive }
            return same(name, "set-cookie") ? .setCookie : .other
        case 11: return same(name, "retry-after") ? .retryAfter : .other
        case 12:
            if same(name, "content-type") { return .contentType }
            return same(name, "x-request-id") ? .xRequestID : .other
        case 13:
            if same(name, "cache-control") { return .cacheControl }
            return same(name, "authorization") ? .authorization : .other
        case 14: return same(name, "content-length") ? .contentLength : .other
        case 15: return same(name, "x-forwarded-for") ? .xForwardedFor : .other
        case 16:
            if same(name, "x-forwarded-host") { return .xForwardedHost }
            return same(name, "proxy-connection") ? .proxyConnection : .other
        case 17:
            if same(name, "transfer-encoding") { return .transferEncoding }
            return same(name, "x-forwarded-proto") ? .xForwardedProto : .other
        case 18: return same(name, "proxy-authenticate") ? .proxyAuthenticate : .other
        case 19: return same(name, "proxy-authorization") ? .proxyAuthorization : .other
        default: return .other
        }
    }

    /// Whether the name becomes a known one when `_` is read as `-`, as CGI and WSGI do:
    /// `X_Forwarded_For` would pass for the field that weir writes itself.
    @inline(never)
    static func isUnderscoreAlias(_ name: UnsafeRawBufferPointer) -> Bool {
        guard name.contains(UInt8(ascii: "_")), name.count <= 24 else { return false }
        var folded: (UInt64, UInt64, UInt64) = (0, 0, 0)
        return withUnsafeMutableBytes(of: &folded) { copy in
            for (index, byte) in name.enumerated() {
                copy[index] = byte == UInt8(ascii: "_") ? UInt8(ascii: "-") : byte
            }
            guard let start = copy.baseAddress else { return false }
            return recognise(UnsafeRawPointer(start), length: name.count) != .other
        }
    }

    /// Compares as many bytes as the literal has, in overlapping words; the literal is constant,
    /// so that all that is left of this is loads and comparisons.
    @inline(__always)
    static func same(_ name: UnsafeRawPointer, _ literal: StaticString) -> Bool {
        let length = literal.utf8CodeUnitCount
        let wanted = UnsafeRawPointer(literal.utf8Start)
        if length >= 8 {
            if long(name, 0) != long(wanted, 0) { return false }
            if length > 16, long(name, 8) != long(wanted, 8) { return false }
            return length == 8 || long(name, length - 8) == long(wanted, length - 8)
        }
        if length >= 4 {
            return short(name, 0) == short(wanted, 0)
                && (length == 4 || short(name, length - 4) == short(wanted, length - 4))
        }
        for index in 0..<length {
            let byte = name.load(fromByteOffset: index, as: UInt8.self) | 0x20
            if byte != wanted.load(fromByteOffset: index, as: UInt8.self) { return false }
        }
        return true
    }

    @inline(__always)
    private static func long(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) | 0x2020_2020_2020_2020
    }

    @inline(__always)
    private static func short(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt32 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self) | 0x2020_2020
    }
}

extension KnownField {
    /// Concerns one connection only (RFC 9110 section 7.6.1), whatever `Connection` says.
    @inline(__always)
    var isAlwaysHopByHop: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade,
            .proxyAuthenticate, .proxyAuthorization:
            true
        default: false
        }
    }

    /// Says something about the message's framing, its connection or where it goes.
    @inline(__always)
    var isNoted: Bool {
        switch self {
        case .host, .connection, .te, .transferEncoding, .upgrade, .contentLength, .expect: true
        default: false
        }
    }
}
