// An endpoint's latency as the balancer sees it: quick to rise, slow to fall.

import Synchronization
import WeirTime

/// A moving average that jumps to every sample above it and decays over ten seconds (peak EWMA:
/// Finagle's load balancers, Twitter 2014).
///
/// Two words, written without a lock: of two samples at the same moment one may be lost.
struct LatencyAverage: ~Copyable, Sendable {
    /// Half-life for a decay constant of 10 s.
    private static let halfLife: Int64 = 6_931_471_806
    private let value = Atomic<Int64>(0)
    private let stamp = Atomic<Int64>(0)

    func add(_ sample: Int64, now: Instant) {
        let old = value.load(ordering: .relaxed)
        if sample >= old {
            value.store(sample, ordering: .relaxed)
        } else {
            // Too soon after the last one to weigh anything: left out, and so is its time.
            let weight = (1 << 16) - Self.decayed(1 << 16, over: age(now))
            guard weight >= 16 else { return }
            value.store(old - Self.share(old - sample, weight), ordering: .relaxed)
        }
        stamp.store(now.nanoseconds, ordering: .relaxed)
    }

    /// Nanoseconds; what no sample confirms fades.
    func value(now: Instant) -> Int64 {
        Self.decayed(value.load(ordering: .relaxed), over: age(now))
    }

    private func age(_ now: Instant) -> Int64 {
        max((now - Instant(nanoseconds: stamp.load(ordering: .relaxed))).nanoseconds, 0)
    }

    /// `amount` · 2^(-age / half-life), with a straight line between the powers: within 6 %.
    private static func decayed(_ amount: Int64, over age: Int64) -> Int64 {
        let halvings = age / halfLife
        guard halvings < 62 else { return 0 }
        let rest = (age % halfLife) << 16 / halfLife
        let whole = amount >> halvings
        return whole - share(whole, rest) / 2
    }

    /// `amount` · `share` / 2^16, for amounts of any size.
    private static func share(_ amount: Int64, _ share: Int64) -> Int64 {
        (amount >> 16) * share + ((amount & 0xFFFF) * share) >> 16
    }
}
