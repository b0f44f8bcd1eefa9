// What rate limits promise, over many seeds: never more than the rate and the burst, the exact
// wait, nothing lost and nothing won by refunds.

import Testing
import WeirPolicy
import WeirTime

@Suite struct `A rate limit` {
    @Test(arguments: [
        RateLimit(count: 1, period: .seconds(3600), burst: 1),
        RateLimit(count: 10_000_000, period: .seconds(1), burst: 1_000_000_000),
        RateLimit(count: 1, period: .seconds(3600), burst: 744),
        RateLimit(count: 7, period: .seconds(60), burst: 1),
    ])
    func `from one an hour to ten million a second is kept to as written`(limit: RateLimit) {
        #expect(limit.isValid)
        #expect(limit.law.burst == limit.burst)
    }

    @Test(arguments: [
        RateLimit(count: 0, period: .seconds(1), burst: 1),
        RateLimit(count: -1, period: .seconds(1), burst: 1),
        RateLimit(count: 1, period: .zero, burst: 1),
        RateLimit(count: 1, period: .seconds(1), burst: 0),
        RateLimit(count: 1, period: .seconds(1), burst: .max),
        RateLimit(count: 10_000_001, period: .seconds(1), burst: 1),
        RateLimit(count: 1, period: .seconds(3601), burst: 1),
        RateLimit(count: 1, period: .seconds(3600), burst: 745),
        RateLimit(count: .max, period: .max, burst: .max),
        RateLimit(count: .min, period: Interval(nanoseconds: .min), burst: .min),
    ])
    func `beyond the bounds is invalid and brought within them`(limit: RateLimit) {
        #expect(!limit.isValid)
        let law = limit.law
        #expect(RateLimit.bursts.contains(law.burst))
        var desk = Desk()
        desk.levels = [RateCharge(key: 1, law: law)]
        #expect(desk.ask().isAdmitted)
    }

    @Test func `of an odd rate gives within one token in a million what it says`() {
        for count: Int64 in [3, 7, 999, 333_333] {
            let limit = RateLimit(count: count, period: .seconds(1), burst: 100)
            var desk = Desk()
            desk.levels = [RateCharge(key: 1, law: limit.law)]
            let start = desk.now
            var admitted: Int64 = 0
            while admitted < 100_000 {
                while desk.ask().isAdmitted { admitted += 1 }
                desk.now = desk.now + limit.time(for: 60)
            }
            while desk.ask().isAdmitted { admitted += 1 }
            #expect(limit.allows(admitted, in: desk.now - start))
            #expect(!limit.allows(admitted + 2, in: desk.now - start), "\(count)")
        }
    }

    @Test func `needs no wait when time starts anywhere or wraps around in ticks`() {
        for start: Int64 in [.min, -1, 0, 1 << 55 - 500, 1 << 54 - 500, .max - 2_000_000_000] {
            var desk = Desk()
            desk.now = Instant(nanoseconds: start)
            desk.levels = [
                RateCharge(
                    key: 5, law: RateLimit(count: 1, period: .seconds(1), burst: 2).law)
            ]
            #expect(desk.ask().isAdmitted)
            #expect(desk.ask().remaining == 0)
            #expect(desk.ask().retryAfter == .seconds(1))
            desk.now = desk.now + .seconds(1)
            #expect(desk.ask().isAdmitted)
            #expect(!desk.ask().isAdmitted)
        }
    }

    @Test func `of one step is a pure function of bucket, time and cost`() {
        let first = GCRA.step(
            tat: 0, now: Instant(nanoseconds: 100), emission: 2560, tolerance: 5120, cost: 2)
        #expect(first.isAdmitted)
        #expect(first.tat == 100 * 256 + 5120)
        let second = GCRA.step(
            tat: first.tat, now: Instant(nanoseconds: 103), emission: 2560, tolerance: 5120, cost: 1
        )
        #expect(second.wait == 7)
        #expect(second.tat == first.tat)
        let dear = GCRA.step(
            tat: 0, now: Instant(nanoseconds: 0), emission: 2560, tolerance: 5120, cost: 3)
        #expect(dear.wait == .max)
    }
}

@Suite struct `Whoever asks for more than the rate` {
    @Test func `I1: gets at most r·dt + B in every interval, whatever they refund`() {
        for seed: UInt64 in 1...60 {
            var chance = Chance(seed: seed)
            let limit = RateLimit.random(&chance)
            var desk = Desk()
            desk.now = Instant(nanoseconds: Int64(chance.below(.max)) << 20)
            var log: [(at: Instant, netBefore: Int64, net: Int64)] = []
            var net: Int64 = 0
            for _ in 0..<400 {
                let pause = limit.time(for: 1 + Int64(chance.below(4)))
                if chance.below(3) != 0 { desk.now = desk.now + chance.interval(upTo: pause) }
                let cost = 1 + Int64(chance.below(UInt32(min(limit.burst, 5))))
                desk.levels = [RateCharge(key: 9, law: limit.law, cost: cost)]
                guard desk.ask().isAdmitted else { continue }
                let before = net
                net += cost
                if chance.below(8) == 0 {
                    desk.refund()
                    net -= cost
                }
                log.append((desk.now, before, net))
            }
            #expect(log.count > 20)
            var excesses = 0
            for (number, first) in log.enumerated() {
                for last in log[number...]
                where !limit.allows(last.net - first.netBefore, in: last.at - first.at) {
                    excesses += 1
                }
            }
            #expect(excesses == 0, "seed \(seed)")
        }
    }

