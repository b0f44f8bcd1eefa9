// How many requests an endpoint may work on at once.

/// Whether an endpoint's limit is found by measurement, and its bounds.
package struct ConcurrencySettings: Equatable, Sendable {
    /// `off` is no limit; `shadow` finds a limit and refuses nobody.
    package var mode = Mode.off
    /// The limit's bounds: requests in flight at one endpoint.
    package var minimum = 2
    package var maximum = 1000
    /// The limit before anything has been measured.
    package var initial = 20

    package init() {}
}
