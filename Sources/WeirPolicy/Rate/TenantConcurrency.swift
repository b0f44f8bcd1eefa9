// How many requests each tenant has under way, and not more than its plan allows.

import Synchronization

/// Counts by tenant, exact across workers, in a table of fixed size.
///
/// A slot is one word: 44 bits of the key's hash and a count. A tenant may be in either of two
/// blocks of eight slots; a slot whose count is 0 is free for anybody. Tenants with requests under
/// way are never more than requests under way, so a table made for as many has room for all. Where
/// sixteen others fill both blocks none the less, the request is admitted uncounted and
/// `uncounted` says so: a cap keeps one tenant from taking all, and whoever comes seventeenth has
/// not; to share a count with strangers would refuse it for what they do.
///
/// Two workers that bring the same tenant at once may take two slots for it. So whoever has counted
/// looks at the sum of all the tenant's slots once more, and takes its own count back where that is
/// over the limit: the limit is never exceeded.
public final class TenantConcurrency: Sendable {
    /// A request that counts; to be given to `release` exactly once.
    public struct Hold: Sendable {
        /// 0 for a request that is not counted.
        fileprivate let key: UInt64
        /// Where it was counted, and as whose: nearly always the place to take it back from.
        fileprivate let index: Int
        fileprivate let mark: UInt64
    }

    /// The highest limit that is kept to: 2^20 - 1.
    public static let highestLimit = Int(countMask)

    private typealias Word = Atomic<UInt64>

    // Written once, here; what it points to is atomic.
    nonisolated(unsafe) private let words: UnsafeMutablePointer<Word>
    private let blockCount: Int
    private let uncountedTotal = Atomic<UInt64>(0)

    private static let countBits: UInt64 = 20
    private static let countMask: UInt64 = 1 << countBits - 1
    private static let slotsPerBlock = 8
    private static let patience = 64

    /// Makes room for `capacity` tenants with requests under way: 16 bytes each.
    package init(capacity: Int = 32_768) {
        let capacity = min(max(1, capacity), 1 << 24)
        blockCount = max(2, (2 * capacity + Self.slotsPerBlock - 1) / Self.slotsPerBlock)
        let count = blockCount * Self.slotsPerBlock
        words = .allocate(capacity: count)
        for index in 0..<count { (words + index).initialize(to: Atomic(0)) }
    }

    deinit { words.deallocate() }

    /// Requests so far that were admitted without being counted.
    package var uncounted: UInt64 { uncountedTotal.load(ordering: .relaxed) }

    /// Counts one request more of the tenant; `nil` where it has `limit` under way.
    public func acquire(_ key: UInt64, limit: Int) -> Hold? {
        guard limit > 0 else { return nil }
        let limit = UInt64(min(limit, Self.highestLimit))
        let home = Home(of: key, among: blockCount)
        for _ in 0..<Self.patience {
            let view = look(home)
            guard view.sum < limit else { return nil }
            guard let slot = view.own ?? freeSlot(home.first) ?? freeSlot(home.second) else {
                uncountedTotal.add(1, ordering: .relaxed)
                return Hold(key: 0, index: 0, mark: 0)
            }
            let counted = view.own == nil ? home.mark | 1 : slot.word &+ 1
            guard exchange(slot, for: counted) else { continue }
            if look(home).sum <= limit {
                return Hold(key: key, index: slot.index, mark: home.mark)
            }
            decrement(home)
        }
        return nil
    }

    /// The request has ended.
    public func release(_ hold: consuming Hold) {
        guard hold.key != 0 else { return }
        let word = words[hold.index].load(ordering: .sequentiallyConsistent)
        if Self.count(in: word, of: hold.mark) != nil,
            exchange(Slot(index: hold.index, word: word), for: word &- 1)
        {
            return
        }
        decrement(Home(of: hold.key, among: blockCount))
    }

    /// Requests of the tenant that are under way and counted.
    package func count(of key: UInt64) -> Int {
        Int(look(Home(of: key, among: blockCount)).sum)
    }

    // MARK: Slots

    /// Where a key may live, and how its slots are told from others'.
    private struct Home {
        let first: Int
        let second: Int
        let mark: UInt64

        init(of key: UInt64, among blockCount: Int) {
            var hash = key &* 0x9E37_79B9_7F4A_7C15
            hash = (hash ^ (hash >> 32)) &* 0xD6E8_FEB8_6659_FD93
            hash ^= hash >> 32
            let count = UInt64(blockCount)
            let one = hash.multipliedFullWidth(by: count).high
            let turned = (hash << 32 | hash >> 32) &* 0xBF58_476D_1CE4_E5B9
            let other = turned.multipliedFullWidth(by: count).high
            first = Int(one)
            second = one != other ? Int(other) : one &+ 1 < count ? Int(one &+ 1) : 0
            // The high bits chose the block, so the mark is made of the low ones.
            mark = hash << TenantConcurrency.countBits
        }
    }

    private struct Slot {
        let index: Int
        let word: UInt64
    }

    private struct View {
        /// The first that is the tenant's.
        var own: Slot?
        var sum: UInt64 = 0
    }

    private func look(_ home: Home) -> View {
        var view = View()
        look(into: home.first, for: home.mark, &view)
        look(into: home.second, for: home.mark, &view)
        return view
    }

    @inline(__always)
    private func look(into block: Int, for mark: UInt64, _ view: inout View) {
        let first = block &* Self.slotsPerBlock
        for index in first..<(first &+ Self.slotsPerBlock) {
            let word = words[index].load(ordering: .sequentiallyConsistent)
            guard let count = Self.count(in: word, of: mark) else { continue }
            view.sum &+= count
            if view.own == nil { view.own = Slot(index: index, word: word) }
        }
    }

    /// The count in a slot that is this tenant's; `nil` where it is nobody's, or another's.
    @inline(__always)
    private static func count(in word: UInt64, of mark: UInt64) -> UInt64? {
        // Only the count is left of a word with the same mark, since a mark's low bits are 0.
        let count = word ^ mark
        return count &- 1 < countMask ? count : nil
    }

    /// A slot for a tenant that has none.
    private func freeSlot(_ block: Int) -> Slot? {
        let first = block &* Self.slotsPerBlock
        for index in first..<(first &+ Self.slotsPerBlock) {
            let word = words[index].load(ordering: .sequentiallyConsistent)
            if word & Self.countMask == 0 { return Slot(index: index, word: word) }
        }
        return nil
    }

    private func exchange(_ slot: Slot, for word: UInt64) -> Bool {
        words[slot.index].compareExchange(
            expected: slot.word, desired: word, ordering: .sequentiallyConsistent
        ).exchanged
    }

    /// Takes one off any of the tenant's slots: whoever calls has counted, so one has it.
    private func decrement(_ home: Home) {
        while let slot = look(home).own {
            if exchange(slot, for: slot.word - 1) { return }
        }
        assertionFailure("a tenant's count was given back twice")
    }
}
