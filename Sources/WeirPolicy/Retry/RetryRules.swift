// Which failed attempts are followed by another one, and when.

public import WeirTime

/// What may be wrong with an attempt, in the words of a retry policy's `on`.
public struct RetryConditions: OptionSet, Hashable, Sendable {
    /// One bit a condition.
    public let rawValue: UInt16
    /// Names conditions by their bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// No connection came about: nothing was sent.
    public static let connectFailure = RetryConditions(rawValue: 1 << 0)
    /// The endpoint says that it has not looked at the request.
    public static let refusedStream = RetryConditions(rawValue: 1 << 1)
    /// The connection ended before the first byte of an answer.
    public static let resetBeforeResponse = RetryConditions(rawValue: 1 << 2)
    /// 502, 503 or 504.
    public static let gatewayError = RetryConditions(rawValue: 1 << 3)
    /// 500...599.
    public static let serverError = RetryConditions(rawValue: 1 << 4)
    /// One of the statuses that the policy lists.
    public static let listedStatus = RetryConditions(rawValue: 1 << 5)
    /// No answer within `perTryTimeout`.
    public static let perTryTimeout = RetryConditions(rawValue: 1 << 6)
}

/// A retry policy as an exchange reads it.
///
/// It says what may be tried again and how long to wait. Whether the cluster's traffic has earned
/// one more attempt is the `RetryBudget`'s to say.
public struct RetryRules: Equatable, Sendable {
    /// What would be tried again is counted, and not tried.
    public var isShadow = false
    /// The failures that are worth another attempt.
    public var conditions: RetryConditions = []
    /// Statuses that `listedStatus` means.
    public var statuses: [Int] = []
    /// Retries after the first try.
    public var attempts = 2
    /// What one attempt may take; `Interval.max` is no limit of its own.
    public var perTryTimeout = Interval.max
    /// The bound of the wait before the first retry; it doubles with each further one.
    public var backoffBase = Interval.milliseconds(25)
    /// Where the doubling ends.
    public var backoffMax = Interval.milliseconds(250)
    /// Full jitter; without it the wait is the whole backoff.
    public var hasJitter = true
    /// Bits of methods, as the caller numbers them, that may be sent twice.
    public var methods: UInt32 = 0

    /// An endpoint that asks for a longer pause than this one is not asked again.
    public static let longestRetryAfter = Interval.seconds(30)

    /// Rules that retry nothing.
    public init() {}

    /// Whether a request of this method may be sent twice.
    @inlinable public func allows(_ methodBit: UInt32) -> Bool { methods & methodBit != 0 }

    /// Whether a failure that is all of `condition` is one of those worth another attempt: one
    /// word in common is enough.
    @inlinable public func includes(_ condition: RetryConditions) -> Bool {
        !conditions.isDisjoint(with: condition)
    }

    /// All that a status is in the words of `on`; empty where no policy could mean it.
    public func condition(status: Int) -> RetryConditions {
        var found: RetryConditions = []
        if status >= 500, status <= 599 { found.insert(.serverError) }
        if status >= 502, status <= 504 { found.insert(.gatewayError) }
        if statuses.contains(status) { found.insert(.listedStatus) }
        return found
    }

    /// How long to wait before the next attempt; `nil` where there should be none.
    ///
    /// The wait is drawn evenly from zero to `backoffBase · 2^attempt`, at most `backoffMax`
    /// ("full jitter", Brooker, 2015). What the endpoint asked for comes before it: weir waits that
    /// long and the drawn time more, or gives up, and is never back sooner.
    ///
    /// - Parameters:
    ///   - attempt: retries already made: 0 before the first one.
    ///   - retryAfter: what the endpoint asked for.
    ///   - remaining: time left for the whole exchange. The wait must be shorter, or nothing would
    ///     be left for the attempt.
    public func delay(
        attempt: Int, retryAfter: Interval?, remaining: Interval, chance: inout Chance
    ) -> Interval? {
        let asked = max(retryAfter ?? .zero, .zero)
        guard asked <= Self.longestRetryAfter else { return nil }
        let bound = backoff(attempt: attempt)
        let wait = asked + (hasJitter ? chance.interval(upTo: bound) : bound)
        return wait < remaining ? wait : nil
    }

    /// The bound of the wait, whatever `attempt`: what would overflow is `backoffMax`.
    private func backoff(attempt: Int) -> Interval {
        let base = max(backoffBase.nanoseconds, 0)
        let limit = max(backoffMax.nanoseconds, 0)
        let doublings = max(attempt, 0)
        guard doublings < Int64.bitWidth - 1, base <= limit >> Int64(doublings) else {
            return Interval(nanoseconds: base == 0 ? 0 : limit)
        }
        return Interval(nanoseconds: base << Int64(doublings))
    }
}