    @Test func `gets no less than the rate either`() {
        for seed: UInt64 in 1...40 {
            var chance = Chance(seed: seed)
            let limit = RateLimit.random(&chance)
            var desk = Desk()
            desk.levels = [RateCharge(key: 9, law: limit.law)]
            let start = desk.now
            var admitted: Int64 = 0
            while admitted < limit.burst + 300 {
                let verdict = desk.ask()
                if verdict.isAdmitted { admitted += 1 }
                desk.now = desk.now + (verdict.retryAfter ?? .zero)
            }
            #expect(!limit.allows(admitted + 2, in: desk.now - start), "seed \(seed)")
        }
    }

    @Test func `I4: is told the exact wait, admitted then and not 1 ns earlier`() {
        var denials = 0
        for seed: UInt64 in 1...200 {
            var chance = Chance(seed: seed)
            var desk = Desk()
            let limits = (0..<3).map { _ in RateLimit.random(&chance) }
            for _ in 0..<40 {
                desk.levels = limits.indices.map { index in
                    let most = UInt32(min(limits[index].burst, 9))
                    return RateCharge(
                        key: UInt64(index + 1), law: limits[index].law,
                        cost: 1 + Int64(chance.below(most)))
                }
                desk.now =
                    desk.now + chance.interval(upTo: limits[Int(chance.below(3))].time(for: 1))
                let verdict = desk.ask()
                guard !verdict.isAdmitted else { continue }
                denials += 1
                guard let wait = verdict.retryAfter else {
                    Issue.record("no wait is told though every cost is within its burst")
                    continue
                }
                let asked = desk.now
                desk.now = asked + wait - Interval(nanoseconds: 1)
                #expect(!desk.ask().isAdmitted, "seed \(seed)")
                desk.now = asked + wait
                #expect(desk.ask().isAdmitted, "seed \(seed)")
            }
        }
        #expect(denials > 2000)
    }

    @Test func `is never admitted, and told of no wait, where the cost is above the burst`() {
        var desk = Desk()
        let law = RateLimit(count: 1, period: .seconds(1), burst: 5).law
        for cost: Int64 in [6, 1 << 40, .max] {
            desk.levels = [RateCharge(key: 1, law: law, cost: cost)]
            let verdict = desk.ask()
            #expect(!verdict.isAdmitted)
            #expect(verdict.retryAfter == nil)
        }
        #expect(
            desk.governor.level(
                of: 1, limit: RateLimit(count: 1, period: .seconds(1), burst: 5), now: desk.now
            ).isTracked == false)
    }
}

@Suite struct `All levels together` {
    private static let minute = RateLimit(count: 60, period: .seconds(60), burst: 10)
    private static let second = RateLimit(count: 1, period: .seconds(1), burst: 3)

    @Test func `I2: a denied request changes no bucket, at no level`() {
        var denials = 0
        for seed: UInt64 in 1...100 {
            var chance = Chance(seed: seed)
            let limits = (0..<4).map { _ in RateLimit.random(&chance) }
            var desk = Desk()
            for _ in 0..<60 {
                desk.now = desk.now + chance.interval(upTo: limits[0].time(for: 1))
                desk.levels = limits.indices.map { index in
                    RateCharge(
                        key: UInt64(index + 1), law: limits[index].law,
                        cost: 1 + Int64(chance.below(4)), isShadow: index == 2)
                }
                let before = desk.state(desk.levels)
                if desk.ask().isAdmitted { continue }
                denials += 1
                #expect(desk.state(desk.levels) == before, "seed \(seed)")
                #expect(desk.levels.allSatisfy { !$0.isCharged })
            }
        }
        #expect(denials > 1000)
    }

    @Test func `I3: a refund undoes a charge, and a second refund does nothing`() {
        for seed: UInt64 in 1...100 {
            var chance = Chance(seed: seed)
            let limits = (0..<3).map { _ in RateLimit.random(&chance) }
            var desk = Desk()
            for _ in 0..<40 {
                desk.now = desk.now + chance.interval(upTo: limits[0].time(for: 2))
                desk.levels = limits.indices.map { index in
                    RateCharge(
                        key: UInt64(index + 1), law: limits[index].law,
                        cost: 1 + Int64(chance.below(3)))
                }
                let before = desk.state(desk.levels)
                guard desk.ask().isAdmitted, chance.below(2) == 0 else { continue }
                #expect(desk.state(desk.levels) != before)
                for _ in 0..<2 {
                    desk.refund()
                    #expect(desk.state(desk.levels) == before, "seed \(seed)")
                }
            }
        }
    }

