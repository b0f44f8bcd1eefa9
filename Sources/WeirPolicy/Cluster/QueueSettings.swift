// How long requests may wait for a permit, and how many of them.

package import WeirTime

/// The bounds of one cluster's admission queue.
package struct QueueSettings: Equatable, Sendable {
    /// Requests that wait at most, all classes together.
    package var maxLength = 500
    /// How long a request may wait.
    package var maxWait = Interval.milliseconds(100)
    /// How long a request may wait whose tenant's queue has not been empty for `maxWait`.
    package var standingWait = Interval.milliseconds(20)
    /// By class, best first: the percentage of permits that the class gets while it waits, whatever
    /// better classes want. 0 is strict. A class beyond the list has 0.
    package var minimumShares: [Int] = []

    package init() {}
}
