// All token buckets of the process: a table of fixed size in which a busy bucket is never lost.

import Synchronization
package import WeirTime

/// Buckets by key, shared by all workers without a lock, carried over every reload.
///
/// A key may live in either of two blocks of eight slots; it goes where more are free (Azar et al.,
/// 1994), which fills blocks so evenly that `capacity` busy keys find a slot each. A bucket that is
/// full is like a new one, so its slot may be given to another key; a busy one is never given away.
/// Where all sixteen slots are busy, newcomers share a bucket with each other (by hash and law, in
/// an array of its own: nobody who has a bucket is touched) and `sharedCharges` counts them.
///
/// Memory is taken by the segment, when a first key falls into it, up to `bytes(for:)`.
///
/// **Who may write what.** A slot is a key, a TAT and the tag of a law. Charges compare-and-swap
/// the TAT. Who gives a slot to another key first swaps the TAT for `locked`, which proves that
/// nobody has charged it since it was found full, then writes key and law, then a TAT of now. The
/// TAT of a slot thereby never has a value again that it had under another key: who has read a TAT
/// and after it the key, and then swaps the TAT, has charged that key. The law of a slot changes in
/// the same way. A lock is held for a few instructions. Whoever finds one looks again; where its
/// holder has been put to sleep, `patience` ends and the request goes to a shared bucket.
///
/// **Two workers that bring the same new key** mostly swap the same slot, and one loses. Where they
/// took different ones, whoever published second sees both and moves the charges of the later slot
/// to the earlier, which is the one that everybody finds first. Until then, some hundred
/// nanoseconds, the key has two buckets; no charge is lost.
public final class BucketTable: Sendable {
    typealias Word = Atomic<UInt64>

    // Written once, here; what they point to is atomic.
    nonisolated(unsafe) let segments: UnsafeMutablePointer<Atomic<UnsafeMutableRawPointer?>>
    nonisolated(unsafe) let shared: UnsafeMutablePointer<Word>
    let segmentCount: Int
    let sharedCount: Int
    let blockCount: Int
    private let allocated = Atomic<Int>(0)
    let sharedChargeCount = Atomic<UInt64>(0)

    static let slotsPerBlock = 8
    /// Eight keys, which are a cache line, then eight pairs of TAT and law.
    static let wordsPerBlock = 24
    static let blocksPerSegment = 16
    static let segmentBytes = blocksPerSegment * wordsPerBlock * 8
    /// The TAT of a slot that is being given to another key.
    static let locked = Int64.min
    /// Workers read the clock once a turn: a bucket counts as full only when it is so even for one
    /// that is this far behind. It also keeps a slot for the time from its claim to its charge.
    static let grace: Int64 = 10_000_000 << GCRA.tickShift
    /// How often a request looks again where a slot is locked: some microseconds.
    static let patience = 128
    /// Set in a `place` that is one of the shared buckets.
    static let sharedMark: UInt32 = 1 << 31

