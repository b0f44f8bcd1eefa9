// The head that a client of HTTP/2 reads.

import WeirHTTP
import WeirNet

/// Sends response heads on streams.
enum H2ResponseHead {
    private static let additions = 512

    /// Sends the head of a final response; `head` is the index into `message`. `false`, with
    /// nothing sent, when it is larger than any that weir can send.
    static func write(
        _ exchange: Exchange, _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer,
        route: RoutePlan, to stream: H2Stream
    ) -> Bool {
        let edits = route.responseEdits
        let fields = stream.fields
        fields.removeAll()
        // What HTTP/1 calls another protocol is a response like any other here (RFC 8441).
        let isTunnel = head.status == 101
        if isTunnel { fields.add(.status, "200") } else { fields.add(.status, message.part(9, 3)) }
        let hasDate = addFields(head, message, edits, isTunnel: isTunnel, to: fields)
        if !edits.drop("x-request-id") {
            fields.add("x-request-id", exchange.message.requestID)
        }
        if !edits.drop("via") { fields.add(.via, "1.1 weir") }
        return withUnsafeTemporaryAllocation(
            byteCount: edits.lines.count + Self.additions, alignment: 1
        ) {
            var out = ByteWriter($0)
            if !hasDate, !edits.drop("date") { H1ResponseHead.writeDate(exchange.proxy, &out) }
            RateLimitFields.write(exchange, &out)
            out.append(edits.lines.bytes)
            let lines = out.written
            if head.declaredLength >= 0, !isTunnel, head.status != 204 {
                out.append(decimal: Int(head.declaredLength))
            }
            guard !out.hasOverflowed else { return false }
            if lines.count > 0 { fields.add(lines: lines) }
            if out.count > lines.count {
                fields.add(
                    .contentLength, out.written.part(lines.count, out.count - lines.count))
            }
            guard !fields.isTooLarge else { return false }
            // An endpoint of HTTP/2 says itself where its answer ends, and may have trailers.
            let isFramed = if case .h2 = exchange.upstream { true } else { false }
            stream.respond(
                hasBody: isTunnel || hasBody(head), length: isFramed ? -1 : length(head))
            return true
        }
    }

    private static func hasBody(_ head: borrowing ResponseHead) -> Bool {
        // A pattern, since `==` of another module's enum is a call through a witness table.
        if case .none = head.framing { false } else { true }
    }

    private static func length(_ head: borrowing ResponseHead) -> Int64 {
        if case .length(let length) = head.framing { length } else { -1 }
    }

    /// Sends an interim response.
    static func writeInterim(
        _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer, to stream: H2Stream
    ) {
        // Asked first: what is gathered is in a place that other streams' heads use, too.
        guard stream.takesInterim(isContinue: head.status == 100) else { return }
        let fields = stream.fields
        fields.removeAll()
        fields.add(.status, message.part(9, 3))
        _ = addFields(head, message, FieldEdits(), isTunnel: false, to: fields)
        stream.inform()
    }

    /// Adds what is kept; returns whether a `Date` was among it.
    @inline(__always)
    private static func addFields(
        _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        isTunnel: Bool, to fields: H2Fields
    ) -> Bool {
        var hasDate = false
        let mayDrop = !edits.dropped.isEmpty
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            if field.known == .date { hasDate = true }
            if !H1ResponseHead.keeps(field) || mayDrop && edits.drop(field, message) { continue }
            let name = message[nameOf: field]
            if isTunnel, FieldValue.equals(name, "sec-websocket-accept") { continue }
            fields.add(name, message[valueOf: field])
        }
        return hasDate
    }
}
