// Latencies by bucket: a percentile is at most a sixteenth too high, and never too low.

package import WeirTime

/// 16 buckets to each doubling from 65 µs on, in steps of 4,096 ns below.
package struct LatencyCounts: Equatable, Sendable {
    private static let buckets = 16 * 24
    private var counts: ContiguousArray<UInt32>
    /// Samples.
    package private(set) var total = 0
    /// The longest of all.
    package private(set) var longest = Interval.zero

    package init() { counts = ContiguousArray(repeating: 0, count: Self.buckets) }

    package mutating func add(_ nanoseconds: Int64) {
        counts[Self.bucket(nanoseconds)] &+= 1
        total += 1
        if nanoseconds > longest.nanoseconds { longest = Interval(nanoseconds: nanoseconds) }
    }

    /// The time within which a share (0...1) of the samples is; `nil` without samples.
    package func quantile(_ share: Double) -> Interval? {
        guard total > 0 else { return nil }
        let rank = max(1, Int((Double(total) * share).rounded(.up)))
        var seen = 0
        for index in counts.indices where counts[index] > 0 {
            seen += Int(counts[index])
            if seen >= rank {
                return min(Interval(nanoseconds: Self.upperEdge(index)), longest)
            }
        }
        return longest
    }

    package mutating func removeAll() {
        guard total > 0 else { return }
        for index in counts.indices { counts[index] = 0 }
        total = 0
        longest = .zero
    }

    private static func bucket(_ nanoseconds: Int64) -> Int {
        let units = max(nanoseconds, 0) >> 12
        guard units >= 16 else { return Int(units) }
        let octave = 63 - units.leadingZeroBitCount
        return min((octave - 3) * 16 + Int(units >> Int64(octave - 4) & 15), buckets - 1)
    }

    private static func upperEdge(_ bucket: Int) -> Int64 {
        guard bucket >= 16 else { return Int64(bucket + 1) << 12 }
        return Int64(17 + bucket % 16) << Int64(bucket / 16 + 3 - 4 + 12)
    }
}
