// The secret that keys are hashed with.

/// Drawn once for the process, kept over reloads; the simulator takes one of its own.
public struct KeySeed: Sendable {
    /// Both halves of the key.
    public let k0: UInt64
    /// The second half.
    public let k1: UInt64

    /// Takes 128 random bits.
    public init(_ k0: UInt64, _ k1: UInt64) {
        self.k0 = k0
        self.k1 = k1
    }
}

extension KeyHasher {
    /// Creates a hasher that has been fed nothing.
    @inlinable public init(seed: KeySeed) { self.init(seed.k0, seed.k1) }
}
