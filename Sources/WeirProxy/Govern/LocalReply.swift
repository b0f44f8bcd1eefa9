// The answers that weir gives itself: refusals, redirects, fixed responses.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry

/// An answer that needs no endpoint.
struct LocalReply {
    private enum Body {
        case none
        case text(Text, type: Text)
        /// A problem in JSON (RFC 9457) that names the reason.
        case refusal(Refusal)
    }

    let status: Int
    private let body: Body
    /// Why it is weir that answers.
    private var reason: Refusal?
    private var location: [UInt8] = []

    /// - Parameter reason: for an answer that stands in for an endpoint's.
    init(status: Int, contentType: Text, body: Text, reason: Refusal? = nil) {
        self.status = status
        self.reason = reason
        self.body = body.count == 0 ? .none : .text(body, type: contentType)
    }

    init(_ refusal: Refusal, status: Int? = nil) {
        self.status = status ?? refusal.status
        body = .refusal(refusal)
        reason = refusal
    }

    private init(status: Int, location: [UInt8]) {
        self.status = status
        self.location = location
        body = .none
    }

    /// A redirect; what the plan leaves open comes from the request.
    static func redirect(_ plan: RedirectPlan, _ exchange: Exchange) -> LocalReply {
        let message = exchange.message.bytes
        var location: [UInt8] = []
        if plan.scheme != nil || plan.host != nil || plan.port != nil {
            let own = exchange.isSecure ? "https" : "http"
            location += plan.scheme?.bytes.map { $0 } ?? Array(own.utf8)
            location += "://".utf8
            location += plan.host?.bytes.map { $0 } ?? Array(exchange.message.host(exchange.head))
            if let port = plan.port { location += ":\(port)".utf8 }
        }
        if let path = plan.path {
            location += path.bytes
        } else {
            let size = message.count + (plan.prefixRewrite?.count ?? 0) + 2
            location += [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                var out = ByteWriter(UnsafeMutableRawBufferPointer(buffer))
                H1RequestHead.writePath(
                    exchange, rewrite: plan.prefixRewrite,
                    prefix: exchange.route?.prefixLength ?? 0, &out)
                count = out.count
            }
        }
        // `//name` would be another host, which the request's path must not get to choose.
        if location.starts(with: "//".utf8) {
            location.removeFirst(location.prefix { $0 == UInt8(ascii: "/") }.count - 1)
        }
        if !plan.stripQuery, !exchange.head.query.isEmpty {
            location += "?".utf8
            location += message[exchange.head.query]
        }
        return LocalReply(status: plan.status, location: location)
    }