    /// Makes room for `capacity` busy keys, 67,108,864 at most.
    package init(capacity: Int) {
        let capacity = Self.clamped(capacity)
        blockCount = Self.blockCount(for: capacity)
        segmentCount = Self.segmentCount(for: capacity)
        sharedCount = Self.sharedCount(for: capacity)
        segments = .allocate(capacity: segmentCount)
        for index in 0..<segmentCount { (segments + index).initialize(to: Atomic(nil)) }
        shared = .allocate(capacity: sharedCount)
        for index in 0..<sharedCount { (shared + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for index in 0..<segmentCount {
            segments[index].load(ordering: .acquiring)?.deallocate()
        }
        segments.deallocate()
        shared.deallocate()
    }

    private static func clamped(_ capacity: Int) -> Int { min(max(1, capacity), 1 << 26) }
    /// Half of the slots stay free when `capacity` keys are busy.
    private static func blockCount(for capacity: Int) -> Int {
        max(2, (2 * capacity + slotsPerBlock - 1) / slotsPerBlock)
    }
    private static func segmentCount(for capacity: Int) -> Int {
        (blockCount(for: capacity) + blocksPerSegment - 1) / blocksPerSegment
    }
    private static func sharedCount(for capacity: Int) -> Int { max(64, capacity / 64) }

    /// The most memory that a table of `capacity` ever takes, in bytes, without the allocator's
    /// own.
    package static func bytes(for capacity: Int) -> Int {
        let capacity = clamped(capacity)
        return segmentCount(for: capacity) * (segmentBytes + 8) + sharedCount(for: capacity) * 8
    }

    /// The memory that the table takes now, in bytes.
    package var bytes: Int {
        segmentCount * 8 + sharedCount * 8 + allocated.load(ordering: .relaxed)
    }

    /// Charges so far that were made to a bucket shared for want of a free slot.
    package var sharedCharges: UInt64 { sharedChargeCount.load(ordering: .relaxed) }

    /// Keys whose bucket is not full. Looks at every slot: for a status page, not for a request.
    package func busyCount(now: Instant) -> Int {
        let ticks = GCRA.ticks(now)
        var count = 0
        for number in 0..<blockCount {
            guard let block = block(number) else { continue }
            for index in 0..<Self.slotsPerBlock {
                let slot = Slot(block: block, number: number * Self.slotsPerBlock + index)
                let tat = slot.tat
                if slot.key != 0, tat != Self.locked, GCRA.ahead(of: tat, now: ticks) > 0 {
                    count += 1
                }
            }
        }
        return count
    }

    // MARK: Slots

    /// One bucket's place.
    struct Slot {
        let block: UnsafeMutablePointer<Word>
        /// Counted through all blocks.
        let number: Int

        var index: Int { number & (BucketTable.slotsPerBlock - 1) }
        var keyWord: UnsafeMutablePointer<Word> { block + index }
        var tatWord: UnsafeMutablePointer<Word> { block + (8 + 2 * index) }
        var lawWord: UnsafeMutablePointer<Word> { block + (9 + 2 * index) }

        var key: UInt64 { keyWord.pointee.load(ordering: .relaxed) }
        var law: UInt64 { lawWord.pointee.load(ordering: .acquiring) }
        var tat: Int64 { Int64(bitPattern: tatWord.pointee.load(ordering: .acquiring)) }

        /// Swaps the TAT where it still is `old`.
        func exchange(_ old: Int64, for new: Int64) -> Bool {
            // The one value that is taken: a 256th of a nanosecond later is as good.
            let new = new == BucketTable.locked ? new &+ 1 : new
            return swap(old, for: new)
        }

        func lock(_ old: Int64) -> Bool { swap(old, for: BucketTable.locked) }

        /// Ends a `lock`.
        func unlock(_ tat: Int64) {
            let tat = tat == BucketTable.locked ? tat &+ 1 : tat
            tatWord.pointee.store(UInt64(bitPattern: tat), ordering: .releasing)
        }

        private func swap(_ old: Int64, for new: Int64) -> Bool {
            tatWord.pointee.compareExchange(
                expected: UInt64(bitPattern: old), desired: UInt64(bitPattern: new),
                ordering: .acquiringAndReleasing
            ).exchanged
        }
    }

    /// The two blocks in which a key may live; never the same twice.
    @inline(__always)
    func blocks(of key: UInt64) -> (Int, Int) {
        var hash = key &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ (hash >> 32)) &* 0xD6E8_FEB8_6659_FD93
        hash ^= hash >> 32
        let count = UInt64(blockCount)
        let first = hash.multipliedFullWidth(by: count).high
        let other = (hash << 32 | hash >> 32) &* 0xBF58_476D_1CE4_E5B9
        let second = other.multipliedFullWidth(by: count).high
        if first != second { return (Int(first), Int(second)) }
        return (Int(first), first &+ 1 < count ? Int(first &+ 1) : 0)
    }

    /// The block's words; `nil` while its segment has no memory, because no key is there.
    func block(_ number: Int) -> UnsafeMutablePointer<Word>? {
        guard
            let segment = segments[number / Self.blocksPerSegment].load(ordering: .acquiring)
        else { return nil }
        return Self.block(number, in: segment)
    }

    private static func block(
        _ number: Int, in segment: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<Word> {
        segment.assumingMemoryBound(to: Word.self) + number % blocksPerSegment * wordsPerBlock
    }

    /// The block's words, with memory.
    func makeBlock(_ number: Int) -> UnsafeMutablePointer<Word> {
        if let block = block(number) { return block }
        let raw = UnsafeMutableRawPointer.allocate(byteCount: Self.segmentBytes, alignment: 64)
        let words = Self.segmentBytes / 8
        let memory = raw.bindMemory(to: Word.self, capacity: words)
        for index in 0..<words { (memory + index).initialize(to: Atomic(0)) }
        let (exchanged, original) = segments[number / Self.blocksPerSegment].compareExchange(
            expected: nil, desired: raw, ordering: .acquiringAndReleasing)
        if !exchanged, let original {
            raw.deallocate()
            return Self.block(number, in: original)
        }
        allocated.add(Self.segmentBytes, ordering: .relaxed)
        return Self.block(number, in: raw)
    }
}
