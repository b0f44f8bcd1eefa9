// How many retries a cluster's traffic earns: a rate, shared by retries and hedges.

import Synchronization
public import WeirTime

/// A retry budget's values. `package` in WeirConfig's hands.
package struct RetryBudgetSettings: Equatable, Sendable {
    /// Retries for each hundred requests of the window; 0...10,000.
    package var percent = 10
    /// Retries that are allowed however few requests there are. With 0 one request in
    /// `100 / percent` is still retried at any load; a floor adds retries that no request has
    /// earned, and each instance of weir adds its own. Has no effect below one in a window.
    package var minPerSecond = 0.0
    /// What `percent` looks back on; at least 20 ms.
    package var window = Interval.seconds(10)
    package init() {}
}

/// The retry budget of one cluster: a rate (as Finagle's `RetryBudget`, 2016, and Linkerd's), so
/// that neither the latency of failures nor the number of clients changes what it allows.
///
/// A retry is allowed while both hold, the retry itself counted:
/// - **It has been earned.** Each request earns `percent` of a retry, into a bucket that holds what
///   a tenth of the window earns (of its requests on average, or of its last tenth's if they are
///   more), or one retry: what a quiet time has earned is not spent on a loud one.
/// - **The window** has at most `percent` of its requests in retries, and the floor; or this is its
///   only one: a cluster with little traffic has the same share as others.
///
/// Where the bucket is empty a retry is allowed as well while the last tenth has fewer than a tenth
/// of the floor, or none.
///
/// Hence, without a floor, retries are at most `percent` of requests over any time that begins with
/// the budget; over any other, of its requests and those of a tenth of the window. In the window
/// that ends with a retry they are at most `percent`, or one. They may exceed it in a window that
/// ends later, when requests have left it and their retries not yet.
///
/// The window rolls by twentieths. Requests are counted over 20 slots, the unfinished one among
/// them, and retries over 21: less and more than the window, so that slots never allow what the
/// exact window would not. That costs a twentieth of the budget on average.
///
/// Shared by all workers, without locks. A deposit is one addition and, once a slot, an exchange.
/// Retries are counted before they are checked, so workers that race allow less, never more.
public final class RetryBudget: Sendable {
    private static let slots: Int32 = 20
    /// Slots that make up the last tenth of the window, the unfinished one among them.
    private static let recentSlots: Int32 = 2
    private static let ring: UInt32 = 32
    /// In no slot that a clock reaches within a thousand years.
    private static let unused: UInt64 = 0x8000_0000 << 32

    private let percent = Atomic<UInt64>(0)
    /// Hundredths of retries in a window.
    private let floor = Atomic<UInt64>(0)
    private let slotLength = Atomic<Int64>(1)

    private let requests = Atomic<UInt64>(0)
    /// How many of `requests` have been spent on retries, or have earned what the bucket could not
    /// hold; in `shares` of one. What is between this and `requests` is in the bucket.
    private let used = Atomic<UInt64>(0)
    private static let shares: UInt64 = 10_000
    /// By slot: its number (high half) and `requests` before its first one (low half).
    private let marks = InlineArray<32, Atomic<UInt64>> { _ in Atomic(RetryBudget.unused) }
    /// By slot: its number (high half) and its retries (low half).
    private let spent = InlineArray<32, Atomic<UInt64>> { _ in Atomic(RetryBudget.unused) }

    package init(_ settings: RetryBudgetSettings) { apply(settings) }

    /// Takes up new settings. What was counted stays, unless the window is another one.
    package func update(_ settings: RetryBudgetSettings) { apply(settings) }

    private func apply(_ settings: RetryBudgetSettings) {
        let window = max(settings.window, .milliseconds(20))
        percent.store(UInt64(min(max(settings.percent, 0), 10_000)), ordering: .relaxed)
        // 10^12 is no limit, and far from overflow with anything that is added to it.
        let perWindow = settings.minPerSecond * window.seconds * 100
        floor.store(perWindow > 0 ? UInt64(min(perWindow, 1e12)) : 0, ordering: .relaxed)
        let length = window.nanoseconds / Int64(Self.slots)
        guard slotLength.exchange(length, ordering: .relaxed) != length else { return }
        for index in 0..<Int(Self.ring) {
            marks[index].store(Self.unused, ordering: .relaxed)
            spent[index].store(Self.unused, ordering: .relaxed)
        }
    }

    // MARK: Requests

    /// A client's request has arrived (once for each, whatever its attempts).
    public func deposit(now: Instant) {
        let before = requests.wrappingAdd(1, ordering: .relaxed).oldValue
        let slot = slot(of: now)
        let seen = marks[index(slot)].load(ordering: .relaxed)
        if Self.number(seen) != slot { mark(slot, before, seen: seen) }
    }

    /// Notes where a slot begins. Whoever loses the race finds it noted.
    @inline(never)
    private func mark(_ slot: UInt32, _ before: UInt64, seen: UInt64) {
        let word = Self.word(slot, UInt32(truncatingIfNeeded: before))
        // Releasing: who reads the mark must not read a count of requests from before it.
        _ = marks[index(slot)].compareExchange(
            expected: seen, desired: word, successOrdering: .releasing, failureOrdering: .relaxed)
    }

