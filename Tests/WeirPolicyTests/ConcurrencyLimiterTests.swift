// The adaptive limit against servers that it knows nothing of.

import Testing
import WeirPolicy
import WeirTime

@Suite struct ConcurrencyLimiterTests {
    private static var enforced: ConcurrencySettings {
        var settings = ConcurrencySettings()
        settings.mode = .enforce
        return settings
    }

    private static func overloaded(
        _ law: ServiceLaw, workers: Int = 8, mean: Double = 0.01, seed: UInt64
    ) -> Stand {
        Stand(
            seed: seed, servers: [Stand.Server(workers: workers, mean: mean)], law: law,
            load: 2 * Double(workers) / mean, concurrency: enforced)
    }

    @Test(arguments: ServiceLaw.allCases)
    func `I17: at twice the load from a cold start it settles near the optimum within 10 s`(
        law: ServiceLaw
    ) {
        // Eight workers and the few requests that Vegas lets wait, so that none is ever idle.
        let optimum = 13.0
        var inside = 0
        var outside = 0
        for seed in 1...3 as ClosedRange<UInt64> {
            let stand = Self.overloaded(law, seed: seed)
            stand.inspect = { stand in
                let limit = stand.endpoints[0].currentLimit
                #expect((2...1000).contains(limit))
            }
            stand.run(seconds: 10)
            stand.inspect = { stand in
                let limit = Double(stand.endpoints[0].currentLimit)
                if abs(limit / optimum - 1) <= 0.3 { inside += 1 } else { outside += 1 }
            }
            stand.mark()
            stand.run(seconds: 20)
            let goodput = stand.goodput(over: 20)
            #expect(goodput >= 0.97, "seed \(seed): \(goodput)")
        }
        #expect(inside >= 19 * outside, "\(outside) of \(inside + outside)")
    }

    @Test(arguments: [(1, 0.02), (2, 0.02), (32, 0.1), (100, 0.1), (200, 0.1)])
    func `goodput is whole and the queue short for any number of workers`(
        workers: Int, mean: Double
    ) {
        for law in ServiceLaw.allCases {
            let stand = Self.overloaded(law, workers: workers, mean: mean, seed: 3)
            stand.run(seconds: 10)
            stand.mark()
            var sum = 0
            var ticks = 0
            stand.inspect = { stand in
                sum += stand.endpoints[0].currentLimit
                ticks += 1
            }
            stand.run(seconds: 20)
            let goodput = stand.goodput(over: 20)
            #expect(goodput >= 0.97, "\(law): \(goodput)")
            // On average: now and then it is stretched to see whether there is more.
            let limit = Double(sum) / Double(ticks)
            #expect(limit <= 1.5 * Double(workers) + 7, "\(law): \(limit)")
        }
    }

    @Test func `a server that becomes three times slower, and fast again, is followed`() {
        for (workers, mean) in [(8, 0.02), (100, 0.1)] {
            let stand = Self.overloaded(.exponential, workers: workers, mean: mean, seed: 5)
            stand.run(seconds: 10)
            for slowness in [3.0, 1.0] {
                stand.servers[0].slowness = slowness
                stand.run(seconds: 10)
                stand.mark()
                stand.run(seconds: 20)
                let goodput = stand.goodput(over: 20)
                #expect(goodput >= 0.95, "\(workers) at \(slowness): \(goodput)")
                let limit = stand.endpoints[0].currentLimit
                #expect(limit <= workers + workers / 2 + 7, "\(workers) at \(slowness): \(limit)")
            }
        }
    }

    @Test func `below capacity hardly anything is refused`() {
        for law in ServiceLaw.allCases {
            let servers = [Stand.Server](repeating: Stand.Server(mean: 0.02), count: 3)
            let stand = Stand(
                seed: 2, servers: servers, law: law, load: 0.7 * 1200,
                concurrency: Self.enforced)
            stand.run(seconds: 10)
            stand.mark()
            stand.run(seconds: 30)
            #expect(
                Double(stand.refused) <= 0.001 * Double(stand.arrived),
                "\(law): \(stand.refused) of \(stand.arrived)")
        }
    }

    @Test func `I16: at most one endpoint of a cluster is probed at a time`() {
        for (seed, load) in [(1, 0.4), (2, 0.9), (3, 2.0)] as [(UInt64, Double)] {
            let servers = [Stand.Server](repeating: Stand.Server(mean: 0.05), count: 5)
            let stand = Stand(
                seed: seed, servers: servers, law: .exponential, load: load * 800,
                concurrency: Self.enforced)
            var probed = 0
            stand.inspect = { stand in
                #expect(stand.watch.probing <= 1)
                probed += stand.watch.probing
            }
            stand.run(seconds: 40)
            #expect(load < 0.5 || probed > 0)
        }
    }

    @Test func `without a policy there is no limit`() {
        let stand = Stand(
            seed: 1, servers: [Stand.Server()], law: .fixed, load: 700)
        stand.run(seconds: 2)
        #expect(stand.endpoints[0].currentLimit == .max)
        #expect(stand.refused == 0)
    }

    @Test func `busy answers lower the limit`() {
        var chance = Chance(seed: 1)
        var limiter = ConcurrencyLimiter(Self.enforced)
        var now = Instant(nanoseconds: 1_000_000_000_000)
        var window = ConcurrencyLimiter.Window(samples: 100, latency: 1e7, rate: 500, peak: 4)
        func look() {
            now = now + .milliseconds(200)
            limiter.take(window, now: now, chance: &chance, settings: Self.enforced)
        }
        for _ in 0..<3 { look() }
        let before = limiter.limit
        window.busyShare = 0.1
        look()
        #expect(limiter.limit == before)
        window.busyShare = 0.5
        look()
        #expect(limiter.limit == before * 9 / 10)
        for _ in 0..<100 { look() }
        #expect(limiter.limit == 2)
    }
}
