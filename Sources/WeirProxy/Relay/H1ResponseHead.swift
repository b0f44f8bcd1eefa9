// The head that a client reads: the endpoint's, framed anew for the client's side.

import WeirHTTP
import WeirNet

/// Writes response heads for HTTP/1 clients.
enum H1ResponseHead {
    private static let additions = 512

    /// Gathers the head of a final response; `head` is the index into `message`. `false`, with
    /// nothing gathered, when it is larger than any that weir can send.
    static func write(
        _ exchange: Exchange, _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer,
        route: RoutePlan, mayPersist: Bool, to downstream: H1Downstream
    ) -> Bool {
        let proxy = exchange.proxy
        let edits = route.responseEdits
        var out = ByteWriter(
            downstream.reserve(message.count + edits.lines.count + Self.additions))
        writeStatusLine(head, message, &out)
        let hasDate = writeFields(head, message, edits, &out)
        if !hasDate, !edits.drop("date") { writeDate(proxy, &out) }
        if !edits.drop("via") { out.append("via: 1.1 weir\r\n") }
        if !edits.drop("x-request-id") { writeRequestID(exchange, &out) }
        RateLimitFields.write(exchange, &out)
        out.append(edits.lines.bytes)
        let mode = writeFraming(exchange.head, head, message, &out)
        if head.status != 101 {
            writeConnection(exchange, isKept: mayPersist && mode != .untilClose, &out)
        }
        out.append("\r\n")
        // A head that was cut would mean something else.
        guard !out.hasOverflowed else { return false }
        downstream.writer.begin(mode)
        downstream.commit(out.count)
        return true
    }

    /// Gathers an interim response.
    static func writeInterim(
        _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer,
        to downstream: H1Downstream
    ) {
        var out = ByteWriter(downstream.reserve(message.count + Self.additions))
        writeStatusLine(head, message, &out)
        _ = writeFields(head, message, FieldEdits(), &out)
        out.append("\r\n")
        // What only informs can be left out.
        if !out.hasOverflowed { downstream.commit(out.count) }
    }

    @inline(__always)
    private static func writeStatusLine(
        _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer,
        _ out: inout ByteWriter
    ) {
        // The status stands behind the version and a space in every head that was accepted.
        out.append("HTTP/1.1 ")
        out.append(message.part(9, 3))
        out.append(" ")
        out.append(message[head.reason])
        out.append("\r\n")
    }

    /// Copies what is kept; returns whether a `Date` was among it.
    @inline(__always)
    private static func writeFields(
        _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        _ out: inout ByteWriter
    ) -> Bool {
        var hasDate = false
        let mayDrop = !edits.dropped.isEmpty
        var run = FieldRun(head.fields)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            if field.known == .date { hasDate = true }
            if !keeps(field) || mayDrop && edits.drop(field, message) {
                run.skip(index, of: head.fields, message, &out)
            }
        }
        run.finish(end: head.length - 2, message, &out)
        return hasDate
    }

    /// The field is for whoever reads the answer, not for this connection.
    @inline(__always)
    static func keeps(_ field: Field) -> Bool {
        if field.isHopByHop { return false }
        if field.known == .other { return true }
        switch field.known {
        case .contentLength, .transferEncoding, .xRequestID: return false
        default: return true
        }
    }

    static func writeRequestID(_ exchange: Exchange, _ out: inout ByteWriter) {
        out.append("x-request-id: ")
        out.append(exchange.message.requestID)
        out.append("\r\n")
    }

    static func writeDate(_ proxy: Proxy, _ out: inout ByteWriter) {
        out.append("date: ")
        let loop = proxy.loop
        proxy.date.append(
            unixSeconds: loop.wallClock.unixNanoseconds(loop.now) / 1_000_000_000, to: &out)
        out.append("\r\n")
    }

    static func writeConnection(_ exchange: Exchange, isKept: Bool, _ out: inout ByteWriter) {
        if !isKept {
            out.append("connection: close\r\n")
        } else if exchange.head.minorVersion == 0 {
            out.append("connection: keep-alive\r\n")
        }
    }

    @inline(__always)
    private static func writeFraming(
        _ request: borrowing RequestHead, _ head: borrowing ResponseHead,
        _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter
    ) -> H1BodyWriter.Mode {
        let status = head.status
        if status == 101 {
            out.append("connection: upgrade\r\n")
            for index in 0..<head.fields.count {
                let field = head.fields[index]
                guard field.known == .upgrade else { continue }
                out.append("upgrade: ")
                out.append(message[valueOf: field])
                out.append("\r\n")
            }
            return .none
        }
        switch head.framing {
        case .none:
            if request.method == .head || status == 304 {
                // What a GET would have answered with, if the endpoint said so.
                if head.declaredLength >= 0 {
                    writeLength(head.declaredLength, &out)
                }
            } else if status != 204 {
                writeLength(0, &out)
            }
            return .none
        case .length(let length):
            writeLength(length, &out)
            return .length
        case .chunked, .untilClose:
            guard request.minorVersion > 0 else { return .untilClose }
            out.append("transfer-encoding: chunked\r\n")
            return .chunked
        }
    }

    @inline(__always)
    static func writeLength(_ length: Int64, _ out: inout ByteWriter) {
        out.append("content-length: ")
        out.append(decimal: Int(length))
        out.append("\r\n")
    }
}
