// What an endpoint gets while it is new: more as its scale grows.

import Testing
import WeirPolicy
import WeirTime

private func scale(_ share: Double) -> Int { Int(share * Double(Balancer.fullScale)) }

@Suite struct `Slow start` {
    @Test(arguments: Balancer.Kind.allCases, [[1, 1, 1, 1], [2, 1, 3, 2]])
    func `gives an endpoint its scaled share, and more of it as it grows`(
        kind: Balancer.Kind, weights: [Int]
    ) {
        var balancer = Balancer(kind: kind, weights: weights)
        let total = Double(weights.reduce(0, +))
        let own = Double(weights[0])
        var before = 0
        for share in [0.05, 0.1, 0.25, 0.5, 0.75, 1] {
            let counts = balancer.counts(
                of: 40_000, among: 4, scale: { $0 == 0 ? scale(share) : Balancer.fullScale })
            #expect(counts.reduce(0, +) == 40_000)
            #expect(counts[0] > before, "\(share): \(counts)")
            before = counts[0]
            // What it does not get goes to others, so its share is of less than the total; a
            // ring's shares are inexact besides.
            let least = share * own / total
            let most = share * own / (total - own + share * own)
            #expect(Double(counts[0]) > 40_000 * least * 0.75, "\(share): \(counts)")
            #expect(Double(counts[0]) < 40_000 * most * 1.3, "\(share): \(counts)")
        }
    }

    @Test(
        arguments: [Balancer.Kind.roundRobin, .leastRequest, .peakEWMA], [[1, 1, 1], [1, 2, 3]])
    func `changes nothing where all are new`(kind: Balancer.Kind, weights: [Int]) {
        for share in [0, 0.02, 0.5] {
            var balancer = Balancer(kind: kind, weights: weights)
            let counts = balancer.counts(of: 30_000, among: 3, scale: { _ in scale(share) })
            let total = weights.reduce(0, +)
            for (count, weight) in zip(counts, weights) {
                #expect(abs(count - 30_000 * weight / total) < 900, "\(share): \(counts)")
            }
        }
    }

    @Test(arguments: Balancer.Kind.allCases, [0, 0.01])
    func `uses a new endpoint when it is all there is`(kind: Balancer.Kind, share: Double) {
        var balancer = Balancer(kind: kind, weights: [1, 1, 1])
        let counts = balancer.counts(
            of: 300, among: 3, scale: { _ in scale(share) }, excluding: { $0 != 2 })
        #expect(counts == [0, 0, 300])
    }

    @Test(arguments: [Balancer.Kind.leastRequest, .peakEWMA])
    func `counts a request in flight for more`(kind: Balancer.Kind) {
        var balancer = Balancer(kind: kind, weights: [1, 1])
        // At a quarter of its scale, two requests are as eight.
        let loads = [2, 6]
        let scales = [Balancer.fullScale / 4, Balancer.fullScale]
        let counts = balancer.counts(
            of: 1000, among: 2, load: { loads[$0] }, latency: { _ in 1_000_000 },
            scale: { scales[$0] })
        #expect(counts == [0, 1000])
    }

    @Test(arguments: [Balancer.Kind.ringHash, .maglev])
    func `moves keys home one after another, and those stay`(kind: Balancer.Kind) {
        var balancer = Balancer(kind: kind, weights: [1, 1, 1, 1, 1])
        let homes = balancer.homes(of: 10_000)
        let own = homes.filter { $0 == 2 }.count
        var before = [Int?](repeating: nil, count: homes.count)
        for percent in stride(from: 10, through: 100, by: 10) {
            let now = balancer.homes(
                of: 10_000,
                scale: { $0 == 2 ? scale(Double(percent) / 100) : Balancer.fullScale })
            for index in homes.indices {
                if before[index] == 2 { #expect(now[index] == 2) }
                if homes[index] != 2 { #expect(now[index] == homes[index]) }
            }
            let arrived = now.filter { $0 == 2 }.count
            #expect(abs(arrived - own * percent / 100) < 5 + own / 10)
            before = now
        }
        #expect(before == homes)
    }
}
