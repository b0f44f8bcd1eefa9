// The vocabulary of no: one word, the same in the header, the log, the metric and the docs.

/// Why weir answered a request itself, or gave up on one.
public enum Refusal: UInt8, CaseIterable, Sendable {
    /// The request breaks HTTP's syntax or framing rules, or could be read in two ways (400).
    case badRequest
    /// The head or the URI is larger than the listener's limits (431, 414).
    case headTooLarge
    /// The body is larger than the listener's limit (413).
    case bodyTooLarge
    /// The head or the body arrived too slowly (408), or the client read the answer too slowly.
    case clientTooSlow
    /// The client went away before its answer was complete.
    case clientGone
    /// No route matches the request (404).
    case routeMissing
    /// A coding, an expectation or a protocol version that weir does not speak (501, 417, 505).
    case notImplemented
    /// The cluster has no endpoint to send to, for one because its name does not resolve (503).
    case noEndpoint
    /// No connection to the endpoint could be made (502), or not within its time (504).
    case upstreamConnect
    /// The endpoint closed or reset the connection before its answer was complete (502).
    case upstreamReset
    /// The endpoint's answer breaks HTTP's rules (502).
    case upstreamProtocol
    /// The endpoint did not answer within the route's timeout (504).
    case upstreamTimeout
    /// A hard cap, such as `max_connections`, is reached (503).
    case ceiling
    /// A rate limit of the tenant, the route or all traffic is used up (429).
    case rateLimited
    /// The tenant has as many requests under way as its plan allows (429).
    case tenantConcurrency
    /// The cluster's queue is full of requests that matter as much or more (503).
    case queueFull
    /// The request was pushed out of the queue by one that matters more (503).
    case pushedOut
    /// No endpoint had room within the time that a request may wait (503).
    case queueTimeout
    /// The breaker of the route or the cluster is open (503, or its fallback).
    case breakerOpen
    /// The request's deadline has passed, or nothing could be done before it (504).
    case deadline
    /// weir itself ran out of file descriptors, ports or buffer memory (503).
    case resourceExhausted
    /// weir is shutting down (503).
    case draining

    /// The code as headers, logs, metrics and docs spell it.
    public var code: StaticString {
        switch self {
        case .badRequest: "bad_request"
        case .headTooLarge: "head_too_large"
        case .bodyTooLarge: "body_too_large"
        case .clientTooSlow: "client_too_slow"
        case .clientGone: "client_gone"
        case .routeMissing: "route_missing"
        case .notImplemented: "not_implemented"
        case .noEndpoint: "no_endpoint"
        case .upstreamConnect: "upstream_connect"
        case .upstreamReset: "upstream_reset"
        case .upstreamProtocol: "upstream_protocol"
        case .upstreamTimeout: "upstream_timeout"
        case .ceiling: "ceiling"
        case .rateLimited: "rate_limited"
        case .tenantConcurrency: "tenant_concurrency"
        case .queueFull: "queue_full"
        case .pushedOut: "pushed_out"
        case .queueTimeout: "queue_timeout"
        case .breakerOpen: "breaker_open"
        case .deadline: "deadline"
        case .resourceExhausted: "resource_exhausted"
        case .draining: "draining"
        }
    }
}
