// When to look a name up again, and whether its answer is news. Pure, so tests need no clock.

package import WeirTime

/// Decides about one name: feed it answers, ask it for the next lookup's time.
///
/// A failed lookup keeps the last good addresses: stale endpoints beat none, and the pools find out
/// soon enough whether they still answer.
package struct NameSchedule: Sendable {
    /// What an answer changed.
    package enum News: Equatable, Sendable {
        /// The set of addresses is another one, or the first one.
        case addresses([SocketAddress])
        /// A lookup failed after a good one, or at first. Further failures are no news.
        case failed(ResolveFailure)
        /// A lookup worked again and found the same addresses as before the failures.
        case recovered
    }

    private static let firstBackoff = Interval.seconds(1)
    private static let longestBackoff = Interval.seconds(30)

    /// The last good addresses, sorted; empty when there never were any.
    package private(set) var addresses: [SocketAddress] = []
    /// Why the last lookup failed; `nil` when it worked.
    package private(set) var failure: ResolveFailure?
    /// When to ask next.
    package private(set) var nextLookup = Instant.distantPast

    private let every: Interval?
    private var backoff = NameSchedule.firstBackoff

    /// - Parameter every: the time between lookups; `nil` follows the records' time to live.
    package init(every: Interval?) { self.every = every }

    /// Takes an answer and sets `nextLookup`; `nil` when nothing is new.
    package mutating func answered(
        _ answer: Result<ResolvedName, ResolveFailure>, now: Instant, chance: inout Chance
    ) -> News? {
        switch answer {
        case .success(let resolved):
            let hadFailed = failure != nil
            failure = nil
            backoff = Self.firstBackoff
            let pause = every ?? resolved.timeToLive
            nextLookup = now + Self.jittered(pause, &chance)
            if resolved.addresses != addresses {
                addresses = resolved.addresses
                return .addresses(addresses)
            }
            return hadFailed ? .recovered : nil
        case .failure(let reason):
            let isFirst = failure == nil
            failure = reason
            nextLookup = now + Self.jittered(backoff, &chance)
            backoff = min(backoff + backoff, Self.longestBackoff)
            return isFirst ? .failed(reason) : nil
        }
    }

    /// Within 10 % of `pause`, so that many instances do not ask in step.
    private static func jittered(_ pause: Interval, _ chance: inout Chance) -> Interval {
        let tenth = Interval(nanoseconds: pause.nanoseconds / 10)
        return pause - tenth + chance.interval(upTo: tenth + tenth)
    }
}
