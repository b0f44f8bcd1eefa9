// Lays a head of HTTP/2 out as the text of HTTP/1, for the one parser that there is.

import CWeir
import Glibc

/// Collects the fields of one head, request, response or trailers, as HTTP/1 would send them.
///
/// So whatever is strict about a head of HTTP/1 is strict about one of HTTP/2, and nothing that is
/// legal here can become two messages there: each byte is one that its place in the text allows.
/// Used by the sessions of one worker in turn, since a head's frames come without others between
/// them (RFC 9113 section 4.3).
package final class HeadText {
    /// What the head belongs to.
    enum Kind { case request, response, trailers }

    /// The most that a head may have, whatever the limits say.
    static let capacity = 128 << 10
    /// Room for what the text has beyond the fields: line, framing, a handshake.
    private static let slack = 1 << 10

    private let text: UnsafeMutableRawBufferPointer
    private var out: ByteWriter
    /// Pseudo fields as they came, then cookies in one line.
    private let aside: UnsafeMutableRawPointer
    private var asideLength = 0
    private var progress = Progress()

    /// How far the head has come.
    fileprivate struct Progress {
        var kind = Kind.request
        var room = 0
        var method = Stretch.empty
        var scheme = Stretch.empty
        var authority = Stretch.empty
        var path = Stretch.empty
        var `protocol` = Stretch.empty
        var status = Stretch.empty
        var cookies = Stretch.empty
        var hasLine = false
        var hasLength = false
        /// What is wrong with the head.
        var problem: Malformed?
    }

    package init() {
        text = .allocate(byteCount: Self.capacity + Self.slack, alignment: 16)
        out = ByteWriter(text)
        aside = .allocate(byteCount: Self.capacity + Self.slack, alignment: 16)
    }

    deinit {
        text.deallocate()
        aside.deallocate()
    }

    /// Begins a head of at most `limit` bytes, counted as names, values and four a field.
    func begin(_ kind: Kind, limit: Int) {
        out = ByteWriter(text)
        asideLength = 0
        progress = Progress()
        progress.kind = kind
        progress.room = min(limit, Self.capacity)
        progress.hasLine = kind == .trailers
    }

    /// Takes the next field, whose name is in lower case.
    func take(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        progress.room -= name.count + value.count + 4
        guard progress.problem == nil else { return }
        guard progress.room >= 0 else { return fail(.headTooLarge) }
        // What pseudo fields may hold is asked when the line is written.
        if name.first == Byte.colon { return takePseudo(name, value) }
        guard Self.isToken(name) else { return fail(.fieldName) }
        guard Self.isValue(value) else { return fail(.fieldValue) }
        if !progress.hasLine { writeLine() }
        takeField(name, value)
    }

    /// The head is so much too large that not even its fields are looked at any more.
    var isHopeless: Bool { progress.room < 0 && -progress.room > Self.capacity }

    private func fail(_ problem: Malformed) {
        if progress.problem == nil { progress.problem = problem }
    }

    // MARK: Fields

    private func takePseudo(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        guard !progress.hasLine, !value.isEmpty else { return fail(.startLine) }
        let place = keep(value)
        let earlier: Stretch
        switch (progress.kind, name.count) {
        case (.request, 5) where name.isExactly(":path"):
            earlier = swap(&progress.path, for: place)
        case (.request, 7) where name.isExactly(":method"):
            earlier = swap(&progress.method, for: place)
        case (.request, 7) where name.isExactly(":scheme"):
            earlier = swap(&progress.scheme, for: place)
        case (.request, 9) where name.isExactly(":protocol"):
            earlier = swap(&progress.protocol, for: place)
        case (.request, 10) where name.isExactly(":authority"):
            earlier = swap(&progress.authority, for: place)
        case (.response, 7) where name.isExactly(":status"):
            earlier = swap(&progress.status, for: place)
        default: return fail(.startLine)
        }
        if !earlier.isEmpty { fail(.startLine) }
    }

    private func swap(_ place: inout Stretch, for new: Stretch) -> Stretch {
        defer { place = new }
        return place
    }

    private func takeField(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        guard let start = name.baseAddress else { return }
        switch FieldName.recognise(start, length: name.count) {
        case .other: break
        case .cookie where progress.kind == .request: return takeCookie(value)
        case .host where progress.kind == .request && !progress.authority.isEmpty:
            // It is written already, and must not say otherwise.
            if !FieldValue.equals(kept(progress.authority), value) { fail(.hostInvalid) }
            return
        case .contentLength: progress.hasLength = true
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade:
            return fail(.connectionField)
        default: break
        }
        out.append(name)
        out.append(": ")
        out.append(value)
        out.append("\r\n")
    }

    /// Clients may send cookies as fields of their own; HTTP/1 wants one (RFC 9113 section 8.2.3).
    private func takeCookie(_ value: UnsafeRawBufferPointer) {
        // They stand at the end of what is put aside: the pseudo fields came first.
        if !progress.cookies.isEmpty { _ = keep("; ") }
        let place = keep(value)
        if progress.cookies.isEmpty { progress.cookies = place }
        progress.cookies.length = place.end - progress.cookies.start
    }

    // MARK: The text

    /// Ends the head; its text, valid until the next one begins, or what is wrong with it.
    ///
    /// - Parameter isEnd: no body follows.
    func finish(isEnd: Bool) -> Result<UnsafeRawBufferPointer, Malformed> {
        if progress.problem == nil, !progress.hasLine { writeLine() }
        if !progress.cookies.isEmpty {
            out.append("cookie: ")
            out.append(kept(progress.cookies))
            out.append("\r\n")
        }
        if progress.kind == .request {
            if !progress.protocol.isEmpty {
                // A tunnel's bytes are no body.
                if progress.hasLength { fail(.contentLength) }
                writeHandshake()
            } else if !isEnd, !progress.hasLength {
                out.append("transfer-encoding: chunked\r\n")
            }
        }
        out.append("\r\n")
        if out.hasOverflowed { fail(.headTooLarge) }
        if let problem = progress.problem { return .failure(problem) }
        return .success(out.written)
    }

    private func writeLine() {
        progress.hasLine = true
        if progress.kind == .response {
            let status = kept(progress.status)
            guard Self.isToken(status) else { return fail(.status) }
            out.append("HTTP/1.1 ")
            out.append(status)
            out.append(" \r\n")
        } else if let fault = writeRequestLine() {
            fail(fault)
        }
    }

    private func writeRequestLine() -> Malformed? {
        let method = kept(progress.method)
        let isConnect = method.isExactly("CONNECT")
        let isTunnel = isConnect && progress.protocol.isEmpty
        if !progress.protocol.isEmpty {
            guard isConnect else { return .startLine }
            guard FieldValue.equals(kept(progress.protocol), "websocket") else {
                return .unknownProtocol
            }
        }
        let target = kept(isTunnel ? progress.authority : progress.path)
        guard Self.isToken(method) else { return .method }
        guard Self.isTarget(target), Self.isValue(kept(progress.authority)) else { return .target }
        if !isTunnel {
            let scheme = kept(progress.scheme)
            guard FieldValue.equals(scheme, "https") || FieldValue.equals(scheme, "http") else {
                return .target
            }
            // Another form would bring another authority.
            guard target[0] == UInt8(ascii: "/") || target.isExactly("*") else {
                return .target
            }
        }
        if isConnect, !isTunnel { out.append("GET") } else { out.append(method) }
        out.append(" ")
        out.append(target)
        out.append(" HTTP/1.1\r\n")
        if !progress.authority.isEmpty {
            out.append("host: ")
            out.append(kept(progress.authority))
            out.append("\r\n")
        }
        return nil
    }

    /// A WebSocket as HTTP/1 asks for it (RFC 8441 section 5, RFC 6455 section 4.1): the key, which
    /// HTTP/2 leaves out, is sixteen bytes in base64.
    private func writeHandshake() {
        out.append("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ")
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var key = (0..<21).map { _ in digits[Int.random(in: 0..<64)] }
        // The last digit stands for two bits.
        key.append(digits[16 * Int.random(in: 0..<4)])
        key.withUnsafeBytes { out.append($0) }
        out.append("==\r\n")
    }

    /// Copies bytes aside.
    private func keep(_ bytes: UnsafeRawBufferPointer) -> Stretch {
        guard let start = bytes.baseAddress else { return .empty }
        guard asideLength + bytes.count <= Self.capacity + Self.slack else {
            fail(.headTooLarge)
            return .empty
        }
        memcpy(aside + asideLength, start, bytes.count)
        defer { asideLength += bytes.count }
        return Stretch(start: UInt32(asideLength), length: UInt32(bytes.count))
    }

    private func keep(_ literal: StaticString) -> Stretch { keep(literal.bytes) }

    private func kept(_ stretch: Stretch) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: aside + Int(stretch.start), count: Int(stretch.length))
    }

    // MARK: Trailers

    /// What begun are trailers.
    var isTrailer: Bool { progress.kind == .trailers }

    /// The lines of trailers that may be forwarded; `nil` where they break a rule.
    static func trailers(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        var section = TrailerSection()
        do throws(Malformed) {
            for byte in text where try section.take(byte) { return try section.forwardable() }
        } catch {}
        return nil
    }

    // MARK: A head in several reads

    /// An unfinished head.
    struct Saved {
        fileprivate var text: [UInt8]
        fileprivate var aside: [UInt8]
        fileprivate var progress: Progress
    }

    /// What has come of a head that goes on with the next read, to be put back then.
    func save() -> Saved {
        Saved(
            text: Array(out.written),
            aside: Array(UnsafeRawBufferPointer(start: aside, count: asideLength)),
            progress: progress)
    }

    /// Goes on with a head.
    func restore(_ saved: Saved) {
        out = ByteWriter(text)
        asideLength = 0
        progress = saved.progress
        saved.text.withUnsafeBytes { out.append($0) }
        saved.aside.withUnsafeBytes { _ = keep($0) }
    }

    // MARK: Bytes that are allowed

    private static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        scans(bytes) { weir_scan_token($0, 0, $1) }
    }

    private static func isTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
        scans(bytes) { weir_scan_target($0, 0, $1) }
    }

    private static func isValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.isEmpty || scans(bytes) { weir_scan_value($0, 0, $1) }
    }

    @inline(__always)
    private static func scans(
        _ bytes: UnsafeRawBufferPointer, _ scan: (UnsafePointer<UInt8>, Int) -> Int
    ) -> Bool {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return false }
        return scan(start.assumingMemoryBound(to: UInt8.self), bytes.count) == bytes.count
    }
}
