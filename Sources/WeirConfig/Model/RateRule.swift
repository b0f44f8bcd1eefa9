// How often something may happen.

package import WeirPolicy

/// One rate limit: a bucket for each combination of its keys' values.
package struct RateRule: Equatable, Sendable {
    /// In logs and metrics, where it has one.
    package var name: String?
    /// Empty is one bucket for everything that the rule sees.
    package var key: [RateKey] = []
    package var limit: RateLimit
    /// Tokens that a request costs: 1 to the limit's burst.
    package var cost = 1
    package var mode = Mode.enforce

    package init(limit: RateLimit) { self.limit = limit }
}

/// A part of the key of a rate limit's buckets. A value that is missing is a value of its own.
package enum RateKey: Hashable, Sendable {
    case tenant
    case route
    /// An IPv4 address, or the first 64 bits of an IPv6 address.
    case clientIP
    /// Lower case.
    case header(String)
    case query(String)
    /// The first segment is 1.
    case pathSegment(Int)
    case method
    case host
}
