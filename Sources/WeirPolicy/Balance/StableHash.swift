// A hash that is the same in every process: of endpoints' addresses and of requests' keys.

/// FNV-1a in 64 bits (Fowler, Noll and Vo, 1991). Not for secrets: who knows it can choose keys
/// that meet; hash policies bound what that does with `boundedLoad`.
public struct StableHash: Sendable {
    /// The hash of what has been added.
    public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    /// The hash of nothing.
    @inlinable public init() {}

    /// The hash of some bytes.
    public init(_ bytes: some Sequence<UInt8>) {
        self.init()
        for byte in bytes { add(byte) }
    }

    /// Adds a byte; what is added in another order has another hash.
    public mutating func add(_ byte: UInt8) {
        value = (value ^ UInt64(byte)) &* 0x100_0000_01B3
    }

    /// Adds bytes that lie together.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes { add(byte) }
    }

    /// Spreads a hash over all its bits (SplitMix64's finalizer, Steele et al., 2014).
    @inline(__always)
    static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
