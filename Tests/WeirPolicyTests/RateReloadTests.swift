// Buckets whose rate or burst a reload has changed.

import Testing
import WeirPolicy
import WeirTime

@Suite struct `A reload` {
    private static let key: UInt64 = 77

    private func spend(_ count: Int, _ limit: RateLimit, _ desk: inout Desk) -> Int {
        (0..<count).reduce(0) { sum, _ in
            desk.levels = [RateCharge(key: Self.key, law: limit.law)]
            return desk.ask().isAdmitted ? sum + 1 : sum
        }
    }

    @Test func `that changes the rate keeps as many tokens spent as were`() {
        let old = RateLimit(count: 10, period: .seconds(1), burst: 20)
        for rate: Int64 in [1, 3, 10, 1000, 7_777_777] {
            let new = RateLimit(count: rate, period: .seconds(1), burst: 20)
            var desk = Desk()
            #expect(spend(15, old, &desk) == 15)
            #expect(desk.governor.level(of: Self.key, limit: new, now: desk.now).tokens == 5)
            #expect(spend(9, new, &desk) == 5)
        }
    }

    @Test func `that makes the burst smaller leaves nothing spent beyond it`() {
        let old = RateLimit(count: 10, period: .seconds(1), burst: 1000)
        let new = RateLimit(count: 10, period: .seconds(1), burst: 5)
        var desk = Desk()
        #expect(spend(900, old, &desk) == 900)
        #expect(spend(1, new, &desk) == 0)
        desk.now = desk.now + .milliseconds(100)
        #expect(spend(3, new, &desk) == 1)
    }

    @Test func `that makes the burst larger gives the difference`() {
        let old = RateLimit(count: 10, period: .seconds(1), burst: 5)
        let new = RateLimit(count: 10, period: .seconds(1), burst: 9)
        var desk = Desk()
        #expect(spend(9, old, &desk) == 5)
        // The bucket's word must change with its law, if only by a 256th of a nanosecond.
        desk.now = desk.now + Interval(nanoseconds: 1)
        #expect(spend(9, new, &desk) == 4)
    }

    @Test func `I7: never raises tokens above B, nor does a step back of the clock or a refund`() {
        for seed: UInt64 in 1...200 {
            var chance = Chance(seed: seed)
            var desk = Desk()
            desk.now = Instant(nanoseconds: 1 << 50)
            var open: [RateCharge] = []
            for _ in 0..<60 {
                let limit = RateLimit.random(&chance)
                let level = desk.governor.level(of: Self.key, limit: limit, now: desk.now)
                #expect(level.tokens <= limit.burst)
                let admitted = spend(Int(chance.below(30)), limit, &desk)
                #expect(Int64(admitted) <= limit.burst, "seed \(seed)")
                if let last = desk.levels.first, last.isCharged { open.append(last) }
                switch chance.below(4) {
                case 0: desk.now = desk.now - chance.interval(upTo: .seconds(5))
                case 1: desk.now = desk.now + chance.interval(upTo: limit.time(for: 5))
                case 2 where !open.isEmpty:
                    desk.levels = [open.removeLast()]
                    desk.refund()
                    desk.levels = []
                default: break
                }
            }
        }
    }

    @Test func `that changes the rate refunds older requests by the new one`() {
        let old = RateLimit(count: 1, period: .seconds(1), burst: 10)
        let new = RateLimit(count: 100, period: .seconds(1), burst: 10)
        var desk = Desk()
        desk.levels = [RateCharge(key: Self.key, law: old.law, cost: 6)]
        _ = desk.ask()
        var older = desk.levels
        #expect(spend(1, new, &desk) == 1)
        #expect(desk.governor.level(of: Self.key, limit: new, now: desk.now).tokens == 3)
        let governor = desk.governor
        older.withUnsafeMutableBufferPointer { governor.refund($0) }
        #expect(desk.governor.level(of: Self.key, limit: new, now: desk.now).tokens == 9)
    }
}
