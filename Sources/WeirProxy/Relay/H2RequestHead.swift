// The head that an endpoint of HTTP/2 reads.

import WeirHTTP
import WeirNet

/// Sends request heads as calls.
enum H2RequestHead {
    /// Sends the head of an exchange's request; `false`, with nothing sent, when it is larger than
    /// any that weir can send, or the connection takes no more.
    static func write(
        _ exchange: Exchange, route: RoutePlan, cluster: Cluster, to call: H2Call
    ) -> Bool {
        write(exchange, exchange.head, exchange.message.bytes, route, cluster, to: call)
    }

    // The head as a parameter: read through the exchange, it is looked up again for each field.
    private static func write(
        _ exchange: Exchange, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        _ route: RoutePlan, _ cluster: Cluster, to call: H2Call
    ) -> Bool {
        let bound = H1RequestHead.bound(exchange, head, message, route, cluster)
        return withUnsafeTemporaryAllocation(byteCount: bound, alignment: 1) {
            var out = ByteWriter($0)
            H1RequestHead.writePath(
                exchange, rewrite: route.prefixRewrite, prefix: route.prefixLength, &out)
            if head.hasQuery {
                out.append("?")
                out.append(message[head.query])
            }
            let path = out.written
            let fields = call.fields
            fields.removeAll()
            if head.wantsUpgrade {
                fields.add(.method, "CONNECT")
                fields.add(":protocol", "websocket")
            } else {
                fields.add(.method, message[head.methodName])
            }
            fields.add(.scheme, cluster.plan.tls == nil ? "http" : "https")
            fields.add(.authority, authority(head, message, cluster, call))
            fields.add(.path, path)
            let isTrusted = exchange.record.isPeerTrusted
            addFields(head, message, route.requestEdits, isTrusted, to: fields)
            H1RequestHead.writeForwarding(
                exchange, head, message, route.requestEdits, isTrusted, &out)
            H1RequestHead.writeGoverning(exchange, &out)
            out.append(route.requestEdits.lines.bytes)
            if head.acceptsTrailers { out.append("te: trailers\r\n") }
            if head.expectsContinue { out.append("expect: 100-continue\r\n") }
            switch head.framing {
            case .length(let declared): H1ResponseHead.writeLength(declared, &out)
            // A method that usually has a body says that there is none.
            case .none where head.method.usuallyHasBody: H1ResponseHead.writeLength(0, &out)
            default: break
            }
            guard !out.hasOverflowed else { return false }
            fields.add(lines: out.written.part(path.count, out.count - path.count))
            guard !fields.isTooLarge else { return false }
            let hasBody = if case .none = head.framing { head.wantsUpgrade } else { true }
            return call.request(hasBody: hasBody, isTunnel: head.wantsUpgrade)
        }
    }

    private static func authority(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer, _ cluster: Cluster,
        _ call: H2Call
    ) -> UnsafeRawBufferPointer {
        switch cluster.plan.hostHeader {
        case .preserve where !head.authority.isEmpty: message[head.authority]
        case .fixed(let text): text.bytes
        // An HTTP/1.0 client may have named none.
        case .preserve, .endpoint: call.endpointAuthority.bytes
        }
    }

    @inline(__always)
    private static func addFields(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer, _ edits: FieldEdits,
        _ isTrusted: Bool, to fields: H2Fields
    ) {
        let mayDrop = !edits.dropped.isEmpty
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            if !H1RequestHead.keeps(field, isTrusted)
                || mayDrop && edits.drop(field, message, isTrusted)
            {
                continue
            }
            let name = message[nameOf: field]
            if head.wantsUpgrade, H2Tunnel.isHandshake(name) { continue }
            fields.add(name, message[valueOf: field])
        }
    }
}
