// Charging a bucket, giving back, and asking, whatever else the other workers do to it.

import Synchronization
import WeirTime

extension BucketTable {
    /// What a bucket says to a charge.
    struct Answer {
        /// As in `GCRA.Step`.
        var wait: Int64
        var ahead: Int64
        /// Where the charge was made; 0 for nowhere.
        var place: UInt32
    }

    /// Spends `cost` tokens of the key's bucket, or none.
    func charge(_ key: UInt64, law: RateLaw, cost: Int64, now: Instant) -> Answer {
        // What can never be admitted takes nobody's slot, and what costs nothing needs none.
        let (price, isTooDear) = cost.multipliedReportingOverflow(by: law.emission)
        if cost <= 0 || isTooDear || price > law.tolerance {
            return peek(key, law: law, cost: cost, now: now)
        }
        let ticks = GCRA.ticks(now)
        for _ in 0..<Self.patience {
            guard let slot = find(key) ?? claim(key, tag: law.tag, now: ticks) else { break }
            if let answer = charge(slot, of: key, law: law, cost: cost, now: now) {
                return answer
            }
        }
        return chargeShared(key, law: law, cost: cost, now: now)
    }

    /// `nil` where the slot is locked or has gone to another key meanwhile.
    private func charge(
        _ slot: Slot, of key: UInt64, law: RateLaw, cost: Int64, now: Instant
    ) -> Answer? {
        while let (tat, tag) = read(slot, of: key) {
            guard tag == law.tag else {
                adopt(law, insteadOf: tag, at: slot, tat: tat, now: GCRA.ticks(now))
                continue
            }
            let step = GCRA.step(
                tat: tat, now: now, emission: law.emission, tolerance: law.tolerance, cost: cost)
            guard step.isAdmitted else {
                return Answer(wait: step.wait, ahead: step.ahead, place: 0)
            }
            if slot.exchange(tat, for: step.tat) {
                return Answer(
                    wait: 0, ahead: step.ahead, place: UInt32(truncatingIfNeeded: slot.number + 1))
            }
        }
        return nil
    }

    /// The key's TAT and the law it is by; `nil` where the slot is locked or another key's.
    private func read(_ slot: Slot, of key: UInt64) -> (tat: Int64, tag: UInt64)? {
        var tat = slot.tat
        while tat != Self.locked, slot.key == key {
            let tag = slot.law
            // A law only changes with the TAT.
            let again = slot.tat
            if again == tat { return (tat, tag) }
            tat = again
        }
        return nil
    }

    /// Takes up the law of a reload: as many tokens stay spent as were, or all of them where the
    /// burst is smaller now. The slot is locked between the two words.
    ///
    /// While workers are between two generations the law may change to and fro. That keeps what is
    /// spent, except what is beyond the smaller of two bursts.
    private func adopt(
        _ law: RateLaw, insteadOf tag: UInt64, at slot: Slot, tat: Int64, now: Int64
    ) {
        guard slot.lock(tat) else { return }
        slot.lawWord.pointee.store(law.tag, ordering: .relaxed)
        let ahead = GCRA.ahead(of: tat, now: now)
        let old = RateLaw.emission(ofTag: tag)
        let moved = now &+ GCRA.rescaled(ahead, from: old, to: law)
        // Never the same TAT under two laws.
        slot.unlock(moved == tat ? moved &+ 1 : moved)
    }

    // MARK: Shared buckets

    /// Newcomers of other laws get another bucket: a rate of one an hour must not be met by
    /// somebody whose own is a thousand a second.
    private func sharedIndex(_ key: UInt64, law: RateLaw) -> Int {
        let (first, _) = blocks(of: key)
        let hash = (UInt64(first) &+ law.tag) &* 0x9E37_79B9_7F4A_7C15
        return Int(hash.multipliedFullWidth(by: UInt64(sharedCount)).high)
    }

    private func chargeShared(_ key: UInt64, law: RateLaw, cost: Int64, now: Instant) -> Answer {
        let index = sharedIndex(key, law: law)
        var word = shared[index].load(ordering: .acquiring)
        while true {
            let step = GCRA.step(
                tat: Int64(bitPattern: word), now: now, emission: law.emission,
                tolerance: law.tolerance, cost: cost)
            guard step.isAdmitted else {
                return Answer(wait: step.wait, ahead: step.ahead, place: 0)
            }
            let (exchanged, original) = shared[index].compareExchange(
                expected: word, desired: UInt64(bitPattern: step.tat),
                ordering: .acquiringAndReleasing)
            if exchanged {
                sharedChargeCount.add(1, ordering: .relaxed)
                let place = Self.sharedMark | UInt32(truncatingIfNeeded: index)
                return Answer(wait: 0, ahead: step.ahead, place: place)
            }
            word = original
        }
    }

