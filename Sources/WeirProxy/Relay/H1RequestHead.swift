// The head that an endpoint reads: the client's, without what concerned only the client's side.

import WeirHTTP
import WeirNet

/// Writes request heads for HTTP/1.1 endpoints.
enum H1RequestHead {
    /// Bytes that weir adds at most, beyond the client's head and the route's lines.
    private static let additions = 512

    /// Gathers the head of an exchange's request on its upstream connection.
    static func write(
        _ exchange: Exchange, route: RoutePlan, cluster: ClusterPlan, to upstream: H1Upstream
    ) {
        let message = exchange.message.bytes
        let edits = route.requestEdits
        let hostLength = max(exchange.head.authority.length, 300)
        let bound =
            2 * message.count + Int(hostLength) + edits.lines.count
            + (route.prefixRewrite?.count ?? 0) + Self.additions
        var out = ByteWriter(upstream.reserve(bound))
        writeRequestLine(exchange, route, &out)
        writeHost(exchange, cluster, upstream.pool, &out)
        writeFields(exchange, message, edits, &out)
        writeForwarding(exchange, message, edits, &out)
        out.append(edits.lines.bytes)
        upstream.writer.begin(writeFraming(exchange, message, &out))
        out.append("\r\n")
        upstream.commit(out.count)
    }

    private static func writeRequestLine(
        _ exchange: Exchange, _ route: RoutePlan, _ out: inout ByteWriter
    ) {
        out.append(exchange.message.bytes[exchange.head.methodName])
        out.append(" ")
        writePath(exchange, rewrite: route.prefixRewrite, prefix: route.prefixLength, &out)
        if exchange.head.hasQuery {
            out.append("?")
            out.append(exchange.message.bytes[exchange.head.query])
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

    private static func writeHost(
        _ exchange: Exchange, _ cluster: ClusterPlan, _ pool: Pool, _ out: inout ByteWriter
    ) {
        out.append("host: ")
        switch cluster.hostHeader {
        case .preserve:
            // An HTTP/1.0 client may have named none.
            if exchange.head.authority.isEmpty {
                out.append(pool.name.bytes)
            } else {
                out.append(exchange.message.bytes[exchange.head.authority])
            }
        case .fixed(let text): out.append(text.bytes)
        case .endpoint: out.append(pool.name.bytes)
        }
        out.append("\r\n")
    }

    /// Copies the fields that are kept, each run of neighbours with one copy.
    private static func writeFields(
        _ exchange: Exchange, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        _ out: inout ByteWriter
    ) {
        let isTrusted = exchange.record.isPeerTrusted
        var run = FieldRun()
        for index in 0..<exchange.head.fields.count {
            let field = exchange.head.fields[index]
            run.visit(
                field, isKept: keeps(field, isTrusted) && !edits.drop(field, message), message,
                &out)
        }
        run.finish(end: exchange.head.length - 2, message, &out)
    }

    @inline(__always)
    private static func keeps(_ field: Field, _ isTrusted: Bool) -> Bool {
        if field.isHopByHop { return false }
        switch field.known {
        case .host, .contentLength, .transferEncoding, .expect, .xRequestID, .xForwardedFor:
            return false
        case .xForwardedProto, .xForwardedHost, .forwarded: return isTrusted
        default: return true
        }
    }

    private static func writeForwarding(
        _ exchange: Exchange, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        _ out: inout ByteWriter
    ) {
        var hasProto = false
        var hasHost = false
        out.append("x-forwarded-for: ")
        if exchange.record.isPeerTrusted {
            for index in 0..<exchange.head.fields.count {
                let field = exchange.head.fields[index]
                switch field.known {
                case .xForwardedFor:
                    out.append(message[valueOf: field])
                    out.append(", ")
                case .xForwardedProto: hasProto = true
                case .xForwardedHost: hasHost = true
                default: break
                }
            }
        }
        exchange.writeClientAddress(&out)
        if !hasProto { out.append("\r\nx-forwarded-proto: http") }
        if !hasHost, !exchange.head.authority.isEmpty {
            out.append("\r\nx-forwarded-host: ")
            out.append(message[exchange.head.authority])
        }
        out.append("\r\nx-request-id: ")
        out.append(exchange.message.requestID)
        out.append(
            exchange.head.minorVersion == 0 ? "\r\nvia: 1.0 weir\r\n" : "\r\nvia: 1.1 weir\r\n")
    }

    private static func writeFraming(
        _ exchange: Exchange, _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter
    ) -> H1BodyWriter.Mode {
        if exchange.head.wantsUpgrade {
            out.append("connection: upgrade\r\n")
            for index in 0..<exchange.head.fields.count {
                let field = exchange.head.fields[index]
                guard field.known == .upgrade else { continue }
                out.append("upgrade: ")
                out.append(message[valueOf: field])
                out.append("\r\n")
            }
        } else if exchange.head.acceptsTrailers {
            out.append("te: trailers\r\nconnection: te\r\n")
        }
        if exchange.head.expectsContinue { out.append("expect: 100-continue\r\n") }
        switch exchange.head.framing {
        case .none, .untilClose:
            // A method that usually has a body says that there is none.
            switch exchange.head.method {
            case .post, .put, .patch: out.append("content-length: 0\r\n")
            default: break
            }
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
    private var start = -1

    @inline(__always)
    mutating func visit(
        _ field: Field, isKept: Bool, _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter
    ) {
        if isKept {
            if start < 0 { start = Int(field.nameStart) }
        } else {
            finish(end: Int(field.nameStart), message, &out)
        }
    }

    /// Copies the run up to `end`, where the next line begins.
    mutating func finish(end: Int, _ message: UnsafeRawBufferPointer, _ out: inout ByteWriter) {
        guard start >= 0, end > start else { return }
        out.append(message.part(start, end - start))
        start = -1
    }
}

extension FieldEdits {
    /// The route removes or sets this field.
    @inline(__always)
    func drop(_ field: Field, _ message: UnsafeRawBufferPointer) -> Bool {
        if dropped.isEmpty { return false }
        let name = message[nameOf: field]
        return dropped.contains { Bytes.areEqual(name, ignoringCase: $0.bytes) }
    }
}
