// How little a slow endpoint gets, and how fairly those are used that are equally fast.

import Testing
import WeirPolicy
import WeirTime

/// Endpoints that answer after a fixed time, in virtual time, with the latency that a governor
/// keeps: at once up to a sample above it, halved in seven seconds, never below the oldest age.
private struct Upstream {
    let service: [Int64]
    var unfinished: [[Int64]]
    var average: [Int64]
    var stamp: [Int64]
    var served: [Int]
    var now: Int64 = 0

    init(service: [Int64]) {
        self.service = service
        unfinished = [[Int64]](repeating: [], count: service.count)
        average = [Int64](repeating: 0, count: service.count)
        stamp = average
        served = [Int](repeating: 0, count: service.count)
    }

    mutating func advance(to time: Int64) {
        now = time
        for index in service.indices {
            while let start = unfinished[index].first, start + service[index] <= now {
                unfinished[index].removeFirst()
                average[index] = max(faded(index), service[index])
                stamp[index] = now
            }
        }
    }

    mutating func start(_ index: Int) {
        unfinished[index].append(now)
        served[index] += 1
    }

    func latency(_ index: Int) -> Int64 {
        max(faded(index), unfinished[index].first.map { now - $0 } ?? 0)
    }

    private func faded(_ index: Int) -> Int64 {
        let halvings = (now - stamp[index]) / 1_000_000
        return Int64(Double(average[index]) * (1 - Double(min(halvings, 14_000)) / 14_000))
    }
}

@Suite struct `Peak EWMA` {
    @Test(arguments: [2, 3, 5, 12], [nil, 0.84])
    func `sends less than 2 % to an endpoint that is 20 times slower`(
        count: Int, hotQuantile: Double?
    ) {
        for seed in 1...5 as ClosedRange<UInt64> {
            var service = [Int64](repeating: 10_000_000, count: count)
            service[count - 1] *= 20
            var upstream = Upstream(service: service)
            var balancer = Balancer(
                settings: BalancerSettings(kind: .peakEWMA, hotQuantile: hotQuantile),
                endpoints: endpoints(0..<count))
            var chance = Chance(seed: seed)
            // Two requests in flight at each endpoint if all were fast.
            for step in 0..<20_000 as Range<Int64> {
                upstream.advance(to: step * 5_000_000 / Int64(count))
                let snapshot = upstream
                let picked = balancer.pick(
                    chance: &chance, load: { snapshot.unfinished[$0].count },
                    latency: { snapshot.latency($0) }, excluding: { _ in false })
                if let picked { upstream.start(picked) }
            }
            #expect(upstream.served[count - 1] < 400, "seed \(seed): \(upstream.served)")
            let fair = 20_000 / (count - 1)
            for served in upstream.served.dropLast() {
                #expect(abs(served - fair) < fair / 5, "seed \(seed): \(upstream.served)")
            }
        }
    }

    @Test(arguments: [[1, 1], [1, 1, 1, 1, 1], [3, 1], [5, 3, 2], [1, 2, 3, 4, 5]])
    func `uses an idle cluster of equal latency by weight`(weights: [Int]) {
        var balancer = Balancer(kind: .peakEWMA, weights: weights)
        // They differ by less than an eighth.
        let latencies: [Int64] = [10_000, 10_500, 11_000, 10_900, 10_100]
        let counts = balancer.counts(
            of: 100_000, among: weights.count, latency: { latencies[$0] })
        let total = Double(weights.reduce(0, +))
        for (count, weight) in zip(counts, weights) {
            #expect(isLikely(count, of: 100_000, share: Double(weight) / total), "\(counts)")
        }
    }

    @Test func `weighs latency against load for each unit of weight`() {
        var balancer = Balancer(kind: .peakEWMA, weights: [1, 4])
        func share(_ latencies: [Int64], _ loads: [Int]) -> [Int] {
            balancer.counts(
                of: 1000, among: 2, load: { loads[$0] }, latency: { latencies[$0] })
        }
        // 10 µs × (7 + 1) against 60 µs × (0 + 1), and against 60 µs × (4 / 4 + 1).
        #expect(share([10_000, 60_000], [7, 0]) == [0, 1000])
        #expect(share([10_000, 60_000], [7, 4]) == [1000, 0])
    }

    @Test func `tries an endpoint never measured, but does not herd on it`() {
        var balancer = Balancer(kind: .peakEWMA, weights: [1, 1, 1, 1])
        var chance = Chance(seed: 3)
        // Number 3 is new and does not answer; the others have three requests each.
        var load = [3, 3, 3, 0]
        for _ in 0..<1000 {
            let loads = load
            let picked = balancer.pick(
                chance: &chance, load: { loads[$0] }, latency: { $0 == 3 ? 0 : 10_000_000 },
                excluding: { _ in false })
            if picked == 3 { load[3] += 1 }
        }
        // 3/4 of the latency, and an eighth more is no reason to go elsewhere:
        // 7.5 ms × (5 + 1) is not more than 10 ms × (3 + 1) × 9/8, with one more it is.
        #expect((4...6).contains(load[3]), "\(load)")
    }

    @Test func `compares loads alone where nothing has been measured`() {
        var balancer = Balancer(kind: .peakEWMA, weights: [1, 1, 1])
        let loads = [4, 9, 2]
        #expect(balancer.counts(of: 500, among: 3, load: { loads[$0] }) == [0, 0, 500])
    }

    @Test func `with a quantile prefers whoever is cold, then fast`() {
        var balancer = Balancer(
            settings: BalancerSettings(kind: .peakEWMA, hotQuantile: 0.6),
            endpoints: endpoints(0..<3))
        // Two of three have 5 requests or fewer, so the quantile settles between 5 and 50.
        let loads = [50, 5, 4]
        let latencies: [Int64] = [1_000, 20_000, 40_000]
        func counts(_ picks: Int) -> [Int] {
            balancer.counts(
                of: picks, among: 3, load: { loads[$0] }, latency: { latencies[$0] })
        }
        _ = counts(3000)
        let settled = counts(3000)
        // The fastest is hot; the slower of the cold ones gets little.
        #expect(settled[0] < 30, "\(settled)")
        #expect(settled[1] > 2700, "\(settled)")
    }
}
