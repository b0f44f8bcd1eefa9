// When a request that has no answer yet is sent to a second endpoint as well, and how often.

import Synchronization
public import WeirTime

/// When a route hedges, and how much.
package struct HedgeSettings: Equatable, Sendable {
    /// A hedge is sent once the answer takes longer than this percentage of the route's answers;
    /// above 0, below 100.
    package var percentile = 95.0
    /// Hedges for each hundred requests of the route; the cluster's retry budget applies as well.
    package var percent = 1
    /// A hedge is sent after this time instead.
    package var fixedDelay: Interval?
    package init() {}
}

/// Hedged requests of one route (Dean and Barroso, "The Tail at Scale", 2013): sent late enough
/// that few are, which is when they cost little and cut the tail most.
///
/// Workers record latencies, one addition each, into a histogram of 16 buckets to the octave, so
/// that a percentile is at most 1/16 too high, and never too low. The control thread turns it into
/// a delay; what is old weighs a quarter less each time.
///
/// Shared by all workers. Hedges have no floor (as Finagle's backup requests): a route that has few
/// requests has few hedges.
public final class HedgeDelay: Sendable {
    /// Samples that a percentile takes.
    static let fewestSamples: UInt64 = 100
    /// How often the percentile follows.
    static let refreshEvery = Interval.seconds(3)
    private static let bucketCount = 368
    private static let none: Int64 = -1

    /// What the route may hedge.
    private let allowance: RetryBudget
    private let published = Atomic<Int64>(HedgeDelay.none)
    private let counts = InlineArray<368, Atomic<UInt32>> { _ in Atomic(0) }
    private let history: Mutex<History>

    private struct History {
        var settings: HedgeSettings
        var refreshedAt = Instant.distantPast
        /// `counts` when they were last read.
        var read = [UInt32](repeating: 0, count: HedgeDelay.bucketCount)
        /// Samples by bucket, in 1/256 of a sample.
        var weights = [UInt64](repeating: 0, count: HedgeDelay.bucketCount)
    }

    package init(_ settings: HedgeSettings) {
        allowance = RetryBudget(Self.budget(settings))
        history = Mutex(History(settings: settings))
        published.store(settings.fixedDelay?.nanoseconds ?? Self.none, ordering: .relaxed)
    }

    /// Takes up new settings; what was learnt and what was spent stays.
    package func update(_ settings: HedgeSettings) {
        allowance.update(Self.budget(settings))
        history.withLock { history in
            history.settings = settings
            publish(history)
        }
    }

    private static func budget(_ settings: HedgeSettings) -> RetryBudgetSettings {
        var budget = RetryBudgetSettings()
        budget.percent = settings.percent
        return budget
    }

    // MARK: For workers

    /// How long to wait for the first byte before a hedge is sent; `nil` while too little is known.
    public func delay() -> Interval? {
        let nanoseconds = published.load(ordering: .relaxed)
        return nanoseconds < 0 ? nil : Interval(nanoseconds: nanoseconds)
    }

    /// An answer's first byte has come, this long after the request was *first* sent: of a hedged
    /// request too, since its time is above the percentile whichever endpoint has won.
    public func record(_ latency: Interval) {
        counts[Self.bucket(of: latency)].wrappingAdd(1, ordering: .relaxed)
    }

    /// A client's request has arrived on the route (once for each).
    public func deposit(now: Instant) { allowance.deposit(now: now) }

    /// Takes what one hedge costs of the route's share; `false` when it is used up. The cluster's
    /// retry budget has to be asked as well: if it refuses, `refund`.
    public func withdraw(now: Instant) -> Bool { allowance.withdraw(now: now) }

    /// Gives back what was taken at an instant for a hedge that was never sent.
    public func refund(takenAt instant: Instant) { allowance.refund(takenAt: instant) }

    // MARK: For the control thread

    /// Works the delay out anew where there is enough that is new; may be called at any rate.
    package func refresh(now: Instant) {
        history.withLock { history in
            guard now - history.refreshedAt >= Self.refreshEvery else { return }
            var fresh: UInt64 = 0
            for index in 0..<Self.bucketCount {
                fresh += UInt64(counts[index].load(ordering: .relaxed) &- history.read[index])
            }
            // With fewer the percentile of before is the better guess.
            guard fresh >= Self.fewestSamples else { return }
            history.refreshedAt = now
            for index in 0..<Self.bucketCount {
                let count = counts[index].load(ordering: .relaxed)
                let new = UInt64(count &- history.read[index])
                history.read[index] = count
                history.weights[index] = history.weights[index] / 4 * 3 + (new << 8)
            }
            publish(history)
        }
    }

    private func publish(_ history: History) {
        let nanoseconds =
            history.settings.fixedDelay?.nanoseconds ?? Self.percentile(history) ?? Self.none
        published.store(nanoseconds, ordering: .relaxed)
    }

    /// The upper edge of the bucket that the percentile lies in.
    private static func percentile(_ history: History) -> Int64? {
        let total = history.weights.reduce(0, +)
        guard total > 0 else { return nil }
        let share = min(max(history.settings.percentile, 0), 100) / 100
        var rest = Double(total) * share
        for (index, weight) in history.weights.enumerated() where weight > 0 {
            rest -= Double(weight)
            if rest <= 0 { return upperEdge(of: index) }
        }
        return history.weights.lastIndex { $0 > 0 }.map(upperEdge)
    }

    // MARK: Buckets

    /// In units of 4,096 ns: one bucket a unit below 16, then 16 buckets to each doubling, up to
    /// 275 s.
    private static func bucket(of latency: Interval) -> Int {
        let units = min(max(latency.nanoseconds, 0) >> 12, (1 << 26) - 1)
        guard units >= 16 else { return Int(units) }
        let octave = Int64(units.bitWidth - 1 - units.leadingZeroBitCount)
        return Int((octave - 3) * 16 + ((units >> (octave - 4)) & 15))
    }

    private static func upperEdge(of bucket: Int) -> Int64 {
        let index = Int64(bucket)
        guard index >= 16 else { return (index + 1) << 12 }
        let octave = index / 16 + 3
        return (17 + index % 16) << (octave + 8)
    }
}
