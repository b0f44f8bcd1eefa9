// When an endpoint is put out of balancing, for how long, and how many may be.

package import WeirTime

/// What `outlier_detection` says, with its defaults.
package struct OutlierSettings: Equatable, Sendable {
    package var mode = Mode.off
    /// Failures in a row (5xx, and what ended without an answer) that eject; 0 is off.
    package var consecutive5xx = 5
    /// Gateway failures in a row (502, 503, 504, no answer) that eject; 0 is off.
    package var consecutiveGateway = 0
    /// The window over which endpoints are compared.
    package var interval = Interval.seconds(2)
    /// The first ejection's length; it doubles with each one that follows.
    package var baseEjectionTime = Interval.seconds(5)
    package var maxEjectionTime = Interval.seconds(300)
    /// Of the cluster's endpoints; of two or more, one may always be ejected.
    package var maxEjectionPercent = 50
    /// Below this percentage of available endpoints all are used (panic); 0 is never.
    package var panicThreshold = 50
    /// Compare failure rates among endpoints.
    package var comparesFailures = true
    /// Answers in a window without which an endpoint's failure rate is not judged.
    package var failureMinRequests = 20
    /// Times the median of its peers at which an endpoint counts as slow; 0 is off.
    package var latencyFactor = 3.0
    /// Answers in a window without which an endpoint's median is not judged.
    package var latencyMinRequests = 20

    package init() {}
}