    /// Gathers the answer on the client's connection; `false`, with nothing gathered, when it is
    /// larger than any that weir can send.
    func write(_ exchange: Exchange, mayPersist: Bool, to downstream: H1Downstream) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 768, alignment: 1) { memory in
            let body = writeBody(exchange, memory)
            let hasBody = mayHaveBody(exchange)
            let edits = exchange.route?.responseEdits ?? FieldEdits()
            let bound =
                1024 + location.count + typeLength + edits.lines.count
                + (hasBody ? body.count : 0)
            var out = ByteWriter(downstream.reserve(bound))
            out.append("HTTP/1.1 ")
            out.append(decimal: status)
            out.append(" ")
            out.append(StatusReason.text(for: status))
            out.append("\r\n")
            writeFields(exchange, edits, bodyLength: body.count, &out)
            H1ResponseHead.writeConnection(exchange, isKept: mayPersist, &out)
            out.append("\r\n")
            if hasBody {
                out.append(body)
                exchange.record.responseBodyBytes = Int64(body.count)
            }
            guard !out.hasOverflowed else { return false }
            downstream.commit(out.count)
            return true
        }
    }

    /// Sends the answer on the client's stream.
    func write(_ exchange: Exchange, to stream: H2Stream) -> Bool {
        if let reason, exchange.isGRPC { return writeToCall(exchange, reason, stream) }
        return writeWhole(exchange, to: stream)
    }

    /// Says why a call is refused, in gRPC's words: all of it in one head.
    private func writeToCall(
        _ exchange: Exchange, _ reason: Refusal, _ stream: H2Stream
    ) -> Bool {
        exchange.record.call = .ended(reason.grpcStatus)
        return withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) {
            var out = ByteWriter($0)
            out.append("content-type: application/grpc\r\n")
            GRPC.writeStatus(of: reason, &out)
            H1ResponseHead.writeDate(exchange.proxy, &out)
            H1ResponseHead.writeRequestID(exchange, &out)
            writeReason(exchange, &out)
            RateLimitFields.write(exchange, &out)
            guard !out.hasOverflowed else { return false }
            let fields = stream.fields
            fields.removeAll()
            fields.add(.status, "200")
            fields.add(lines: out.written)
            stream.respond(hasBody: false)
            return true
        }
    }

    private func writeWhole(_ exchange: Exchange, to stream: H2Stream) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 768, alignment: 1) { memory in
            let body = writeBody(exchange, memory)
            let hasBody = mayHaveBody(exchange) && body.count > 0
            let edits = exchange.route?.responseEdits ?? FieldEdits()
            let bound = 1024 + location.count + typeLength + edits.lines.count
            let isSent = withUnsafeTemporaryAllocation(byteCount: bound, alignment: 1) {
                var out = ByteWriter($0)
                // Who asks for a tunnel would take any success for one.
                let isTunnel = exchange.head.wantsUpgrade && status / 100 == 2
                out.append(decimal: isTunnel ? Refusal.notImplemented.status : status)
                let code = out.count
                writeFields(exchange, edits, bodyLength: body.count, &out)
                guard !out.hasOverflowed else { return false }
                let fields = stream.fields
                fields.removeAll()
                fields.add(.status, out.written.part(0, code))
                fields.add(lines: out.written.part(code, out.count - code))
                stream.respond(hasBody: hasBody, length: Int64(body.count))
                return true
            }
            if isSent, hasBody {
                exchange.record.responseBodyBytes = Int64(body.count)
                stream.send(body)
            }
            return isSent
        }
    }

    private func mayHaveBody(_ exchange: Exchange) -> Bool {
        exchange.head.method != .head && status != 204 && status != 304
    }

    private func writeFields(
        _ exchange: Exchange, _ edits: FieldEdits, bodyLength: Int, _ out: inout ByteWriter
    ) {
        if !edits.drop("date") { H1ResponseHead.writeDate(exchange.proxy, &out) }
        writeType(edits, &out)
        if status != 204, status != 304 { H1ResponseHead.writeLength(Int64(bodyLength), &out) }
        if !location.isEmpty, !edits.drop("location") {
            out.append("location: ")
            location.withUnsafeBytes { out.append($0) }
            out.append("\r\n")
        }
        if !edits.drop("x-request-id") { H1ResponseHead.writeRequestID(exchange, &out) }
        writeReason(exchange, &out)
        RateLimitFields.write(exchange, &out)
        out.append(edits.lines.bytes)
    }

    private var typeLength: Int { if case .text(_, let type) = body { type.count } else { 0 } }

    private func writeType(_ edits: FieldEdits, _ out: inout ByteWriter) {
        switch body {
        case .text(_, let type) where !edits.drop("content-type"):
            out.append("content-type: ")
            out.append(type.bytes)
            out.append("\r\n")
        case .none, .text: break
        case .refusal:
            if !edits.drop("content-type") {
                out.append("content-type: application/problem+json\r\n")
            }
        }
    }

    /// Names the reason and, where waiting helps, says how long.
    func writeReason(_ exchange: Exchange, _ out: inout ByteWriter) {
        guard let reason else { return }
        if let line = exchange.under?.object.plan.reasonLine {
            out.append(line.bytes)
            out.append(reason.code)
            out.append("\r\n")
        }
        guard let wait = exchange.retryAfter(reason) else { return }
        out.append("retry-after: ")
        out.append(decimal: Int(wait))
        out.append("\r\n")
    }

    private func writeBody(
        _ exchange: Exchange, _ memory: UnsafeMutableRawBufferPointer
    ) -> UnsafeRawBufferPointer {
        switch body {
        case .none: return UnsafeRawBufferPointer(start: nil, count: 0)
        case .text(let text, _): return text.bytes
        case .refusal(let refusal):
            var out = ByteWriter(memory)
            out.append("{\"type\":\"")
            out.append(refusal.problemType)
            out.append("\",\"title\":\"")
            out.append(StatusReason.text(for: status))
            out.append("\",\"status\":")
            out.append(decimal: status)
            out.append(",\"reason\":\"")
            out.append(refusal.code)
            out.append("\",\"detail\":\"")
            out.append(refusal.message)
            out.append("\",\"request_id\":\"")
            out.append(exchange.message.requestID)
            out.append("\"}\n")
            return UnsafeRawBufferPointer(start: memory.baseAddress, count: out.count)
        }
    }

    // MARK: Before there is an exchange

    /// The whole answer to a connection that is not served at all.
    static func connectionRefused(_ refusal: Refusal) -> Text {
        refusal == .ceiling ? ceilingAnswer : exhaustedAnswer
    }

    private static let ceilingAnswer = answer(.ceiling)
    private static let exhaustedAnswer = answer(.resourceExhausted)

    private static func answer(_ refusal: Refusal) -> Text {
        let body =
            "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
            + "\"reason\":\"\(refusal.code)\",\"detail\":\"\(refusal.message)\"}\n"
        return Text(
            """
            HTTP/1.1 503 Service Unavailable\r
            content-type: application/problem+json\r
            content-length: \(body.utf8.count)\r
            x-weir-reason: \(refusal.code)\r
            connection: close\r
            \r
            \(body)
            """)
    }
}

