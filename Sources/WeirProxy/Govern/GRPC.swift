// gRPC: how long a call may take, how its failures read, and how weir says that it refuses one
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

import WeirHTTP
import WeirPolicy
import WeirTelemetry
import WeirTime

extension GRPCStatus {
    /// The status of HTTP that says the same of an endpoint; 200 where that is not to blame.
    fileprivate var httpStatus: Int {
        switch self {
        case .unavailable: 503
        case .internal, .unknown, .dataLoss: 500
        case .deadlineExceeded: 504
        case .resourceExhausted: 429
        default: 200
        }
    }

    /// What the value of `grpc-status` says.
    fileprivate init(value: UnsafeRawBufferPointer) {
        let number = value.decimal(atMost: Int64(UInt8.max)) ?? Int64(Self.unknown.rawValue)
        self = Self(rawValue: UInt8(number)) ?? .unknown
    }
}

enum GRPC {
    private static let contentType: StaticString = "application/grpc"
    fileprivate static let statusName: StaticString = "grpc-status"

    /// What trailers, as lines, say; a call without a status has come to nothing known.
    fileprivate static func status(_ lines: UnsafeRawBufferPointer) -> GRPCStatus {
        var rest = lines
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = rest.part(0, max(0, end - 1))
            rest = rest.part(end + 1, rest.count - end - 1)
            let length = statusName.utf8CodeUnitCount
            guard FieldValue.hasPrefix(line, statusName), line.count > length,
                line[length] == UInt8(ascii: ":")
            else { continue }
            let value = line.part(length + 1, line.count - length - 1)
            return GRPCStatus(value: FieldValue.trimmed(value))
        }
        return .unknown
    }

    /// What the client of a call is told of weir's own refusal, as lines.
    static func trailers(for refusal: Refusal, _ exchange: Exchange) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
            var out = ByteWriter(UnsafeMutableRawBufferPointer(buffer))
            writeStatus(of: refusal, &out)
            LocalReply(refusal).writeReason(exchange, &out)
            count = out.hasOverflowed ? 0 : out.count
        }
    }

    static func writeStatus(of refusal: Refusal, _ out: inout ByteWriter) {
        out.append("grpc-status: ")
        out.append(decimal: Int(refusal.grpcStatus.rawValue))
        out.append("\r\ngrpc-message: ")
        out.append(refusal.message)
        out.append("\r\n")
    }

    /// The value is that of a call's `content-type`.
    static func isContentType(_ value: UnsafeRawBufferPointer) -> Bool {
        guard FieldValue.hasPrefix(value, contentType) else { return false }
        guard value.count > contentType.utf8CodeUnitCount else { return true }
        // `application/grpc-web` is another protocol.
        let next = value[contentType.utf8CodeUnitCount]
        return next == UInt8(ascii: "+") || next == UInt8(ascii: ";")
    }

    /// What `grpc-timeout` says: at most eight digits and a unit.
    static func timeout(_ value: UnsafeRawBufferPointer) -> Interval? {
        guard value.count >= 2, value.count <= 9, let unit = value.last,
            let number = value.part(0, value.count - 1).decimal(atMost: 99_999_999)
        else { return nil }
        switch unit {
        case UInt8(ascii: "H"): return .seconds(number * 3600)
        case UInt8(ascii: "M"): return .seconds(number * 60)
        case UInt8(ascii: "S"): return .seconds(number)
        case UInt8(ascii: "m"): return .milliseconds(number)
        case UInt8(ascii: "u"): return Interval(nanoseconds: number * 1000)
        case UInt8(ascii: "n"): return Interval(nanoseconds: number)
        default: return nil
        }
    }
}

extension Exchange {
    /// The request is a call of gRPC, whose client reads refusals in gRPC's words.
    @inline(__always)
    var isGRPC: Bool {
        // Patterns, since `==` of another module's enum is a call through a witness table.
        guard case .h2 = downstream, case .post = head.method else { return false }
        return hasContentTypeOfGRPC
    }

    /// It is one whose messages must be passed on as they come.
    @inline(__always)
    func isCall(to cluster: Cluster) -> Bool { cluster.plan.isH2 && isGRPC }

    private var hasContentTypeOfGRPC: Bool {
        for index in 0..<head.fields.count where head.fields[index].known == .contentType {
            return GRPC.isContentType(message.bytes[valueOf: head.fields[index]])
        }
        return false
    }

    /// What has come is the answer to a call. The request alone says nothing: any client can call
    /// itself one of gRPC.
    @inline(__always)
    func isAnswerOfGRPC(_ bytes: UnsafeRawBufferPointer) -> Bool {
        proxy.responseHead.status == 200 && isGRPC && saysGRPC(bytes)
    }

    private func saysGRPC(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for index in 0..<proxy.responseHead.fields.count
        where proxy.responseHead.fields[index].known == .contentType {
            return GRPC.isContentType(bytes[valueOf: proxy.responseHead.fields[index]])
        }
        return false
    }

    /// What the head of a call's answer says of the endpoint, in HTTP's terms; `nil` where its end
    /// will say it.
    func statusOfCall(_ bytes: UnsafeRawBufferPointer) -> Int? {
        for index in 0..<proxy.responseHead.fields.count {
            let field = proxy.responseHead.fields[index]
            guard FieldValue.equals(bytes[nameOf: field], GRPC.statusName) else { continue }
            return note(GRPCStatus(value: bytes[valueOf: field]))
        }
        return nil
    }

    /// A call's answer has ended, and says what it is worth.
    func endCall(_ trailers: [UInt8]) {
        let status = note(trailers.withUnsafeBytes { GRPC.status($0) })
        outcome = AttemptOutcome(status: status, retryAfter: nil)
    }

    /// Ends a call's answer that is cut off after its head in a call's own words; `false` where
    /// that cannot be, or it is none of a call.
    func cutCallOff(_ refusal: Refusal) -> Bool {
        // One that were shorter than its head says would be none.
        guard case .open(isBounded: false) = record.call, let downstream,
            downstream.cutOff(trailers: { GRPC.trailers(for: refusal, self) })
        else { return false }
        record.call = .ended(refusal.grpcStatus)
        return true
    }

    private func note(_ status: GRPCStatus) -> Int {
        record.call = .ended(status)
        pool?.counters.count(status)
        return status.httpStatus
    }
}

extension Refusal {
    /// What a client of gRPC is told.
    var grpcStatus: GRPCStatus {
        switch self {
        case .rateLimited, .tenantConcurrency, .headTooLarge, .bodyTooLarge: .resourceExhausted
        case .deadline, .upstreamTimeout, .clientTooSlow: .deadlineExceeded
        case .routeMissing, .notImplemented: .unimplemented
        case .badRequest, .upstreamProtocol: .internal
        case .clientGone, .noEndpoint, .upstreamConnect, .upstreamReset, .ceiling, .queueFull,
            .pushedOut, .queueTimeout, .breakerOpen, .resourceExhausted, .draining:
            .unavailable
        }
    }
}
