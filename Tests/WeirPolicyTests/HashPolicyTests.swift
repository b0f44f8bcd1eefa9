// Keys that stay where they are: how evenly they are spread, how few move, and how load is bounded.

import Testing
import WeirPolicy
import WeirTime

private let kinds: [Balancer.Kind] = [.ringHash, .maglev]

private func balancer(
    _ kind: Balancer.Kind, _ endpoints: [BalancedEndpoint], boundedLoad: Double? = nil
) -> Balancer {
    Balancer(
        settings: BalancerSettings(kind: kind, boundedLoad: boundedLoad), endpoints: endpoints)
}

private func tally(_ homes: [Int?], among count: Int) -> [Int] {
    var counts = [Int](repeating: 0, count: count)
    for case .some(let home) in homes { counts[home] += 1 }
    return counts
}

@Suite struct `A hash policy` {
    @Test(
        arguments: kinds, [[1, 1, 1, 1, 1, 1, 1, 1], [1, 2, 4], [100, 100, 300], [1000, 3000]])
    func `spreads keys by weight`(kind: Balancer.Kind, weights: [Int]) {
        var balancer = Balancer(kind: kind, weights: weights)
        let counts = tally(balancer.homes(of: 100_000), among: weights.count)
        let total = weights.reduce(0, +)
        #expect(counts.reduce(0, +) == 100_000)
        // The ring's points lie by chance, and there are 160 or more; the table is nearly exact.
        let tolerance = kind == .ringHash ? 0.3 : 0.04
        for (count, weight) in zip(counts, weights) {
            let fair = Double(100_000 * weight) / Double(total)
            #expect(abs(Double(count) / fair - 1) < tolerance, "\(counts)")
        }
    }

    @Test(arguments: kinds)
    func `spreads attempts without a key by weight`(kind: Balancer.Kind) {
        var balancer = Balancer(kind: kind, weights: [1, 3])
        let counts = balancer.counts(of: 40_000, among: 2)
        #expect(abs(counts[0] - 10_000) < 2_000, "\(counts)")
    }

    @Test(arguments: kinds)
    func `keeps a key where it is, whatever the chance and the worker`(kind: Balancer.Kind) {
        let original = balancer(kind, endpoints(0..<7))
        var (first, second) = (original, original.ahead(by: 12_345))
        var (one, other) = (Chance(seed: 1), Chance(seed: 2))
        for key in 1...2000 as ClosedRange<UInt64> {
            let home = first.pick(
                chance: &one, hash: key, load: { _ in 0 }, excluding: { _ in false })
            let same = second.pick(
                chance: &other, hash: key, load: { _ in 0 }, excluding: { _ in false })
            #expect(home == same && home != nil)
        }
    }

    @Test(arguments: kinds)
    func `does not care in what order endpoints are listed`(kind: Balancer.Kind) {
        let listed = endpoints(0..<9)
        var forwards = balancer(kind, listed)
        var backwards = balancer(kind, listed.reversed())
        let homes = forwards.homes(of: 5000)
        #expect(backwards.homes(of: 5000).map { $0.map { 8 - $0 } } == homes)
    }

    @Test(arguments: kinds, [[], [0, 2], [1, 2, 3, 4, 5, 6, 7, 8]])
    func `sends a key back home once it is available again`(kind: Balancer.Kind, excluded: [Int]) {
        var balancer = balancer(kind, endpoints(0..<9))
        let homes = balancer.homes(of: 3000)
        let exiled = balancer.homes(of: 3000, excluding: { excluded.contains($0) })
        for (home, exile) in zip(homes, exiled) {
            if let home, excluded.contains(home) {
                #expect(exile != home && exile != nil)
            } else {
                #expect(exile == home)
            }
        }
        #expect(balancer.homes(of: 3000) == homes)
    }

    @Test(arguments: kinds)
    func `shares the keys of an excluded endpoint among all others`(kind: Balancer.Kind) {
        var balancer = balancer(kind, endpoints(0..<10))
        let homes = balancer.homes(of: 50_000)
        let exiled = balancer.homes(of: 50_000, excluding: { $0 == 4 })
        let moved = zip(homes, exiled).filter { $0.0 == 4 }.map(\.1)
        let counts = tally(moved, among: 10)
        for index in 0..<10 where index != 4 {
            // Each of the ring's 160 arcs goes to one neighbour; the table's slots are redrawn.
            let tolerance = kind == .ringHash ? 1.0 : 0.25
            let fair = Double(moved.count) / 9
            #expect(abs(Double(counts[index]) - fair) < fair * tolerance, "\(counts)")
        }
    }

    @Test(arguments: kinds)
    func `finds the one light endpoint that is left among heavy ones`(kind: Balancer.Kind) {
        let heavy = endpoints(0..<50, weight: 1000)
        var balancer = balancer(kind, heavy + endpoints(50..<51))
        #expect(
            balancer.homes(of: 200, excluding: { $0 != 50 }) == Array(repeating: 50, count: 200))
    }

    @Test func `tells endpoints with the same key apart`() {
        for kind in kinds {
            var balancer = balancer(kind, [BalancedEndpoint(key: 5), BalancedEndpoint(key: 5)])
            let counts = tally(balancer.homes(of: 10_000), among: 2)
            #expect(abs(counts[0] - 5000) < 1500, "\(counts)")
        }
    }
}

