// From names to the 64-bit keys by which buckets and tenants are known.

/// A keyed hash (SipHash-1-3; Aumasson and Bernstein, 2012) of a row of parts.
///
/// Whoever does not know the seed cannot make two tenants collide, nor crowd a part of a table. The
/// seed is secret and the process's: drawn at its start, kept over reloads. The parts cannot be
/// mistaken for each other: `("ab", "c")` is not `("a", "bc")`. What is hashed is, for each part,
/// its length as 64 bits, then its bytes, filled up with zeros to a multiple of eight.
///
/// A hasher is a value: one that has been fed a common beginning may be copied and go on from
/// there.
public struct KeyHasher: Sendable {
    @usableFromInline var v0: UInt64
    @usableFromInline var v1: UInt64
    @usableFromInline var v2: UInt64
    @usableFromInline var v3: UInt64
    @usableFromInline var count: UInt64 = 0

    /// Creates a hasher that has been fed nothing, from a secret seed.
    @inlinable public init(_ k0: UInt64, _ k1: UInt64) {
        v0 = k0 ^ 0x736f_6d65_7073_6575
        v1 = k1 ^ 0x646f_7261_6e64_6f6d
        v2 = k0 ^ 0x6c79_6765_6e65_7261
        v3 = k1 ^ 0x7465_6462_7974_6573
    }

    /// Feeds one part.
    @inlinable public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        update(UInt64(truncatingIfNeeded: bytes.count))
        var offset = 0
        while bytes.count &- offset >= 8 {
            update(
                UInt64(
                    littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset &+= 8
        }
        let rest = bytes.count &- offset
        if rest == 0 { return }
        var last: UInt64 = 0
        if offset > 0 {
            // The upper part of the last eight bytes.
            last = UInt64(
                littleEndian: bytes.loadUnaligned(
                    fromByteOffset: bytes.count &- 8, as: UInt64.self))
            last &>>= UInt64(8 &* (8 &- rest))
        } else {
            for index in 0..<rest { last |= UInt64(bytes[index]) &<< UInt64(8 &* index) }
        }
        update(last)
    }

    /// Feeds a part that always has eight bytes, such as another hash; no length goes before it.
    @inlinable @inline(__always) public mutating func update(_ word: UInt64) {
        v3 ^= word
        mix()
        v0 ^= word
        count &+= 8
    }

    /// The key of all parts fed so far; never 0.
    @inlinable public func finish() -> UInt64 {
        var end = self
        end.update(count << 56)
        end.v2 ^= 0xff
        end.mix()
        end.mix()
        end.mix()
        let hash = end.v0 ^ end.v1 ^ end.v2 ^ end.v3
        return hash == 0 ? 1 : hash
    }

    /// The key of one rule for whoever has the key `hash`; never 0. `rule` is a key, too, made from
    /// the rule's name.
    @inlinable public static func key(_ hash: UInt64, rule: UInt64) -> UInt64 {
        // Both are secret; multiplied after a turn, so that (a, b) is not (b, a).
        var mixed = (hash ^ (rule << 29 | rule >> 35)) &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 32) ^ rule) &* 0xD6E8_FEB8_6659_FD93
        mixed ^= mixed >> 32
        return mixed == 0 ? 1 : mixed
    }

    @inlinable @inline(__always) mutating func mix() {
        v0 = v0 &+ v1
        v2 = v2 &+ v3
        v1 = (v1 &<< 13 | v1 &>> 51) ^ v0
        v3 = (v3 &<< 16 | v3 &>> 48) ^ v2
        v0 = v0 &<< 32 | v0 &>> 32
        v2 = v2 &+ v1
        v0 = v0 &+ v3
        v1 = (v1 &<< 17 | v1 &>> 47) ^ v2
        v3 = (v3 &<< 21 | v3 &>> 43) ^ v0
        v2 = v2 &<< 32 | v2 &>> 32
    }
}
