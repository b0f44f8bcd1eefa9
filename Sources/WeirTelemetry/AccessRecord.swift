// What the access log says about one exchange, borrowed from whoever reports it.

/// Who ended an exchange before its time.
package enum EndedBy: UInt8, Sendable {
    /// It came to its proper end.
    case none
    case client, upstream, weir
}

/// Where an exchange's time went, in nanoseconds; -1 where a stage was not reached.
package struct ExchangeTimers: Sendable {
    /// From the first byte of the request to the end of its head.
    package var requestRead: Int64 = -1
    /// Waiting for admission and for a connection.
    package var queue: Int64 = -1
    /// Connecting to the endpoint; 0 on a pooled connection.
    package var connect: Int64 = -1
    /// From the request's last head byte sent to the first byte of the answer.
    package var firstByte: Int64 = -1
    package var total: Int64 = -1

    package init() {}
}

/// One exchange as its access log line tells it. The bytes are borrowed: they must stay where they
/// are until `LogRing.append` returns. Empty bytes are written as `null`.
package struct AccessRecord {
    package static var nothing: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: nil, count: 0)
    }

    package var requestID = nothing
    package var tenant = nothing
    /// The client's address as text.
    package var client = nothing
    package var method = nothing
    package var host = nothing
    /// Path and query as the client sent them.
    package var target = nothing
    package var userAgent = nothing
    package var route = nothing
    package var cluster = nothing
    package var endpoint = nothing

    /// When the request began.
    package var unixNanoseconds: Int64 = 0
    package var version = HTTPVersion.http11
    /// The version of TLS that the client speaks; `nil` is none.
    package var tls: StaticString?
    /// 0: no answer was sent.
    package var status = 0
    package var attempts = 0
    package var bytesReceived: Int64 = 0
    package var bytesSent: Int64 = 0
    package var generation: UInt64 = 0
    package var timers = ExchangeTimers()
    package var endedBy = EndedBy.none
    /// The exchange's phase when it ended.
    package var phase: StaticString = ""
    /// The refusal code, when weir answered by itself or gave up.
    package var reason: StaticString?
    /// What a call of gRPC came to, in its endpoint's words or in weir's.
    package var grpcStatus: StaticString?
    /// Why a failed attempt was not followed by another one, where the route retries.
    package var noRetry: StaticString?
    /// The attempt that a policy in shadow mode would have made.
    package var wouldAttempt: StaticString?
    /// Why a retry would not have been made, by a policy in shadow mode.
    package var wouldNotRetry: StaticString?
    /// The rate limit that has refused the request.
    package var rule = nothing
    /// The name of the priority class.
    package var priority = nothing
    /// The refusal that a policy in shadow mode would have given.
    package var wouldRefuse: StaticString?

    package init() {}
}

/// The version of HTTP that a client speaks.
package enum HTTPVersion: Sendable {
    case http10, http11, http2

    /// The member of the log's line that says so.
    var member: StaticString {
        switch self {
        case .http10: ",\"protocol\":\"HTTP/1.0\""
        case .http11: ",\"protocol\":\"HTTP/1.1\""
        case .http2: ",\"protocol\":\"HTTP/2\""
        }
    }
}
