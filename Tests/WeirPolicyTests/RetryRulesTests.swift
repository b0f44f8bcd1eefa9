// What is tried again, and how long is waited before it.

import Testing
import WeirPolicy
import WeirTime

private let settings: [(base: Int64, limit: Int64)] = [
    (25, 250), (1, 1), (100, 30), (0, 250), (25, 0), (.max / 1_000_000, .max / 1_000_000), (-5, 9),
]

private func rules(base: Int64 = 25, limit: Int64 = 250, jitter: Bool = true) -> RetryRules {
    var rules = RetryRules()
    rules.backoffBase = .milliseconds(base)
    rules.backoffMax = .milliseconds(limit)
    rules.hasJitter = jitter
    return rules
}

extension RetryRules {
    fileprivate func wait(
        _ attempt: Int, after: Interval? = nil, remaining: Interval = .max, seed: UInt64 = 1
    ) -> Interval? {
        var chance = Chance(seed: seed)
        return delay(attempt: attempt, retryAfter: after, remaining: remaining, chance: &chance)
    }
}

@Suite struct `Retry conditions` {
    @Test func `say all that a status is`() {
        var rules = RetryRules()
        rules.statuses = [429, 503]
        #expect(rules.condition(status: 500) == .serverError)
        #expect(rules.condition(status: 501) == .serverError)
        #expect(rules.condition(status: 502) == [.serverError, .gatewayError])
        #expect(rules.condition(status: 503) == [.serverError, .gatewayError, .listedStatus])
        #expect(rules.condition(status: 504) == [.serverError, .gatewayError])
        #expect(rules.condition(status: 505) == .serverError)
        #expect(rules.condition(status: 599) == .serverError)
        #expect(rules.condition(status: 429) == .listedStatus)
        for status in [100, 200, 304, 404, 499, 600, .min, .max] {
            #expect(rules.condition(status: status).isEmpty, "\(status)")
        }
    }

    @Test func `are met by one word in common`() {
        var rules = RetryRules()
        rules.conditions = [.gatewayError, .connectFailure]
        #expect(rules.includes(rules.condition(status: 503)))
        #expect(rules.includes(.connectFailure))
        #expect(!rules.includes(rules.condition(status: 500)))
        #expect(!rules.includes([.resetBeforeResponse, .perTryTimeout, .refusedStream]))
        #expect(!rules.includes([]))
        #expect(!RetryRules().includes(rules.condition(status: 503)))
    }

    @Test func `allow only the methods that are named`() {
        var rules = RetryRules()
        rules.methods = 0b101
        #expect(rules.allows(0b001) && rules.allows(0b100))
        #expect(!rules.allows(0b010) && !rules.allows(0))
    }
}

@Suite struct `The wait before a retry` {
    @Test func `doubles with each one up to its limit`() {
        let rules = rules(jitter: false)
        let waits = (0..<6).map { rules.wait($0)?.millisecondsRoundedUp }
        #expect(waits == [25, 50, 100, 200, 250, 250])
    }

    @Test func `is drawn from all of zero to the backoff`() {
        let rules = rules()
        for attempt in 0..<6 {
            let bound = min(25 << attempt, 250)
            var chance = Chance(seed: UInt64(attempt))
            var sum: Int64 = 0
            var least = Int64.max
            var most: Int64 = 0
            for _ in 0..<2000 {
                let wait = rules.delay(
                    attempt: attempt, retryAfter: nil, remaining: .max, chance: &chance)
                let nanoseconds = wait?.nanoseconds ?? -1
                sum += nanoseconds
                least = min(least, nanoseconds)
                most = max(most, nanoseconds)
            }
            let limit = Int64(bound) * 1_000_000
            #expect(least >= 0 && least < limit / 50 && most <= limit && most > limit / 50 * 49)
            #expect(abs(sum / 2000 - limit / 2) < limit / 25)
        }
    }

    @Test(arguments: settings)
    func `never overflows, whatever the attempt and the settings`(base: Int64, limit: Int64) {
        for attempt in [0, 1, 5, 30, 37, 38, 39, 61, 62, 63, 64, 1000, .max, -1, .min] {
            for jitter in [true, false] {
                let rules = rules(base: base, limit: limit, jitter: jitter)
                let wait = rules.wait(attempt)
                #expect(wait.map { $0 >= .zero } ?? true)
                #expect(wait.map { $0 <= max(rules.backoffMax, .zero) } ?? true)
            }
        }
    }

    @Test func `a seed replays it`() {
        let rules = rules()
        #expect(
            (1..<50).map { rules.wait(3, seed: $0) } == (1..<50).map { rules.wait(3, seed: $0) })
        #expect(Set((1..<50).map { rules.wait(3, seed: $0) }).count > 45)
    }

    @Test func `I19: is nil where it would end at the deadline or past it`() {
        let rules = rules(jitter: false)
        #expect(rules.wait(1, remaining: .milliseconds(50)) == nil)
        #expect(rules.wait(1, remaining: .milliseconds(51)) == .milliseconds(50))
        for remaining in [Interval.zero, .milliseconds(-5), Interval(nanoseconds: .min)] {
            #expect(rules.wait(0, remaining: remaining) == nil)
            #expect(RetryRules().wait(0, remaining: remaining) == nil)
        }
        var chance = Chance(seed: 5)
        for _ in 0..<1000 {
            let remaining = Interval.milliseconds(Int64(chance.below(200)))
            let wait = RetryRules().delay(
                attempt: Int(chance.below(6)), retryAfter: nil, remaining: remaining,
                chance: &chance)
            #expect(wait.map { $0 < remaining } ?? true)
        }
    }

    @Test func `is never shorter than what the endpoint asked for`() {
        var spread = Set<Int64>()
        for seed in 1..<500 as Range<UInt64> {
            let wait = rules().wait(0, after: .seconds(2), seed: seed) ?? .zero
            #expect(wait >= .seconds(2) && wait <= .milliseconds(2025))
            spread.insert(wait.nanoseconds)
        }
        #expect(spread.count > 450)
        #expect(
            rules(jitter: false).wait(0, after: .seconds(2)) == .milliseconds(2025))
    }

    @Test func `is nil, not sooner, where the endpoint asked for more than there is`() {
        #expect(rules().wait(0, after: .seconds(2), remaining: .seconds(2)) == nil)
        #expect(rules().wait(0, after: .seconds(2), remaining: .milliseconds(1900)) == nil)
        #expect(rules().wait(0, after: .seconds(2), remaining: .milliseconds(2026)) != nil)
        #expect(rules().wait(0, after: .seconds(30)) != nil)
        #expect(rules().wait(0, after: Interval(nanoseconds: 30_000_000_001)) == nil)
        #expect(rules().wait(0, after: .max) == nil)
    }

    @Test func `takes an endpoint that asks for nothing, or the past, as one that did not ask`() {
        for after in [Interval.zero, .seconds(-7), Interval(nanoseconds: .min)] {
            #expect(rules().wait(2, after: after) == rules().wait(2))
        }
    }
}
