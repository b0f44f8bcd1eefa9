// How a key finds its slot, takes one, and has only one.

import Synchronization
import WeirTime

extension BucketTable {
    /// The slot of `key`: the first of its two blocks' sixteen that has the key.
    func find(_ key: UInt64) -> Slot? {
        let (first, second) = blocks(of: key)
        return find(key, in: first) ?? find(key, in: second)
    }

    @inline(__always)
    private func find(_ key: UInt64, in number: Int) -> Slot? {
        guard let block = block(number) else { return nil }
        for index in 0..<Self.slotsPerBlock
        where (block + index).pointee.load(ordering: .relaxed) == key {
            return Slot(block: block, number: number * Self.slotsPerBlock + index)
        }
        return nil
    }

    /// What a newcomer finds in the blocks of its key.
    enum Vacancy {
        /// A slot that is nobody's or full, and the TAT by which it is so.
        case free(Slot, tat: Int64)
        /// Somebody is taking a slot: perhaps for the same key.
        case contended
        /// All slots are busy.
        case none
    }

    /// A slot for `key` in the block that has more of them.
    func vacancy(for key: UInt64, now: Int64, ignoresLocks: Bool) -> Vacancy {
        let (first, second) = blocks(of: key)
        let here = survey(first, now: now)
        let there = survey(second, now: now)
        if !ignoresLocks, here.isContended || there.isContended { return .contended }
        guard max(here.free, there.free) > 0 else { return .none }
        let number = here.free >= there.free ? first : second
        let block = makeBlock(number)
        for wantsEmpty in [true, false] {
            for index in 0..<Self.slotsPerBlock {
                let slot = Slot(block: block, number: number * Self.slotsPerBlock + index)
                let tat = slot.tat
                guard tat != Self.locked else { continue }
                if slot.key == 0 || (!wantsEmpty && isFull(tat, now: now)) {
                    return .free(slot, tat: tat)
                }
            }
        }
        return .contended
    }

    private func survey(_ number: Int, now: Int64) -> (free: Int, isContended: Bool) {
        guard let block = block(number) else { return (Self.slotsPerBlock, false) }
        var free = 0
        var isContended = false
        for index in 0..<Self.slotsPerBlock {
            let slot = Slot(block: block, number: number * Self.slotsPerBlock + index)
            let tat = slot.tat
            if tat == Self.locked {
                isContended = true
            } else if slot.key == 0 || isFull(tat, now: now) {
                free += 1
            }
        }
        return (free, isContended)
    }

    private func isFull(_ tat: Int64, now: Int64) -> Bool {
        GCRA.ahead(of: tat, now: now &- Self.grace) == 0
    }

    /// Takes a slot for a key that has none, or finds the one that another worker has just taken
    /// for it; `nil` where all are busy.
    func claim(_ key: UInt64, tag: UInt64, now: Int64) -> Slot? {
        for attempt in 0..<2 * Self.patience {
            if let slot = find(key) { return slot }
            switch vacancy(for: key, now: now, ignoresLocks: attempt >= Self.patience) {
            case .none:
                return nil
            case .contended:
                continue
            case .free(let slot, let tat):
                guard slot.lock(tat) else { continue }
                slot.lawWord.pointee.store(tag, ordering: .relaxed)
                // In one order with the loads of `unify`: of two workers that publish the same key
                // in two slots, one sees both.
                slot.keyWord.pointee.store(key, ordering: .sequentiallyConsistent)
                slot.unlock(now)
                if let first = unify(key, now: now) { return first }
            }
        }
        return nil
    }

    /// Leaves the key the first of its slots, with the charges of all.
    private func unify(_ key: UInt64, now: Int64) -> Slot? {
        var found: Slot?
        let (first, second) = blocks(of: key)
        for number in [first, second] {
            guard let block = block(number) else { continue }
            for index in 0..<Self.slotsPerBlock
            where (block + index).pointee.load(ordering: .sequentiallyConsistent) == key {
                let slot = Slot(block: block, number: number * Self.slotsPerBlock + index)
                if let found {
                    absorb(slot, of: key, into: found, now: now)
                } else {
                    found = slot
                }
            }
        }
        return found
    }

    private func absorb(_ slot: Slot, of key: UInt64, into first: Slot, now: Int64) {
        var tat = slot.tat
        while tat != Self.locked, slot.key == key {
            guard slot.lock(tat) else {
                tat = slot.tat
                continue
            }
            slot.keyWord.pointee.store(0, ordering: .relaxed)
            // A TAT that it never had under the key: else a charge under way would succeed.
            slot.unlock(now &- 1)
            let ahead = GCRA.ahead(of: tat, now: now)
            if ahead > 0 {
                move(first, of: key, now: now) { min($0 &+ ahead, GCRA.farthest) }
            }
            return
        }
    }

    /// Sets how far the bucket is ahead, unless the slot is no longer the key's.
    func move(_ slot: Slot, of key: UInt64, now: Int64, _ change: (Int64) -> Int64) {
        while true {
            let tat = slot.tat
            guard tat != Self.locked, slot.key == key else { return }
            let ahead = GCRA.ahead(of: tat, now: now)
            let changed = change(ahead)
            if changed == ahead || slot.exchange(tat, for: now &+ changed) { return }
        }
    }
}
