// Seeded chance: every random decision draws from one of these, so that a seed replays a run.

/// A small, fast pseudo-random generator (SplitMix64, Steele et al. 2014). Not for secrets.
public struct Chance: Sendable {
    @usableFromInline var state: UInt64

    /// Creates a generator whose whole future is decided by `seed`.
    @inlinable public init(seed: UInt64) { state = seed }

    /// The next 64 random bits.
    @inlinable public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number in `0..<bound`, or 0 when `bound` is 0 (Lemire's multiply-shift; bias < 2^-32).
    @inlinable public mutating func below(_ bound: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32)
    }

    /// An interval spread evenly in `0...limit`; zero or less stays zero.
    @inlinable public mutating func interval(upTo limit: Interval) -> Interval {
        guard limit.nanoseconds > 0 else { return .zero }
        return Interval(
            nanoseconds: Int64(next().multipliedFullWidth(by: UInt64(limit.nanoseconds)).high))
    }
}
