// The arithmetic of a token bucket that is one number: when it will be full again.

public import WeirTime

/// The generic cell rate algorithm (ITU-T I.371, 1993): a bucket is its theoretical arrival time,
/// TAT. It is full where the TAT has passed; each token spent moves the TAT on by the time in which
/// one token comes; a charge is admitted while the TAT stays within the burst's time from now.
///
/// Time is in ticks of 1/256 ns and wraps around every 834 days, so all is said by the difference
/// between TAT and now. A bucket is never more than 62 days ahead: a difference beyond `farthest`
/// is one from the past. Only a bucket that nobody has touched for 730 days could be misread.
public enum GCRA {
    @usableFromInline static let tickShift: Int64 = 8
    /// 104 days in ticks.
    @usableFromInline static let farthest: Int64 = 1 << 61
    /// Stands for "however long one waits".
    @usableFromInline static let never = Int64.max

    /// What a charge comes to. Nothing is changed by asking.
    public struct Step: Equatable, Sendable {
        /// The bucket's TAT after the charge; as it was where the charge is denied.
        public let tat: Int64
        /// How far the bucket is ahead of now, in ticks: after the charge, or as it is where the
        /// charge is denied.
        public let ahead: Int64
        /// Nanoseconds after which the same charge, alone, is admitted and before which it is not:
        /// 0 where it is admitted now, `Int64.max` where it costs more than the burst.
        public let wait: Int64

        @usableFromInline init(tat: Int64, ahead: Int64, wait: Int64) {
            self.tat = tat
            self.ahead = ahead
            self.wait = wait
        }

        /// Whether the charge may be made now.
        @inlinable public var isAdmitted: Bool { wait == 0 }
    }

    /// The instant in ticks, wrapping.
    @inlinable public static func ticks(_ instant: Instant) -> Int64 {
        instant.nanoseconds &<< tickShift
    }

    /// How far `tat` is ahead of `now`, both in ticks; 0 for a full bucket.
    @inlinable public static func ahead(of tat: Int64, now: Int64) -> Int64 {
        let ahead = tat &- now
        return ahead > 0 && ahead <= farthest ? ahead : 0
    }

    /// Asks what charging `cost` tokens comes to.
    ///
    /// - Parameters:
    ///   - tat: the bucket, in ticks.
    ///   - emission: ticks between two tokens.
    ///   - tolerance: the burst in ticks.
    ///   - cost: tokens; below 0 counts as 0, which asks whether the bucket is in debt.
    @inlinable public static func step(
        tat: Int64, now: Instant, emission: Int64, tolerance: Int64, cost: Int64
    ) -> Step {
        let now = ticks(now)
        let before = ahead(of: tat, now: now)
        let (price, isTooDear) = max(0, cost).multipliedReportingOverflow(by: emission)
        guard !isTooDear, price <= tolerance else {
            return Step(tat: tat, ahead: before, wait: never)
        }
        // Neither sum can overflow: a tolerance is below 2^60, what is ahead at most 2^61.
        let after = before &+ price
        let excess = after &- tolerance
        guard excess <= 0 else {
            let wait = (excess &+ (1 << tickShift &- 1)) >> tickShift
            return Step(tat: tat, ahead: before, wait: wait)
        }
        return Step(tat: now &+ after, ahead: after, wait: 0)
    }

    /// What is ahead under a law of another rate: the same tokens spent, and not more than all.
    static func rescaled(_ ahead: Int64, from old: Int64, to law: RateLaw) -> Int64 {
        guard ahead > 0, old > 0 else { return 0 }
        let product = UInt128(ahead) * UInt128(law.emission)
        let scaled = (product + UInt128(old) - 1) / UInt128(old)
        return scaled < UInt128(law.tolerance) ? Int64(scaled) : law.tolerance
    }
}
