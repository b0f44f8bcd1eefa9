// A hedge is sent late, and seldom.

import Testing
import WeirPolicy
import WeirTime

private func settings(
    percentile: Double = 95, percent: Int = 1, fixed: Interval? = nil
) -> HedgeSettings {
    var settings = HedgeSettings()
    settings.percentile = percentile
    settings.percent = percent
    settings.fixedDelay = fixed
    return settings
}

private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

extension HedgeDelay {
    fileprivate func record(_ milliseconds: some Sequence<Int64>) {
        for value in milliseconds { record(.milliseconds(value)) }
    }
}

@Suite struct `The time before a hedge` {
    @Test func `is unknown until a hundred answers have come`() {
        let hedge = HedgeDelay(settings())
        #expect(hedge.delay() == nil)
        hedge.record(1...99)
        hedge.refresh(now: at(1))
        #expect(hedge.delay() == nil)
        hedge.record([100])
        // Only the control thread works it out.
        #expect(hedge.delay() == nil)
        hedge.refresh(now: at(2))
        #expect(hedge.delay() != nil)
    }

    @Test(arguments: [50.0, 90, 95, 99, 99.9])
    func `is the percentile, at most 1/16 above and never below`(percentile: Double) {
        for scale in [3, 40, 900, 25_000, 1_000_000] as [Int64] {
            let hedge = HedgeDelay(settings(percentile: percentile))
            for value in 1...1000 as ClosedRange<Int64> {
                hedge.record(.microseconds(value * scale))
            }
            hedge.refresh(now: at(1))
            let exact = Double(scale) * percentile * 10
            let found = Double(hedge.delay()?.nanoseconds ?? -1) / 1000
            // Above 275 s all are alike.
            if exact < 270e6 {
                #expect(found >= exact && found <= exact * 17 / 16 + 5, "\(scale)")
            } else {
                #expect(found >= 270e6)
            }
        }
    }

    @Test func `follows the route when it turns slow, and when it recovers`() {
        let hedge = HedgeDelay(settings())
        var now: Int64 = 0
        for (latency, bound) in [(10, 9...11), (200, 199...213), (10, 9...11)]
            as [(Int64, ClosedRange<Int64>)]
        {
            for _ in 0..<20 {
                now += 3
                hedge.record(repeatElement(latency, count: 500))
                hedge.refresh(now: at(now))
            }
            let delay = hedge.delay()?.millisecondsRoundedUp ?? -1
            #expect(bound.contains(delay), "\(delay)")
        }
    }

    @Test func `follows every three seconds, not at every tick`() {
        let hedge = HedgeDelay(settings())
        hedge.record(repeatElement(10, count: 100))
        hedge.refresh(now: at(10))
        let first = hedge.delay()
        hedge.record(repeatElement(500, count: 1000))
        hedge.refresh(now: at(12))
        #expect(hedge.delay() == first)
        hedge.refresh(now: at(13))
        #expect((hedge.delay() ?? .zero) >= .milliseconds(500))
    }

    @Test func `stays while too little is new, and does not lose what came`() {
        let hedge = HedgeDelay(settings())
        hedge.record(repeatElement(10, count: 100))
        hedge.refresh(now: at(10))
        let first = hedge.delay()
        for step in 0..<9 {
            hedge.record(repeatElement(500, count: 10))
            hedge.refresh(now: at(20 + Int64(step) * 10))
            #expect(hedge.delay() == first)
        }
        hedge.record(repeatElement(500, count: 10))
        hedge.refresh(now: at(200))
        #expect((hedge.delay() ?? .zero) >= .milliseconds(500))
    }

    @Test func `is the configured one where there is one`() {
        let hedge = HedgeDelay(settings(fixed: .milliseconds(70)))
        #expect(hedge.delay() == .milliseconds(70))
        hedge.record(1...200)
        hedge.refresh(now: at(5))
        #expect(hedge.delay() == .milliseconds(70))
        // A reload to a percentile takes up what was learnt meanwhile.
        hedge.update(settings(percentile: 50))
        #expect(hedge.delay()?.millisecondsRoundedUp ?? 0 >= 100)
        hedge.update(settings(fixed: .milliseconds(5)))
        #expect(hedge.delay() == .milliseconds(5))
    }

    @Test func `stands absurd latencies`() {
        let hedge = HedgeDelay(settings())
        for _ in 0..<50 {
            for latency in [Int64.min, -1, 0, 1, .max] {
                hedge.record(Interval(nanoseconds: latency))
            }
        }
        hedge.refresh(now: at(1))
        #expect((hedge.delay() ?? .zero) > .seconds(270))
    }
}

@Suite struct `Hedges` {
    @Test func `are one in a hundred requests, however many are slow`() {
        let hedge = HedgeDelay(settings())
        var sent = 0
        for step in 0..<20_000 as Range<Int64> {
            let now = Instant(nanoseconds: step * 2_000_000)
            hedge.deposit(now: now)
            if hedge.withdraw(now: now) { sent += 1 }
        }
        #expect(sent <= 200 && sent >= 180)
    }

    @Test func `have no floor, and are given back when they were not sent`() {
        let hedge = HedgeDelay(settings())
        for _ in 0..<99 { hedge.deposit(now: at(1)) }
        #expect(!hedge.withdraw(now: at(1)))
        hedge.deposit(now: at(1))
        #expect(hedge.withdraw(now: at(1)) && !hedge.withdraw(now: at(1)))
        hedge.refund(takenAt: at(1))
        #expect(hedge.withdraw(now: at(1)))
    }
}
