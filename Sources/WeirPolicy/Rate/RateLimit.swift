// The law of one token bucket: as a person writes it, and as a bucket reads it.

public import WeirTime

/// A rate and a burst, as GCRA uses them.
///
/// Any values can be held; `isValid` says whether weir keeps to them exactly. A law made of others
/// is brought within the bounds below, never refused.
public struct RateLimit: Hashable, Sendable {
    /// Tokens that come in a `period`.
    public var count: Int64
    /// The time in which `count` tokens come.
    public var period: Interval
    /// Tokens that may be spent at once.
    public var burst: Int64

    /// Creates a limit of `count` tokens a `period`.
    public init(count: Int64, period: Interval, burst: Int64) {
        self.count = count
        self.period = period
        self.burst = burst
    }

    /// The shortest time between two tokens: ten million a second.
    public static let fastest = Interval(nanoseconds: 100)
    /// The longest time between two tokens: one an hour.
    public static let slowest = Interval.seconds(3600)
    /// The bursts that may be set, in tokens.
    public static let bursts: ClosedRange<Int64> = 1...1_000_000_000
    /// The longest time in which an empty bucket may fill: `burst` tokens at the rate.
    public static let longestFill = Interval.seconds(31 * 24 * 3600)

    /// Whether rate and burst are positive and the rate is one an hour at least and ten million a
    /// second at most.
    public var hasValidRate: Bool {
        guard count > 0, period > .zero else { return false }
        let span = UInt128(period.nanoseconds)
        return span >= UInt128(Self.fastest.nanoseconds) * UInt128(count)
            && span <= UInt128(Self.slowest.nanoseconds) * UInt128(count)
    }

    /// Whether the bucket fills within `longestFill`.
    public var fillsInTime: Bool {
        guard count > 0, period > .zero, burst > 0 else { return false }
        return UInt128(burst) * emission <= UInt128(Self.longestFill.nanoseconds) << GCRA.tickShift
    }

    /// Whether the limit is within all bounds.
    public var isValid: Bool { hasValidRate && Self.bursts.contains(burst) && fillsInTime }

    /// Ticks between two tokens, rounded up.
    private var emission: UInt128 {
        let ticks = UInt128(max(1, period.nanoseconds)) << GCRA.tickShift
        let tokens = UInt128(max(1, count))
        return (ticks + tokens - 1) / tokens
    }

    /// What a bucket is charged under. Divides: to be kept, not to be made for each request.
    ///
    /// The time between two tokens is rounded up to 1/256 ns, so that a bucket never gives more
    /// than the rate. It gives less by 4 · 10⁻¹² at one a second, by 0.0004 % at a million a
    /// second, by 0.004 % at ten million a second; and nothing less where 256 ns divide evenly.
    public var law: RateLaw {
        let shortest = UInt128(Self.fastest.nanoseconds) << GCRA.tickShift
        let longest = UInt128(Self.slowest.nanoseconds) << GCRA.tickShift
        let emission = Int64(min(max(emission, shortest), longest))
        let room = (Self.longestFill.nanoseconds << GCRA.tickShift) / emission
        let burst = min(max(burst, Self.bursts.lowerBound), Self.bursts.upperBound, room)
        return RateLaw(emission: emission, burst: burst)
    }
}

/// A rate limit in ticks of 1/256 ns, ready to be charged.
public struct RateLaw: Hashable, Sendable {
    /// What a bucket remembers of the law it is charged under: the ticks between two tokens in the
    /// low 50 bits, and 14 bits by which another burst is noticed.
    let tag: UInt64
    /// How far ahead of now a bucket may be after a charge: the burst in ticks.
    let tolerance: Int64

    static let emissionBits: UInt64 = 50

    init(emission: Int64, burst: Int64) {
        let mark = (UInt64(bitPattern: burst) &* 0x9E37_79B9_7F4A_7C15) >> Self.emissionBits
        tag = UInt64(bitPattern: emission) | mark << Self.emissionBits
        tolerance = burst * emission
    }

    /// Ticks between two tokens.
    var emission: Int64 { Self.emission(ofTag: tag) }
    /// Tokens that may be spent at once.
    public var burst: Int64 { tolerance / emission }

    static func emission(ofTag tag: UInt64) -> Int64 {
        Int64(truncatingIfNeeded: tag & (1 << emissionBits - 1))
    }

    /// The ticks that `tokens` take to come, or those of 31 days where that is less.
    static func span(of tokens: Int64, emission: Int64) -> Int64 {
        let (span, isHuge) = tokens.multipliedReportingOverflow(by: emission)
        return isHuge ? longestSpan : min(span, longestSpan)
    }

    private static let longestSpan = RateLimit.longestFill.nanoseconds << GCRA.tickShift
}