    @Test func `I5: children get at most what their parent may give, net of refunds`() {
        for seed: UInt64 in 1...40 {
            var chance = Chance(seed: seed)
            let parent = RateLimit(count: 50, period: .seconds(1), burst: 20)
            let child = RateLimit(count: 30, period: .seconds(1), burst: 15)
            var desk = Desk()
            let start = desk.now
            var net: Int64 = 0
            for _ in 0..<2000 {
                desk.now = desk.now + chance.interval(upTo: .milliseconds(8))
                let cost = 1 + Int64(chance.below(3))
                desk.levels = [
                    RateCharge(key: 100 + UInt64(chance.below(4)), law: child.law, cost: cost),
                    RateCharge(key: 1, law: parent.law, cost: cost),
                ]
                guard desk.ask().isAdmitted else { continue }
                net += cost
                if chance.below(5) == 0 {
                    desk.refund()
                    net -= cost
                }
                #expect(parent.allows(net, in: desk.now - start), "seed \(seed)")
            }
            #expect(!parent.allows(net + 40, in: desk.now - start), "all of it is given")
        }
    }

    @Test func `name the first level that denies and wait for the slowest of all`() {
        var desk = Desk()
        let slow = RateLimit(count: 1, period: .seconds(60), burst: 1)
        desk.levels = [
            RateCharge(key: 1, law: Self.minute.law),
            RateCharge(key: 2, law: Self.second.law, cost: 3),
            RateCharge(key: 3, law: slow.law),
        ]
        #expect(desk.ask().isAdmitted)
        let verdict = desk.ask()
        #expect(!verdict.isAdmitted)
        #expect(verdict.level == 1)
        #expect(verdict.retryAfter == .seconds(60))
    }

    @Test func `name the tightest level when they admit, its tokens and the time until it is full`()
    {
        var desk = Desk()
        desk.levels = [
            RateCharge(key: 1, law: Self.minute.law), RateCharge(key: 2, law: Self.second.law),
            RateCharge(key: 3, law: Self.minute.law),
        ]
        let verdict = desk.ask()
        #expect(verdict.level == 1)
        #expect(verdict.remaining == 2)
        #expect(verdict.fullAfter == .seconds(1))
        desk.levels = []
        #expect(desk.ask() == RateVerdict())
    }

    @Test func `in shadow deny nothing, and say what they would have denied`() {
        var desk = Desk()
        let levels = [
            RateCharge(key: 1, law: Self.second.law, isShadow: true),
            RateCharge(key: 2, law: Self.minute.law),
            RateCharge(key: 3, law: Self.second.law, isShadow: true),
        ]
        for turn in 0..<12 {
            desk.levels = levels
            let verdict = desk.ask()
            #expect(verdict.isAdmitted == (turn < 10))
            #expect(verdict.level == 1)
            #expect(verdict.wouldDeny == (turn < 3 ? 0 : 0b101))
        }
    }
}

@Suite struct `A settled charge` {
    private static let limit = RateLimit(count: 1, period: .seconds(1), burst: 10)

    private func tokens(_ desk: Desk) -> Int64 {
        desk.governor.level(of: 1, limit: Self.limit, now: desk.now).tokens
    }

    @Test func `takes the rest, gives back what was too much, and happens once`() {
        var desk = Desk()
        desk.levels = [RateCharge(key: 1, law: Self.limit.law, cost: 4)]
        _ = desk.ask()
        desk.settle(actual: 7)
        #expect(tokens(desk) == 3)
        desk.settle(actual: 9)
        desk.refund()
        #expect(tokens(desk) == 3)
        desk.levels = [RateCharge(key: 1, law: Self.limit.law, cost: 3)]
        _ = desk.ask()
        desk.settle(actual: 1)
        #expect(tokens(desk) == 2)
        desk.levels = [RateCharge(key: 1, law: Self.limit.law, cost: 2)]
        _ = desk.ask()
        desk.settle(actual: -5)
        #expect(tokens(desk) == 2)
    }

    @Test(arguments: [Int64(12), 20, 21, 1_000_000, .max])
    func `goes into a debt of one burst at most`(actual: Int64) {
        var desk = Desk()
        desk.levels = [RateCharge(key: 1, law: Self.limit.law)]
        _ = desk.ask()
        desk.settle(actual: actual)
        let debt = min(actual, 20) - 10
        #expect(tokens(desk) == -debt)
        desk.levels = [RateCharge(key: 1, law: Self.limit.law)]
        #expect(desk.ask().retryAfter == .seconds(debt + 1))
    }

    @Test func `I1: with debts gets at most r·dt + B + debt, and more only later`() {
        for seed: UInt64 in 1...40 {
            var chance = Chance(seed: seed)
            var desk = Desk()
            let start = desk.now
            var net: Int64 = 0
            for _ in 0..<500 {
                desk.now = desk.now + chance.interval(upTo: .seconds(4))
                desk.levels = [RateCharge(key: 1, law: Self.limit.law)]
                guard desk.ask().isAdmitted else { continue }
                let actual = Int64(chance.below(8))
                desk.settle(actual: actual)
                net += actual
                #expect(Self.limit.allows(net, in: desk.now - start, more: 10), "seed \(seed)")
            }
        }
    }
}
