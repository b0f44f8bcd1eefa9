// The trailer section of a chunked body: checked like a head's fields, then sifted.

import CWeir

/// Collects a trailer section. Without trailers it is CRLF alone, and nothing is allocated.
struct TrailerSection {
    static let maxBytes = 8 * 1024
    static let maxFields = 32

    private var bytes: [UInt8] = []
    private var place = Place.lineStart

    private enum Place: UInt8 { case lineStart, emptyLineCR, line, lineCR }

    mutating func reset() {
        if !bytes.isEmpty { bytes = [] }
        place = .lineStart
    }

    /// Takes the next byte; `true` when it ended the section.
    mutating func take(_ byte: UInt8) throws(Malformed) -> Bool {
        switch place {
        case .lineStart where byte == Byte.carriageReturn:
            place = .emptyLineCR
            return false
        case .emptyLineCR:
            guard byte == Byte.lineFeed else { throw .trailer }
            return true
        case .lineStart, .line:
            guard byte != Byte.lineFeed else { throw .trailer }
            place = byte == Byte.carriageReturn ? .lineCR : .line
        case .lineCR:
            guard byte == Byte.lineFeed else { throw .trailer }
            place = .lineStart
        }
        guard bytes.count < Self.maxBytes else { throw .trailerTooLarge }
        bytes.append(byte)
        return false
    }

    /// The complete section without what must not be forwarded, as `name: value CRLF` lines.
    mutating func forwardable() throws(Malformed) -> [UInt8] {
        guard !bytes.isEmpty else { return [] }
        let section = bytes
        bytes = []
        var kept: [UInt8] = []
        let fault = section.withUnsafeBufferPointer { buffer -> Malformed? in
            guard let base = buffer.baseAddress else { return nil }
            do throws(Malformed) {
                try Self.sift(LineCursor(base: base, end: buffer.count, position: 0), into: &kept)
                return nil
            } catch {
                return error
            }
        }
        if let fault { throw fault }
        return kept
    }

    private static func sift(
        _ lines: LineCursor, into kept: inout [UInt8]
    ) throws(Malformed) {
        var lines = lines
        var field = Field.none
        var count = 0
        while lines.position < lines.end {
            let step: FieldStep
            do throws(Malformed) { step = try lines.nextField(into: &field) } catch {
                throw .trailer
            }
            guard step == .field else { throw .trailer }
            count += 1
            guard count <= maxFields else { throw .trailerTooLarge }
            let name = lines.base.bytes(of: field.name)
            guard mayForward(name, known: field.known) else { continue }
            kept.append(contentsOf: name)
            kept.append(contentsOf: [Byte.colon, Byte.space])
            kept.append(contentsOf: lines.base.bytes(of: field.value))
            kept.append(contentsOf: [Byte.carriageReturn, Byte.lineFeed])
        }
    }

    /// Trailers that a recipient merges into the head could change framing, routing, identity or
    /// caching after weir has judged them (RFC 9110 section 6.5.1): those stay behind.
    private static func mayForward(_ name: UnsafeRawBufferPointer, known: KnownField) -> Bool {
        guard known == .other, !FieldName.isUnderscoreAlias(name) else { return false }
        for prefix in barredPrefixes where FieldValue.hasPrefix(name, prefix) { return false }
        for barred in barredNames where FieldValue.equals(name, barred) { return false }
        return true
    }

    private static let barredPrefixes: [StaticString] = [
        "content-", "content_", "if-", "proxy-", "sec-", "x-forwarded-", "x_forwarded_",
        "x-accel-", "x-original-", "x-http-method", "access-control-", "set-cookie",
    ]

    private static let barredNames: [StaticString] = [
        "accept-ranges", "age", "allow", "alt-svc", "clear-site-data", "early-data", "expires",
        "http2-settings", "keep-alive", "link", "max-forwards", "origin", "pragma", "range",
        "refresh", "referer", "strict-transport-security", "vary", "warning",
        "www-authenticate", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip",
    ]
}