    /// Requests of so many slots, the last of which is `slot`.
    private func requests(until slot: UInt32, slots: Int32 = RetryBudget.slots) -> UInt64 {
        for age in (0..<UInt32(slots)).reversed() {
            let mark = marks[index(slot &- age)].load(ordering: .acquiring)
            guard Self.number(mark) == slot &- age else { continue }
            let now = UInt32(truncatingIfNeeded: requests.load(ordering: .relaxed))
            return UInt64(now &- Self.count(mark))
        }
        return 0
    }

    // MARK: Retries

    /// Takes what one retry or hedge costs; `false` when the budget is used up.
    public func withdraw(now: Instant) -> Bool {
        let slot = slot(of: now)
        // Looked at first, so that refusals, of which there are many when all fails, write nothing.
        guard mayTake(1, slot, isEarned: true) else { return false }
        let isEarned = takeEarned(slot)
        guard isEarned || mayTake(1, slot, isEarned: false) else { return false }
        add(slot)
        if mayTake(0, slot, isEarned: isEarned) { return true }
        _ = subtract(slot)
        if isEarned { putBack() }
        return false
    }

    /// Gives back what was taken at an instant for one that was never sent.
    public func refund(takenAt instant: Instant) {
        if subtract(slot(of: instant)) { putBack() }
    }

    // MARK: What has been earned

    /// Shares of requests that one retry takes; `nil` where none is earned.
    private var price: UInt64? {
        let percent = percent.load(ordering: .relaxed)
        return percent == 0 ? nil : (100 * Self.shares + percent - 1) / percent
    }

    private func takeEarned(_ slot: UInt32) -> Bool {
        guard let price else { return false }
        let filling = max(
            requests(until: slot, slots: Self.recentSlots), requests(until: slot) / 10)
        let most = max(filling * Self.shares, price)
        // Acquiring: a count of requests from before the last retry would seem to have earned much.
        var seen = used.load(ordering: .acquiring)
        while true {
            let earned = requests.load(ordering: .relaxed) &* Self.shares
            let left = min(earned &- seen, most)
            guard left >= price else { return false }
            let (won, now) = used.weakCompareExchange(
                expected: seen, desired: earned &- (left - price),
                successOrdering: .acquiringAndReleasing, failureOrdering: .acquiring)
            if won { return true }
            seen = now
        }
    }

    private func putBack() {
        if let price { used.wrappingSubtract(price, ordering: .relaxed) }
    }

    // MARK: What the window has seen

    /// Whether `more` retries than those counted are within the window, and those that nothing has
    /// earned within the floor.
    private func mayTake(_ more: UInt64, _ slot: UInt32, isEarned: Bool) -> Bool {
        var recent = more
        var whole = more
        // Another worker's clock may be a turn of its loop ahead, and in the next slot.
        for age in -1...Self.slots {
            let number = slot &- UInt32(truncatingIfNeeded: age)
            let word = spent[index(number)].load(ordering: .sequentiallyConsistent)
            guard Self.number(word) == number else { continue }
            whole += UInt64(Self.count(word))
            if age < Self.recentSlots { recent += UInt64(Self.count(word)) }
        }
        let floor = floor.load(ordering: .relaxed)
        let allowed = requests(until: slot) &* percent.load(ordering: .relaxed) &+ floor
        if isEarned { return whole == 1 || whole * 100 <= allowed }
        return whole * 100 <= allowed && floor > 0 && recent * 100 <= max(floor / 10, 100)
    }

    private func add(_ slot: UInt32) {
        let word = spent[index(slot)].load(ordering: .relaxed)
        exchange(slot, from: word) { $0 &+ 1 }
    }

    /// `false` where nothing is counted in the slot.
    private func subtract(_ slot: UInt32) -> Bool {
        let word = spent[index(slot)].load(ordering: .relaxed)
        guard Self.number(word) == slot, Self.count(word) > 0 else { return false }
        return exchange(slot, from: word) { $0 == 0 ? nil : $0 - 1 }
    }

    @discardableResult
    private func exchange(
        _ slot: UInt32, from word: UInt64, _ change: (UInt32) -> UInt32?
    ) -> Bool {
        var seen = word
        while let count = change(Self.number(seen) == slot ? Self.count(seen) : 0) {
            // Sequentially consistent: two that race each see the other's retry, or one of them
            // does; that neither does would let both through.
            let (won, now) = spent[index(slot)].weakCompareExchange(
                expected: seen, desired: Self.word(slot, count),
                ordering: .sequentiallyConsistent)
            if won { return true }
            seen = now
        }
        return false
    }

    // MARK: Slots

    /// Numbers wrap around after two thousand million slots, which is as good as never.
    private func slot(of now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.slot(ofLength: slotLength.load(ordering: .relaxed)))
    }

    private func index(_ slot: UInt32) -> Int { Int(slot & (Self.ring - 1)) }

    private static func word(_ slot: UInt32, _ count: UInt32) -> UInt64 {
        (UInt64(slot) << 32) | UInt64(count)
    }
    private static func number(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word >> 32) }
    private static func count(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }

    // MARK: For the status page

    /// Requests and retries of the window that ends now.
    package func counts(now: Instant) -> (requests: Int, retries: Int) {
        let slot = slot(of: now)
        var retries = 0
        for age in 0...UInt32(Self.slots) {
            let word = spent[index(slot &- age)].load(ordering: .relaxed)
            if Self.number(word) == slot &- age { retries += Int(Self.count(word)) }
        }
        return (Int(requests(until: slot)), retries)
    }
}