    // MARK: Asking

    /// What a charge would come to.
    func peek(_ key: UInt64, law: RateLaw, cost: Int64, now: Instant) -> Answer {
        let step = GCRA.step(
            tat: tat(of: key, law: law, now: now), now: now, emission: law.emission,
            tolerance: law.tolerance, cost: cost)
        return Answer(wait: step.wait, ahead: step.ahead, place: 0)
    }

    /// The TAT that a charge of the key would meet, by the law.
    private func tat(of key: UInt64, law: RateLaw, now: Instant) -> Int64 {
        let ticks = GCRA.ticks(now)
        if let slot = find(key) {
            guard let (tat, tag) = read(slot, of: key) else { return ticks }
            guard tag != law.tag else { return tat }
            let ahead = GCRA.ahead(of: tat, now: ticks)
            let old = RateLaw.emission(ofTag: tag)
            return ticks &+ GCRA.rescaled(ahead, from: old, to: law)
        }
        guard isCrowded(key, now: ticks) else { return ticks }
        let index = sharedIndex(key, law: law)
        return Int64(bitPattern: shared[index].load(ordering: .acquiring))
    }

    /// Whether a newcomer would share a bucket.
    private func isCrowded(_ key: UInt64, now: Int64) -> Bool {
        if case .none = vacancy(for: key, now: now, ignoresLocks: true) { return true }
        return false
    }

    /// How far the key's bucket is ahead by the law, in ticks; `nil` where the key has none.
    func ahead(of key: UInt64, law: RateLaw, now: Instant) -> Int64? {
        guard find(key) != nil else { return nil }
        return GCRA.ahead(of: tat(of: key, law: law, now: now), now: GCRA.ticks(now))
    }

    // MARK: Giving back

    /// Gives back `cost` tokens that were charged at `place`. A bucket that was given to another
    /// key since had been full: there is nothing to give back.
    func refund(_ key: UInt64, law: RateLaw, cost: Int64, place: UInt32) {
        guard place != 0, cost > 0 else { return }
        guard place & Self.sharedMark == 0 else {
            let price = RateLaw.span(of: cost, emission: law.emission)
            shared[Int(place & ~Self.sharedMark)].wrappingSubtract(
                UInt64(bitPattern: price), ordering: .acquiringAndReleasing)
            return
        }
        var patience = Self.patience
        while patience > 0, let slot = slot(of: key, at: place) {
            let tat = slot.tat
            guard tat != Self.locked, slot.key == key else {
                patience -= 1
                continue
            }
            // By the law of the bucket: a reload may have rescaled what the ticket has paid.
            let emission = RateLaw.emission(ofTag: slot.law)
            let price = RateLaw.span(of: cost, emission: emission)
            if slot.exchange(tat, for: tat &- price) { return }
        }
    }

    /// Charges `cost` tokens more, whether there are as many or not, down to a debt of one burst.
    func chargeMore(_ key: UInt64, law: RateLaw, cost: Int64, place: UInt32, now: Instant) {
        guard place != 0, cost > 0 else { return }
        let ticks = GCRA.ticks(now)
        guard place & Self.sharedMark == 0 else {
            let index = Int(place & ~Self.sharedMark)
            var word = shared[index].load(ordering: .acquiring)
            while true {
                let ahead = GCRA.ahead(of: Int64(bitPattern: word), now: ticks)
                let after = Self.deeper(ahead, by: cost, law: law, emission: law.emission)
                let (exchanged, original) = shared[index].compareExchange(
                    expected: word, desired: UInt64(bitPattern: ticks &+ after),
                    ordering: .acquiringAndReleasing)
                if exchanged { return }
                word = original
            }
        }
        guard let slot = slot(of: key, at: place) ?? claim(key, tag: law.tag, now: ticks) else {
            return
        }
        move(slot, of: key, now: ticks) {
            Self.deeper(
                $0, by: cost, law: law, emission: RateLaw.emission(ofTag: slot.law))
        }
    }

    /// What is ahead after `cost` tokens more: two bursts at most, spent and owed, of the law that
    /// was charged.
    private static func deeper(
        _ ahead: Int64, by cost: Int64, law: RateLaw, emission: Int64
    ) -> Int64 {
        let floor = 2 * RateLaw.span(of: law.burst, emission: emission)
        let price = RateLaw.span(of: cost, emission: emission)
        return max(ahead, min(ahead &+ price, floor))
    }

    /// The slot in which a charge was made, or where the key lives now.
    private func slot(of key: UInt64, at place: UInt32) -> Slot? {
        let number = Int(place) - 1
        if let block = block(number / Self.slotsPerBlock) {
            let slot = Slot(block: block, number: number)
            if slot.key == key { return slot }
        }
        return find(key)
    }
}
