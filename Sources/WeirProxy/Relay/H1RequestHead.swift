// The head that an endpoint reads: the client's, without what concerned only the client's side.

import WeirHTTP
import WeirNet
import WeirTime

/// Writes request heads for HTTP/1.1 endpoints.
enum H1RequestHead {
    /// Bytes that weir adds at most, beyond the client's head and the route's lines.
    private static let additions = 512

    /// Gathers the head of an exchange's request on its upstream connection; `false`, with nothing
    /// gathered, when it is larger than any that weir can send.
    static func write(
        _ exchange: Exchange, route: RoutePlan, cluster: Cluster, to upstream: H1Upstream
    ) -> Bool {
        write(exchange, exchange.head, exchange.message.bytes, route, cluster, to: upstream)
    }

    // The head as a parameter: read through the exchange, it is looked up again for each field.
    // Apart, or so much is inlined into one function that its own parts are not.
    @inline(never)
    private static func write(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        _ route: RoutePlan, _ cluster: Cluster, to upstream: H1Upstream
    ) -> Bool {
        let edits = route.requestEdits
        var out = ByteWriter(
            upstream.reserve(
                bound(exchange, head, message, route, cluster) + upstream.pool.authority.count))
        writeRequestLine(exchange, head, message, route, &out)
        writeHost(head, message, cluster, upstream.pool, &out)
        let isTrusted = exchange.record.isPeerTrusted
        writeFields(head, message, edits, isTrusted, &out)
        writeForwarding(exchange, head, message, edits, isTrusted, &out)
        writeGoverning(exchange, &out)
        out.append(edits.lines.bytes)
        let mode = writeFraming(head, message, &out)
        out.append("\r\n")
        // A head that was cut would mean something else.
        guard !out.hasOverflowed else { return false }
        upstream.writer.begin(mode)
        upstream.commit(out.count)
        return true
    }

    /// Bytes that a head has at most, beside the endpoint's authority.
    @inline(__always)
    static func bound(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        _ route: RoutePlan, _ cluster: Cluster
    ) -> Int {
        // The path and each field are written once, the authority twice.
        message.count + 2 * Int(head.authority.length) + route.requestEdits.lines.count
            + (route.prefixRewrite?.count ?? 0) + cluster.plan.hostHeader.length + Self.additions
            + (exchange.clientCertificate?.forwarded.count ?? 0)
    }

    @inline(__always)
    private static func writeRequestLine(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        _ route: RoutePlan, _ out: inout ByteWriter
    ) {
        out.append(message[head.methodName])
        out.append(" ")
        writePath(exchange, rewrite: route.prefixRewrite, prefix: route.prefixLength, &out)
        if head.hasQuery {
            out.append("?")
            out.append(message[head.query])
        }
        out.append(" HTTP/1.1\r\n")
    }

    /// The path, with its matched prefix replaced.
    static func writePath(
        _ exchange: Exchange, rewrite: Text?, prefix: Int, _ out: inout ByteWriter
    ) {
        let path = exchange.message.path(exchange.head)
        guard let rewrite, prefix <= path.count else { return out.append(path) }
        let rest = path.part(prefix, path.count - prefix)
        let start = out.count
        out.append(rewrite.bytes)
        let endsInSlash = rewrite.count > 0 && rewrite.bytes[rewrite.count - 1] == 0x2F
        let beginsWithSlash = rest.count > 0 && rest[0] == 0x2F
        if endsInSlash, beginsWithSlash {
            out.append(rest.part(1, rest.count - 1))
        } else {
            if !endsInSlash, !beginsWithSlash, rest.count > 0 { out.append("/") }
            out.append(rest)
        }
        if out.count == start { out.append("/") }
    }

    @inline(__always)
    private static func writeHost(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer, _ cluster: Cluster,
        _ pool: Pool, _ out: inout ByteWriter
    ) {
        out.append("host: ")
        switch cluster.plan.hostHeader {
        case .preserve:
            // An HTTP/1.0 client may have named none.
            if head.authority.isEmpty {
                out.append(pool.authority.bytes)
            } else {
                out.append(message[head.authority])
            }
        case .fixed(let text): out.append(text.bytes)
        case .endpoint: out.append(pool.authority.bytes)
        }
        out.append("\r\n")
    }

