// The bounds of chance, and that a seed decides all of it.

import Testing
import WeirTime

@Suite struct `Seeded chance` {
    @Test func `replays a seed and differs between seeds`() {
        var first = Chance(seed: 42)
        var second = Chance(seed: 42)
        var other = Chance(seed: 43)
        let run = (0..<100).map { _ in first.next() }
        #expect(run == (0..<100).map { _ in second.next() })
        #expect(run != (0..<100).map { _ in other.next() })
    }

    @Test func `gives SplitMix64's published numbers`() {
        var chance = Chance(seed: 1_234_567)
        #expect(chance.next() == 6_457_827_717_110_365_317)
        #expect(chance.next() == 3_203_168_211_198_807_973)
    }

    @Test(arguments: [1, 2, 3, 7, 1000, .max] as [UInt32])
    func `stays below its bound and reaches near it`(bound: UInt32) {
        var chance = Chance(seed: 1)
        let drawn = (0..<20_000).map { _ in chance.below(bound) }
        #expect(drawn.allSatisfy { $0 < bound })
        #expect(drawn.max() ?? 0 >= bound - 1 - bound / 500)
        #expect(drawn.min() ?? .max <= bound / 500)
    }

    @Test func `gives zero for a bound of zero`() {
        var chance = Chance(seed: 1)
        #expect(chance.below(0) == 0)
        #expect(chance.interval(upTo: .zero) == .zero)
        #expect(chance.interval(upTo: .milliseconds(-5)) == .zero)
    }

    @Test func `spreads numbers evenly`() {
        var chance = Chance(seed: 9)
        var counts = [Int](repeating: 0, count: 10)
        for _ in 0..<100_000 { counts[Int(chance.below(10))] += 1 }
        // Five standard deviations of a binomial with n = 100,000 and p = 0.1.
        #expect(counts.allSatisfy { abs($0 - 10_000) < 475 }, "\(counts)")
    }

    @Test func `spreads intervals over their whole range`() {
        var chance = Chance(seed: 3)
        let limit = Interval.seconds(10)
        let drawn = (0..<10_000).map { _ in chance.interval(upTo: limit) }
        #expect(drawn.allSatisfy { $0 >= .zero && $0 <= limit })
        #expect(drawn.contains { $0 < .milliseconds(100) })
        #expect(drawn.contains { $0 > .milliseconds(9900) })
        #expect(chance.interval(upTo: .max) >= .zero)
    }
}
