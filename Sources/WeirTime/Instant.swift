// Time as 64-bit nanoseconds: `Duration` arithmetic costs twenty times as much per operation.

/// A span of time in nanoseconds; may be negative.
public struct Interval: Hashable, Comparable, Sendable {
    /// Nanoseconds.
    public var nanoseconds: Int64

    /// Creates an interval of `nanoseconds`.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// No time at all.
    @inlinable public static var zero: Interval { Interval(nanoseconds: 0) }
    /// About 292 years: "no limit".
    @inlinable public static var max: Interval { Interval(nanoseconds: .max) }

    /// An interval of `n` microseconds.
    @inlinable public static func microseconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: saturating(n, 1000))
    }
    /// An interval of `n` milliseconds.
    @inlinable public static func milliseconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: saturating(n, 1_000_000))
    }
    /// An interval of `n` seconds.
    @inlinable public static func seconds(_ n: Int64) -> Interval {
        Interval(nanoseconds: saturating(n, 1_000_000_000))
    }

    @usableFromInline
    static func saturating(_ n: Int64, _ unit: Int64) -> Int64 {
        let (product, overflow) = n.multipliedReportingOverflow(by: unit)
        return overflow ? (n < 0 ? .min : .max) : product
    }

    /// Whole milliseconds, rounded up; what a poll timeout wants.
    @inlinable public var millisecondsRoundedUp: Int64 {
        nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0)
    }

    /// The interval as seconds in floating point, for output only.
    @inlinable public var seconds: Double { Double(nanoseconds) / 1e9 }

    /// Orders by length.
    @inlinable public static func < (a: Interval, b: Interval) -> Bool {
        a.nanoseconds < b.nanoseconds
    }
    /// The sum, saturating.
    @inlinable public static func + (a: Interval, b: Interval) -> Interval {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Interval(nanoseconds: overflow ? (b.nanoseconds < 0 ? .min : .max) : sum)
    }
    /// The difference, saturating.
    @inlinable public static func - (a: Interval, b: Interval) -> Interval {
        let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
        return Interval(nanoseconds: overflow ? (b.nanoseconds < 0 ? .max : .min) : difference)
    }
}

/// A point on the monotonic clock, in nanoseconds since an arbitrary start.
public struct Instant: Hashable, Comparable, Sendable {
    /// Nanoseconds since the clock's start.
    public var nanoseconds: Int64

    /// Creates an instant `nanoseconds` after the clock's start.
    @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// Earlier than anything a clock returns.
    @inlinable public static var distantPast: Instant { Instant(nanoseconds: .min) }
    /// Later than anything a clock returns: "never".
    @inlinable public static var distantFuture: Instant { Instant(nanoseconds: .max) }

    /// Orders by time.
    @inlinable public static func < (a: Instant, b: Instant) -> Bool {
        a.nanoseconds < b.nanoseconds
    }
    /// The instant `b` later, saturating.
    @inlinable public static func + (a: Instant, b: Interval) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Instant(nanoseconds: overflow ? (b.nanoseconds < 0 ? .min : .max) : sum)
    }
    /// The time from `b` to `a`, saturating.
    @inlinable public static func - (a: Instant, b: Instant) -> Interval {
        Interval(nanoseconds: a.nanoseconds) - Interval(nanoseconds: b.nanoseconds)
    }
}