    /// Copies the fields that are kept, each run of neighbours with one copy.
    @inline(__always)
    private static func writeFields(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        _ isTrusted: Bool, _ out: inout ByteWriter
    ) {
        let mayDrop = !edits.dropped.isEmpty
        var run = FieldRun(head.fields)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            if !keeps(field, isTrusted) || mayDrop && edits.drop(field, message, isTrusted) {
                run.skip(index, of: head.fields, message, &out)
            }
        }
        run.finish(end: head.length - 2, message, &out)
    }

    @inline(__always)
    static func keeps(_ field: Field, _ isTrusted: Bool) -> Bool {
        if field.isHopByHop { return false }
        if field.known == .other { return true }
        switch field.known {
        case .host, .contentLength, .transferEncoding, .expect, .xRequestID, .xForwardedFor,
            .xRequestDeadline, .xWeirAttempt:
            return false
        case .xForwardedProto, .xForwardedHost, .forwarded, .xForwardedClientCert:
            return isTrusted
        default: return true
        }
    }

    @inline(__always)
    static func writeForwarding(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        _ edits: FieldEdits, _ isTrusted: Bool, _ out: inout ByteWriter
    ) {
        let hasFor = edits.drop("x-forwarded-for")
        var hasProto = edits.drop("x-forwarded-proto")
        var hasHost = edits.drop("x-forwarded-host")
        if !hasFor { out.append("x-forwarded-for: ") }
        if isTrusted {
            for index in 0..<head.fields.count {
                let field = head.fields[index]
                switch field.known {
                case .xForwardedFor where !hasFor:
                    out.append(message[valueOf: field])
                    out.append(", ")
                case .xForwardedProto: hasProto = true
                case .xForwardedHost: hasHost = true
                default: break
                }
            }
        }
        if !hasFor {
            exchange.writeClientAddress(&out)
            out.append("\r\n")
        }
        if !hasProto {
            out.append(
                exchange.isSecure ? "x-forwarded-proto: https\r\n" : "x-forwarded-proto: http\r\n")
        }
        if !hasHost, !head.authority.isEmpty {
            out.append("x-forwarded-host: ")
            out.append(message[head.authority])
            out.append("\r\n")
        }
        if let certificate = exchange.clientCertificate, !edits.drop("x-forwarded-client-cert") {
            out.append("x-forwarded-client-cert: ")
            certificate.forwarded.withUnsafeBytes { out.append($0) }
            out.append("\r\n")
        }
        if !edits.drop("x-request-id") {
            out.append("x-request-id: ")
            out.append(exchange.message.requestID)
            out.append("\r\n")
        }
        if !edits.drop("via") {
            writeVia(exchange, head, &out)
        }
    }

    @inline(__always)
    private static func writeVia(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ out: inout ByteWriter
    ) {
        if exchange.downstream?.isH2 == true {
            out.append("via: 2 weir\r\n")
        } else {
            out.append(head.minorVersion == 0 ? "via: 1.0 weir\r\n" : "via: 1.1 weir\r\n")
        }
    }

    /// How much time is left, where the client has set a deadline, and which attempt this is: so
    /// that proxies behind this one neither work in vain nor multiply attempts.
    @inline(__always)
    static func writeGoverning(_ exchange: Exchange, _ out: inout ByteWriter) {
        if exchange.ticket.deadline != .distantFuture {
            let left = exchange.ticket.deadline - exchange.now
            out.append("x-request-deadline: ")
            out.append(decimal: Int(max(1, left.millisecondsRoundedUp)))
            out.append("\r\n")
        }
        let attempt = exchange.record.attempts + exchange.ticket.attemptsBefore
        if attempt > 1 {
            out.append("x-weir-attempt: ")
            out.append(decimal: attempt)
            out.append("\r\n")
        }
    }

    @inline(__always)
    private static func writeFraming(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter
    ) -> H1BodyWriter.Mode {
        if head.wantsUpgrade {
            out.append("connection: upgrade\r\n")
            for index in 0..<head.fields.count {
                let field = head.fields[index]
                guard field.known == .upgrade else { continue }
                out.append("upgrade: ")
                out.append(message[valueOf: field])
                out.append("\r\n")
            }
        } else if head.acceptsTrailers {
            out.append("te: trailers\r\nconnection: te\r\n")
        }
        if head.expectsContinue { out.append("expect: 100-continue\r\n") }
        switch head.framing {
        case .none, .untilClose:
            // A method that usually has a body says that there is none.
            if head.method.usuallyHasBody { out.append("content-length: 0\r\n") }
            return .none
        case .length(let length):
            out.append("content-length: ")
            out.append(decimal: Int(length))
            out.append("\r\n")
            return .length
        case .chunked:
            out.append("transfer-encoding: chunked\r\n")
            return .chunked
        }
    }
}

/// Neighbouring fields that are kept, to be copied at once.
struct FieldRun {
    /// Where the run begins; `Int.max` behind the last field.
    private var start: Int

    @inline(__always)
    init(_ fields: borrowing FieldIndex) {
        start = fields.count > 0 ? Int(fields[0].nameStart) : .max
    }

    /// Copies the run before a field that is left out; the next one begins behind that.
    @inline(__always)
    mutating func skip(
        _ index: Int, of fields: borrowing FieldIndex, _ message: UnsafeRawBufferPointer,
        _ out: inout ByteWriter
    ) {
        finish(end: Int(fields[index].nameStart), message, &out)
        start = index + 1 < fields.count ? Int(fields[index + 1].nameStart) : .max
    }

    /// Copies the run up to `end`, where the next line begins.
    @inline(__always)
    mutating func finish(end: Int, _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter) {
        if end > start { out.append(message.part(start, end - start)) }
    }
}

extension FieldEdits {
    /// The route removes or sets this field, or it is a claim of somebody who is not trusted.
    func drop(
        _ field: Field, _ message: UnsafeRawBufferPointer, _ isTrusted: Bool = true
    ) -> Bool {
        let name = message[nameOf: field]
        return dropped.contains {
            !($0.isClaim && isTrusted) && Bytes.areEqual(name, ignoringCase: $0.name.bytes)
        }
    }

    /// The route removes or sets the field of this name, which is in lower case.
    @inline(__always)
    func drop(_ name: StaticString) -> Bool {
        if dropped.isEmpty { return false }
        return dropped.contains { !$0.isClaim && Bytes.areEqual($0.name.bytes, name.bytes) }
    }
}

extension ClusterPlan.HostHeader {
    /// Bytes of a fixed text.
    fileprivate var length: Int { if case .fixed(let text) = self { text.count } else { 0 } }
}
