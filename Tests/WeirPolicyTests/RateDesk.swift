// What tests of rate limits share: a desk at which requests are charged.

import Testing
import WeirPolicy
import WeirTime

/// A governor with levels of one request each, at an instant that a test sets.
struct Desk {
    let governor = RateGovernor(capacity: 1024)
    var levels: [RateCharge] = []
    var now = Instant(nanoseconds: 1)

    mutating func ask() -> RateVerdict {
        let now = now
        let governor = governor
        return levels.withUnsafeMutableBufferPointer { governor.charge($0, now: now) }
    }

    mutating func refund() {
        let governor = governor
        levels.withUnsafeMutableBufferPointer { governor.refund($0) }
    }

    mutating func settle(actual: Int64) {
        let now = now
        let governor = governor
        levels.withUnsafeMutableBufferPointer { governor.settle($0, actual: actual, now: now) }
    }

    /// How long until each key, under its law, could pay one token: a bucket's whole state.
    func state(_ levels: [RateCharge]) -> [Int64] {
        levels.map { level in
            var dearest = [RateCharge(key: level.key, law: level.law, cost: level.law.burst)]
            let verdict = dearest.withUnsafeMutableBufferPointer {
                let verdict = governor.charge($0, now: now)
                governor.refund($0)
                return verdict
            }
            return verdict.retryAfter?.nanoseconds ?? 0
        }
    }
}

extension RateLimit {
    static func random(_ chance: inout Chance) -> RateLimit {
        let periods: [Interval] = [.seconds(1), .seconds(60), .seconds(3600), .milliseconds(7)]
        let limit = RateLimit(
            count: 1 + Int64(chance.below(chance.below(2) == 0 ? 10 : 100_000)),
            period: periods[Int(chance.below(4))],
            burst: 1 + Int64(chance.below(chance.below(2) == 0 ? 3 : 500)))
        return limit.isValid ? limit : RateLimit(count: 3, period: .seconds(1), burst: 7)
    }

    /// Whether `tokens` is at most r·dt + B, in whole numbers.
    func allows(_ tokens: Int64, in time: Interval, more: Int64 = 0) -> Bool {
        Int128(tokens - burst - more) * Int128(period.nanoseconds)
            <= Int128(count) * Int128(time.nanoseconds)
    }

    /// The time in which `tokens` come, about.
    func time(for tokens: Int64) -> Interval {
        Interval(nanoseconds: tokens * (period.nanoseconds / count + 1))
    }
}

extension Instant {
    static func - (a: Instant, b: Interval) -> Instant {
        a + Interval(nanoseconds: -b.nanoseconds)
    }
}