extension Refusal {
    /// The status that says so, where the cause does not demand another.
    var status: Int {
        switch self {
        case .badRequest: 400
        case .headTooLarge: 431
        case .bodyTooLarge: 413
        case .clientTooSlow: 408
        case .clientGone: 499
        case .routeMissing: 404
        case .notImplemented: 501
        case .upstreamConnect, .upstreamReset, .upstreamProtocol: 502
        case .rateLimited, .tenantConcurrency: 429
        case .upstreamTimeout, .deadline: 504
        case .noEndpoint, .ceiling, .queueFull, .pushedOut, .queueTimeout, .breakerOpen,
            .resourceExhausted, .draining:
            503
        }
    }

    /// What the problem is of, as registered for HTTP (RFC 9457 section 3.1.1).
    var problemType: StaticString {
        switch self {
        case .rateLimited, .tenantConcurrency:
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        case .ceiling, .queueFull, .pushedOut, .queueTimeout, .breakerOpen:
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        default: "about:blank"
        }
    }

    /// One sentence for whoever reads the answer.
    var message: StaticString {
        switch self {
        case .badRequest: "the request breaks HTTP's rules or could be read in two ways"
        case .headTooLarge: "the request's head or target is larger than this listener allows"
        case .bodyTooLarge: "the request's body is larger than this listener allows"
        case .clientTooSlow: "the request arrived too slowly"
        case .clientGone: "the client went away"
        case .routeMissing: "no route matches this request"
        case .notImplemented: "the request asks for something that is not supported"
        case .noEndpoint: "the cluster has no endpoint"
        case .upstreamConnect: "no connection to the endpoint could be made"
        case .upstreamReset: "the endpoint closed the connection before its answer was complete"
        case .upstreamProtocol: "the endpoint's answer breaks HTTP's rules"
        case .upstreamTimeout: "the endpoint did not answer in time"
        case .ceiling: "a limit on connections or requests is reached"
        case .rateLimited: "a rate limit is used up"
        case .tenantConcurrency: "the tenant has as many requests under way as its plan allows"
        case .queueFull: "the cluster is busy and its queue is full"
        case .pushedOut: "the cluster is busy and more important requests came"
        case .queueTimeout: "the cluster is busy: no endpoint had room in time"
        case .breakerOpen: "the breaker is open after too many failures"
        case .deadline: "the request's deadline has passed"
        case .resourceExhausted: "weir has run out of descriptors, ports or memory"
        case .draining: "weir is shutting down"
        }
    }
}
