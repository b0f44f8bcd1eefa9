// weir's own probes of an endpoint.

package import WeirTime

/// What `health_check` says, with its defaults.
package struct HealthCheckSettings: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// A connection is enough.
        case tcp
        /// `GET path` must be answered with one of the statuses.
        case http(path: String, statuses: ClosedRange<Int>)
    }

    package var mode = Mode.enforce
    package var kind = Kind.tcp
    package var interval = Interval.seconds(5)
    package var timeout = Interval.seconds(1)
    /// Failures in a row after which the endpoint is unhealthy.
    package var unhealthy = 3
    /// Successes in a row after which it is healthy again.
    package var healthy = 2

    package init() {}
}
