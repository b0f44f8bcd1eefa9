// What may keep requests from an endpoint: bits, since several may hold at once.

/// Empty is fit for traffic. What live traffic and what health checks found are bits of their own,
/// so a green health check never readmits an endpoint that live traffic ejected.
@usableFromInline
struct EndpointCondition: OptionSet, Sendable {
    @usableFromInline let rawValue: UInt32
    @usableFromInline init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Out of balancing until a time.
    static let ejected = EndpointCondition(rawValue: 1 << 0)
    /// Back on trial: one request at a time.
    static let probation = EndpointCondition(rawValue: 1 << 1)
    /// Found by weir's own probes.
    static let unhealthy = EndpointCondition(rawValue: 1 << 2)
    /// Taken out by hand, for good: no new requests, not even in panic.
    static let draining = EndpointCondition(rawValue: 1 << 3)
    /// It asked for less, for a time.
    static let paused = EndpointCondition(rawValue: 1 << 4)

    /// The word for the status page: the strongest bit.
    var name: StaticString {
        if contains(.draining) { return "draining" }
        if contains(.ejected) { return "ejected" }
        if contains(.unhealthy) { return "unhealthy" }
        if contains(.probation) { return "probation" }
        if contains(.paused) { return "paused" }
        return "available"
    }
}
