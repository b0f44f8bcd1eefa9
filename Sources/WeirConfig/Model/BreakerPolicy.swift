// When a route or a cluster is not asked for a while, and what is answered instead.

package import WeirPolicy

/// A `breaker` section.
package struct BreakerPolicy: Equatable, Sendable {
    package var settings: BreakerSettings
    /// The answer while the breaker is open; without one it is 503.
    package var fallback: Route.DirectResponse?

    package init(settings: BreakerSettings) { self.settings = settings }
}
