// Collects what a field section says about framing, the connection and the host.

import CWeir

/// Filled field by field while a head is read; judged when it is complete.
struct SectionNotes {
    /// The most fields that `Connection` may name; each costs a walk over all fields.
    static let maxNamedFields = 16

    var contentLength: Int64 = -1
    var isChunked = false
    var host = Stretch.empty
    var hasHost = false
    var closes = false
    var keepsAlive = false
    var mayUpgrade = false
    var hasUpgrade = false
    var offersClearHTTP2 = false
    var hasExpectation = false
    var acceptsTrailers = false
    var deadline = Stretch.empty
    var attempt = Stretch.empty
    /// How many fields `Connection` names beyond those that are hop-by-hop anyway.
    var namedFields = 0

    @inline(never)
    mutating func take(
        _ known: KnownField, _ place: Stretch, from base: UnsafePointer<UInt8>, isRequest: Bool
    ) throws(Malformed) {
        let value = base.bytes(of: place)
        switch known {
        case .host:
            guard isRequest else { return }
            guard !hasHost else { throw .hostRepeated }
            hasHost = true
            host = place
        case .contentLength:
            // Also a repetition of the same value: others may have read but one of them.
            guard contentLength < 0 else { throw .contentLength }
            contentLength = try Self.length(value)
        case .transferEncoding:
            guard !isChunked else { throw .transferEncoding }
            try Self.checkCoding(value)
            isChunked = true
        case .connection: try takeOptions(value, isRequest: isRequest)
        case .te: acceptsTrailers = acceptsTrailers || FieldValue.contains(value, token: "trailers")
        case .upgrade: try takeUpgrade(value)
        case .expect:
            guard isRequest else { return }
            guard !hasExpectation, FieldValue.isWord(value, "100-continue") else {
                throw .expectation
            }
            hasExpectation = true
        case .xRequestDeadline: deadline = place
        case .xWeirAttempt: attempt = place
        default: break
        }
    }

    /// Digits and nothing else, within 63 bits.
    private static func length(_ value: UnsafeRawBufferPointer) throws(Malformed) -> Int64 {
        guard !value.isEmpty, value.count <= 19 else { throw .contentLength }
        // Nineteen digits fit 64 bits without a sign, so that only the end needs a look.
        var length: UInt64 = 0
        for byte in value {
            guard weir_byte_is(byte, WEIR_DIGIT) else { throw .contentLength }
            length = length &* 10 &+ UInt64(byte & 0x0f)
        }
        guard let signed = Int64(exactly: length) else { throw .contentLength }
        return signed
    }

    /// Passes `chunked`. Other codings that end in one `chunked` are proper but not spoken here.
    private static func checkCoding(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        if FieldValue.isWord(value, "chunked") { return }
        var elements = ListElements(value)
        var count = 0
        var chunked = 0
        var isLast = false
        while let element = elements.next() {
            count += 1
            isLast = FieldValue.equals(element, "chunked")
            if isLast { chunked += 1 }
        }
        let isProper = chunked == 0 || chunked == 1 && isLast && count > 1
        throw count > 0 && isProper ? .unknownCoding : .transferEncoding
    }

    /// Reads the options of a `Connection` field.
    ///
    /// Naming a field that is meant for the last recipient is refused: RFC 9110 section 7.6.1
    /// forbids it, and it is how an attacker makes a proxy drop `Authorization`, `Cookie` or
    /// `X-Forwarded-For`. Some origins name `Transfer-Encoding`, which is harmless there.
    private mutating func takeOptions(
        _ value: UnsafeRawBufferPointer, isRequest: Bool
    ) throws(Malformed) {
        // Nearly every `Connection` is one of these two.
        if FieldValue.isWord(value, "keep-alive") {
            keepsAlive = true
            return
        }
        if FieldValue.isWord(value, "close") {
            closes = true
            return
        }
        var options = ListElements(value)
        while let option = options.next() {
            guard let known = Self.recognise(option) else { throw .connectionField }
            switch known {
            case .other where FieldValue.equals(option, "close"): closes = true
            case .other, .trailer:
                namedFields += 1
                guard namedFields <= Self.maxNamedFields else { throw .connectionField }
            case .keepAlive: keepsAlive = true
            case .upgrade: mayUpgrade = true
            case .connection, .proxyConnection, .te, .proxyAuthenticate, .proxyAuthorization: break
            case .transferEncoding where !isRequest: break
            default: throw .connectionField
            }
        }
    }

    private mutating func takeUpgrade(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        var protocols = ListElements(value)
        while let name = protocols.next() {
            for byte in name where byte != UInt8(ascii: "/") {
                guard weir_byte_is(byte, WEIR_TOKEN) else {
                    throw .upgrade
                }
            }
            hasUpgrade = true
            if FieldValue.hasPrefix(name, "h2c") { offersClearHTTP2 = true }
        }
    }

    /// Which field an option names; `nil` where it is no token.
    private static func recognise(_ option: UnsafeRawBufferPointer) -> KnownField? {
        guard let start = option.baseAddress else { return nil }
        let bytes = start.assumingMemoryBound(to: UInt8.self)
        guard weir_scan_token(bytes, 0, option.count) == option.count else { return nil }
        return FieldName.recognise(start, length: option.count)
    }

    /// Marks the fields that `Connection` names.
    @inline(never)
    func markNamedFields(in fields: inout FieldIndex, of base: UnsafePointer<UInt8>) {
        for index in 0..<fields.count where fields[index].known == .connection {
            var options = ListElements(base.bytes(of: fields[index].value))
            while let option = options.next() {
                guard let known = Self.recognise(option), known == .other || known == .trailer
                else { continue }
                for other in 0..<fields.count
                where fields[other].known == known
                    && FieldValue.equals(base.bytes(of: fields[other].name), option)
                {
                    fields[other].isHopByHop = true
                }
            }
        }
    }
}
