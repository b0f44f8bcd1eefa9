// How an attempt at an endpoint ended: what limiters, ejection and breakers learn from it.

public import WeirTime

/// One attempt's end, as the governors see it. weir's own refusals are none of these.
public enum AttemptOutcome: Equatable, Sendable {
    /// An answer that says the endpoint works: anything below 500 that is not `busy`.
    case success
    /// 500...599, where it is not `busy`.
    case serverError(status: Int)
    case connectFailure
    /// The connection ended before the answer was complete.
    case reset
    /// No answer within the time given.
    case timeout
    /// The answer breaks HTTP's rules.
    case malformed
    /// 429 or 503 with `Retry-After`: the endpoint works and wants less.
    case busy(retryAfter: Interval)
    /// Given up by weir or its client, not by the endpoint: says nothing about it.
    case cancelled
    /// Nothing reached the endpoint, and not for its fault.
    case unsent

    /// The endpoint, or the way to it, has failed.
    @inlinable public var isFailure: Bool {
        switch self {
        case .serverError, .connectFailure, .reset, .timeout, .malformed: true
        case .success, .busy, .cancelled, .unsent: false
        }
    }

    /// What counts as a gateway's failure in Envoy's words: 502, 503, 504 and what ended without
    /// an answer.
    @inlinable public var isGatewayFailure: Bool {
        switch self {
        case .serverError(let status): status >= 502 && status <= 504
        case .connectFailure, .reset, .timeout, .malformed: true
        case .success, .busy, .cancelled, .unsent: false
        }
    }
}
