// Numbers that the input itself decides: where it is cut, and under which limits it is read.

/// SplitMix64 seeded with a hash of the input. So the seeds of a corpus are plain messages, and a
/// finding is reproduced by its input alone.
package struct Choices {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    package init(_ input: UnsafeRawBufferPointer) {
        for byte in input { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }

    /// Less than `bound`, which is more than zero.
    package mutating func below(_ bound: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int(truncatingIfNeeded: (mixed ^ (mixed >> 31)) >> 1) % bound
    }

    /// Where the pieces of `count` bytes end: few pieces, or one a byte. The last end is `count`.
    package mutating func cuts(of count: Int) -> [Int] {
        guard count > 1 else { return [count] }
        if count <= 200, below(8) == 0 { return Array(1...count) }
        var ends = (0...below(3)).map { _ in 1 + below(count - 1) }
        ends.append(count)
        return ends.sorted()
    }
}
