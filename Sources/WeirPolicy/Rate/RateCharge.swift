// One level of a request's rate limits, and what all of them together say.

public import WeirTime

/// What a request costs at one level, and whether it has been paid. The request keeps it until
/// it is refunded or settled.
public struct RateCharge: Sendable {
    /// Names the bucket: whose it is and by which rule. A shadow rule has keys of its own.
    public let key: UInt64
    /// How the bucket fills.
    public let law: RateLaw
    /// Tokens.
    public let cost: Int64
    /// Whether a denial is only counted.
    public let isShadow: Bool
    /// Where the table has the charge; 0 while nothing is charged.
    var place: UInt32 = 0

    /// Creates a charge that is yet to be made; `cost` below 0 counts as 0.
    public init(key: UInt64, law: RateLaw, cost: Int64 = 1, isShadow: Bool = false) {
        self.key = key
        self.law = law
        self.cost = cost
        self.isShadow = isShadow
    }

    /// Whether the bucket holds a charge that may be given back.
    public var isCharged: Bool { place != 0 }
}

/// What the rate limits say to a request.
public struct RateVerdict: Equatable, Sendable {
    /// Whether every enforcing level has been charged. Otherwise none has, nor any shadow level.
    public fileprivate(set) var isAdmitted = true
    /// The first level that denied the request or, where none did, the one with the fewest tokens
    /// left; -1 where no level enforces.
    public fileprivate(set) var level = -1
    /// Where the request is denied: the time after which it would be admitted if it were alone,
    /// exact to the nanosecond; `nil` where it costs more than a burst.
    public fileprivate(set) var retryAfter: Interval?
    /// Tokens left at `level`.
    public fileprivate(set) var remaining: Int64 = 0
    /// The time until the bucket of `level` is full.
    public fileprivate(set) var fullAfter = Interval.zero
    /// A bit for each shadow level that would have denied the request, the first level lowest.
    /// Levels beyond the 64th have none.
    public fileprivate(set) var wouldDeny: UInt64 = 0

    /// Nothing limits the request.
    public init() {}
}

extension RateVerdict {
    mutating func deniesInShadow(at level: Int) { wouldDeny |= 1 << UInt64(level) }

    /// The level at `level` has been charged.
    mutating func admits(at level: Int, law: RateLaw, ahead: Int64) {
        let left = Self.tokens(law, ahead: ahead)
        if self.level < 0 || left < remaining { describe(level, left: left, ahead: ahead) }
    }

    /// The level at `level` is the first to deny.
    mutating func denies(at level: Int, law: RateLaw, ahead: Int64) {
        isAdmitted = false
        describe(level, left: Self.tokens(law, ahead: ahead), ahead: ahead)
    }

    /// Sets the wait of a denied request, as `GCRA.Step` has it.
    mutating func waits(_ nanoseconds: Int64) {
        retryAfter = nanoseconds == GCRA.never ? nil : Interval(nanoseconds: nanoseconds)
    }

    private mutating func describe(_ level: Int, left: Int64, ahead: Int64) {
        self.level = level
        remaining = left
        fullAfter = Interval(nanoseconds: (ahead &+ (1 << GCRA.tickShift - 1)) >> GCRA.tickShift)
    }

    private static func tokens(_ law: RateLaw, ahead: Int64) -> Int64 {
        max(0, law.tolerance &- ahead) / law.emission
    }
}
