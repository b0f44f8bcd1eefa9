// What happens to endpoints, for the log, the metrics and the status page.

package import WeirTime

/// Why an endpoint was put out of balancing.
package enum EjectionReason: UInt8, CaseIterable, Sendable {
    case consecutive5xx, consecutiveGateway, failureRate, latency, unfinished, healthCheck, manual

    /// As logs, metrics and docs spell it.
    package var code: StaticString {
        switch self {
        case .consecutive5xx: "consecutive_5xx"
        case .consecutiveGateway: "consecutive_gateway"
        case .failureRate: "failure_rate"
        case .latency: "latency"
        case .unfinished: "unfinished"
        case .healthCheck: "health_check"
        case .manual: "manual"
        }
    }
}

/// One change of an endpoint's or a cluster's state.
package struct EndpointEvent: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// Out of balancing for a time; `isShadow`: would have been.
        case ejected(EjectionReason, for: Interval, isShadow: Bool)
        /// Would have been ejected, but for the cluster's bounds.
        case spared(EjectionReason)
        /// The ejection is over: one request at a time.
        case probation
        /// Back in balancing.
        case readmitted
        /// It has asked for less: no requests until the time is over.
        case paused(for: Interval)
        /// weir's own probes fail, or succeed again.
        case unhealthy, healthy
        /// The same of probes in shadow mode.
        case wouldBeUnhealthy, wouldBeHealthy
        /// The limit is another one. Often: for metrics rather than for a log.
        case limitChanged(from: Int, to: Int)
        /// Too few endpoints are available: all are used. `endpoint` is 0.
        case panicBegan, panicEnded
    }

    package let kind: Kind
    /// The endpoint's `id`; 0 for the cluster's own events.
    package let endpoint: UInt32
    package let at: Instant
}
