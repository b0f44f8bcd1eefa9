// How long a route's answers take, so that a slow route is not taken for a slow endpoint.

import Synchronization
public import WeirTime

/// The usual latency of one of several routes that lead to a cluster. Workers add what they see;
/// the control thread says how much an answer of the route weighs.
public final class RouteTempo: Sendable {
    /// Nanoseconds in all; it may wrap, differences do not.
    fileprivate let sum = Atomic<UInt64>(0)
    fileprivate let count = Atomic<UInt64>(0)
    private let published = Atomic<Int64>(RouteTempo.one)

    /// 1 in 16.16 fixed point.
    static let one: Int64 = 1 << 16

    package init() {}

    /// What latencies of the route are multiplied by, in 16.16 fixed point: from 1/64 to 64.
    public fileprivate(set) var scale: Int64 {
        get { published.load(ordering: .relaxed) }
        set { published.store(newValue, ordering: .relaxed) }
    }

    /// Takes in the time that an endpoint needed to answer.
    public func add(_ latency: Interval) {
        sum.wrappingAdd(UInt64(max(latency.nanoseconds, 0)), ordering: .relaxed)
        count.wrappingAdd(1, ordering: .relaxed)
    }
}

/// Compares the routes of one cluster; control thread.
///
///     u(r)   mean latency of route r, over about half a minute
///     w(r)   r's share of the cluster's answers, over about two minutes
///     scale(r) = (Σ w u) / u(r)
///
/// When the mix of routes changes, only `w` follows, and slowly, so that neither a limit nor a
/// comparison of endpoints sees a change. When the cluster becomes slower, all `u` do, and it
/// shows. While the mix is what it was, the mean of what is scaled is the plain mean, as Little's
/// law wants it in the limiter.
struct RouteComparison {
    private struct Row {
        let tempo: RouteTempo
        var seenSum: UInt64
        var seenCount: UInt64
        var sum = 0.0
        var count = 0.0
        var share = 0.0
    }

    private var rows: [Row] = []
    private var lookedAt = Instant.distantPast

    private static let period = Interval.seconds(1)
    /// What a period leaves of the past: e^(-1/30) and e^(-1/120).
    private static let keptOfLatency = 0.967
    private static let keptOfShare = 0.9917
    /// Answers that a mean takes.
    private static let fewest = 100.0
    private static let most = 64.0

    /// Takes up the routes that lead to the cluster now; who stays keeps what is known of it.
    mutating func update(_ tempos: [RouteTempo]) {
        let old = rows
        rows = tempos.map { tempo in
            old.first { $0.tempo === tempo }
                ?? Row(
                    tempo: tempo, seenSum: tempo.sum.load(ordering: .relaxed),
                    seenCount: tempo.count.load(ordering: .relaxed))
        }
        if rows.count < 2 { for row in rows { row.tempo.scale = RouteTempo.one } }
    }

    /// Looks at the routes, once a second.
    mutating func tick(now: Instant) {
        guard rows.count > 1, now - lookedAt >= Self.period else { return }
        lookedAt = now
        var weighted = 0.0
        var shares = 0.0
        for index in rows.indices {
            read(&rows[index])
            guard let usual = Self.usual(rows[index]) else { continue }
            weighted += rows[index].share * usual
            shares += rows[index].share
        }
        guard shares > 0 else { return }
        for row in rows {
            // A route with too few answers stays as it was.
            guard let usual = Self.usual(row) else { continue }
            let scale = min(max(weighted / shares / usual, 1 / Self.most), Self.most)
            row.tempo.scale = Int64((scale * Double(RouteTempo.one)).rounded())
        }
    }

    private func read(_ row: inout Row) {
        let sum = row.tempo.sum.load(ordering: .relaxed)
        let count = row.tempo.count.load(ordering: .relaxed)
        let answers = Double(count &- row.seenCount)
        row.sum = row.sum * Self.keptOfLatency + Double(sum &- row.seenSum)
        row.count = row.count * Self.keptOfLatency + answers
        row.share = row.share * Self.keptOfShare + answers
        (row.seenSum, row.seenCount) = (sum, count)
    }

    private static func usual(_ row: Row) -> Double? {
        row.count >= fewest && row.sum > 0 ? row.sum / row.count : nil
    }
}