@Suite struct `When an endpoint leaves` {
    /// The share of keys that move from an endpoint that leaves, and between others.
    private func moved(_ kind: Balancer.Kind, _ count: Int, weight: Int = 1) -> [(Double, Double)] {
        let listed = endpoints(0..<count, weight: weight)
        var whole = balancer(kind, listed)
        let homes = whole.homes(of: 20_000)
        return [0, count / 2, count - 1].map { leaver in
            var rest = listed
            rest.remove(at: leaver)
            var balancer = balancer(kind, rest)
            var (lost, strayed) = (0, 0)
            for (home, now) in zip(homes, balancer.homes(of: 20_000)) {
                guard let home, let now else { continue }
                if home == leaver {
                    lost += 1
                } else if home != (now < leaver ? now : now + 1) {
                    strayed += 1
                }
            }
            return (Double(lost) / 20_000, Double(strayed) / 20_000)
        }
    }

    @Test(arguments: [(2, 1), (5, 1), (10, 7), (40, 1000)])
    func `the ring moves its keys and no others`(count: Int, weight: Int) {
        for (lost, strayed) in moved(.ringHash, count, weight: weight) {
            #expect(strayed == 0)
            #expect(abs(lost * Double(count) - 1) < 0.35)
        }
    }

    @Test(arguments: [2, 5, 10, 40])
    func `the table moves its keys and a few others`(count: Int) {
        for (lost, strayed) in moved(.maglev, count) {
            #expect(strayed < 0.05)
            #expect(isLikely(Int(lost * 20_000), of: 20_000, share: 1 / Double(count)))
        }
    }

    @Test func `the ring moves no key among endpoints of other weights`() {
        let heavy = endpoints(0..<4, weight: 8)
        let light = endpoints(4..<8, weight: 3)
        var whole = balancer(.ringHash, heavy + light)
        var rest = balancer(.ringHash, heavy + light.dropLast())
        for (home, now) in zip(whole.homes(of: 20_000), rest.homes(of: 20_000)) where home != 7 {
            #expect(home == now)
        }
    }
}

@Suite struct `Bounded load` {
    @Test(arguments: kinds, [1.0, 1.25, 2.0])
    func `is never exceeded, whatever keys are hot and whoever is excluded`(
        kind: Balancer.Kind, factor: Double
    ) {
        for seed in 1...6 as ClosedRange<UInt64> {
            let weights = seed % 2 == 0 ? [1, 1, 1, 1, 1, 1] : [1, 2, 3, 4, 1, 1]
            let listed = zip(endpoints(0..<6), weights).map { endpoint, weight in
                BalancedEndpoint(weight: weight, key: endpoint.key)
            }
            var balancer = balancer(kind, listed, boundedLoad: factor)
            var chance = Chance(seed: seed)
            var load = [Int](repeating: 0, count: 6)
            for _ in 0..<3000 {
                if chance.below(100) < 45, let busy = load.firstIndex(where: { $0 > 0 }) {
                    load[busy] -= 1
                    continue
                }
                let loads = load
                let excluded = Int(chance.below(12))
                // Half of all attempts have one of three keys.
                let key = UInt64(chance.below(2) == 0 ? chance.below(3) : chance.below(10_000)) + 1
                let picked = balancer.pick(
                    chance: &chance, hash: key, load: { loads[$0] }, excluding: { $0 == excluded })
                guard let picked else {
                    Issue.record("nothing picked with \(loads)")
                    continue
                }
                let left = (0..<6).filter { $0 != excluded }
                let total = left.reduce(0) { $0 + loads[$1] }
                let share = Double(weights[picked]) / Double(left.reduce(0) { $0 + weights[$1] })
                load[picked] += 1
                let bound = (factor * Double(total + 1) * share - 1e-9).rounded(.up)
                #expect(Double(load[picked]) <= bound, "seed \(seed): \(loads), \(picked)")
            }
        }
    }

    @Test(arguments: kinds)
    func `leaves a key at home while there is room`(kind: Balancer.Kind) {
        var free = balancer(kind, endpoints(0..<5))
        var bounded = balancer(kind, endpoints(0..<5), boundedLoad: 1.25)
        var chance = Chance(seed: 1)
        for key in 1...1000 as ClosedRange<UInt64> {
            // All alike: one more is within 1.25 × 81 / 5, rounded up to 21.
            let home = free.pick(
                chance: &chance, hash: key, load: { _ in 16 }, excluding: { _ in false })
            let same = bounded.pick(
                chance: &chance, hash: key, load: { _ in 16 }, excluding: { _ in false })
            #expect(home == same)
        }
    }

    @Test(arguments: kinds)
    func `of a single hot key spills to few endpoints, the same ones each time`(kind: Balancer.Kind)
    {
        func run() -> [Int] {
            var balancer = balancer(kind, endpoints(0..<10), boundedLoad: 2)
            var chance = Chance(seed: 1)
            var load = [Int](repeating: 0, count: 10)
            for _ in 0..<200 {
                let loads = load
                let picked = balancer.pick(
                    chance: &chance, hash: 77, load: { loads[$0] }, excluding: { _ in false })
                if let picked { load[picked] += 1 }
            }
            return load
        }
        let load = run()
        #expect(load.max() == 40)
        #expect(load.filter { $0 > 0 }.count <= 6, "\(load)")
        #expect(run() == load)
    }
}
