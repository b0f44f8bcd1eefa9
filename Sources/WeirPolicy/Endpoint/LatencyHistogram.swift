// How long an endpoint takes to answer, as counts by duration.

import Synchronization
package import WeirTime

/// Log-linear buckets: sixteen to an octave, from a microsecond to two minutes, so that a value is
/// known to within 3 % (the idea of HdrHistogram: Tene, 2012).
enum LatencyScale {
    private static let subBits = 4
    private static let topBit = 27
    static let buckets = (topBit - subBits + 1) * 16 + 16

    /// The bucket that `nanoseconds` falls into; what is too long falls into the last.
    static func bucket(of nanoseconds: Int64) -> Int {
        let value = UInt64(max(nanoseconds, 0)) >> 10
        guard value >= 16 else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        guard exponent <= topBit else { return buckets - 1 }
        return (exponent - subBits + 1) * 16 + Int((value >> UInt64(exponent - subBits)) & 15)
    }

    /// Where the bucket begins and how wide it is, in nanoseconds.
    static func range(of bucket: Int) -> (low: Double, width: Double) {
        guard bucket >= 16 else { return (Double(bucket << 10), 1024) }
        let exponent = bucket / 16 - 1 + subBits
        let low = (16 + bucket % 16) << (exponent - subBits)
        return (Double(low << 10), Double(1 << (exponent - subBits + 10)))
    }
}

/// Counts since the endpoint is known. Many threads add; the control thread takes differences.
struct LatencyHistogram: ~Copyable, Sendable {
    private let row = AtomicRow(count: LatencyScale.buckets)
    /// A bit for each octave with a change that has not been read. A change that is seen too late
    /// for this reading is found with the next one.
    private let touched = Atomic<UInt32>(0)

    @inline(__always) func add(_ nanoseconds: Int64) {
        let bucket = LatencyScale.bucket(of: nanoseconds)
        row.increment(at: bucket)
        let bit = UInt32(1) << UInt32(bucket / 16)
        if touched.load(ordering: .relaxed) & bit == 0 {
            touched.bitwiseOr(bit, ordering: .relaxed)
        }
    }

    /// What has been added since `seen` was last brought up to date, which it is now.
    func difference(since seen: inout [UInt32], into fresh: inout LatencyCounts) {
        fresh.clear()
        var octaves = touched.exchange(0, ordering: .acquiringAndReleasing)
        while octaves != 0 {
            let octave = octaves.trailingZeroBitCount
            octaves &= octaves - 1
            for bucket in octave * 16..<octave * 16 + 16 {
                let value = row.value(at: bucket)
                let added = value &- seen[bucket]
                guard added != 0 else { continue }
                seen[bucket] = value
                fresh.add(added, to: bucket)
            }
        }
    }
}

/// The latencies of a window.
package struct LatencyCounts: Sendable {
    private var counts = [UInt32](repeating: 0, count: LatencyScale.buckets)
    /// Bounds of the buckets in use, so that a narrow window is cheap.
    private var first = LatencyScale.buckets
    private var last = -1
    /// Samples in the window.
    package private(set) var total = 0

    package init() {}

    package mutating func clear() {
        if first <= last { for bucket in first...last { counts[bucket] = 0 } }
        (first, last, total) = (LatencyScale.buckets, -1, 0)
    }

    mutating func add(_ count: UInt32, to bucket: Int) {
        counts[bucket] &+= count
        total += Int(count)
        first = min(first, bucket)
        last = max(last, bucket)
    }

    package mutating func add(_ latency: Interval) {
        add(1, to: LatencyScale.bucket(of: latency.nanoseconds))
    }

    package mutating func add(_ other: LatencyCounts) {
        guard other.total > 0 else { return }
        for bucket in other.first...other.last where other.counts[bucket] != 0 {
            add(other.counts[bucket], to: bucket)
        }
    }

    /// Takes out what was added before.
    package mutating func subtract(_ other: LatencyCounts) {
        guard other.total > 0 else { return }
        for bucket in other.first...other.last { counts[bucket] &-= other.counts[bucket] }
        total -= other.total
        if total == 0 { (first, last) = (LatencyScale.buckets, -1) }
    }

    /// Nanoseconds that the given share of samples stays below; 0 without samples.
    package func quantile(_ share: Double) -> Double {
        guard total > 0 else { return 0 }
        let rank = share * Double(total)
        var below = 0.0
        for bucket in first...last where counts[bucket] != 0 {
            let count = Double(counts[bucket])
            if below + count >= rank {
                let (low, width) = LatencyScale.range(of: bucket)
                return low + width * (rank - below) / count
            }
            below += count
        }
        let (low, width) = LatencyScale.range(of: last)
        return low + width
    }

    /// The mean in nanoseconds, where every sample above the quantile `share` counts as that one.
    package func mean(cappedAt share: Double) -> Double {
        guard total > 0 else { return 0 }
        let cap = quantile(share)
        var sum = 0.0
        for bucket in first...last where counts[bucket] != 0 {
            let (low, width) = LatencyScale.range(of: bucket)
            sum += Double(counts[bucket]) * min(low + width / 2, cap)
        }
        return sum / Double(total)
    }
}
