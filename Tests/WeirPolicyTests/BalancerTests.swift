// What share of the attempts each endpoint gets, counted.

import Testing
import WeirPolicy
import WeirTime

@Suite struct `Any balancer` {
    @Test(arguments: Balancer.Kind.allCases)
    func `picks nothing when there is nothing to pick`(kind: Balancer.Kind) {
        var empty = Balancer(kind: kind, weights: [])
        #expect(empty.counts(of: 10, among: 0) == [])
        var even = Balancer(kind: kind, weights: [1, 1, 1])
        #expect(even.counts(of: 10, among: 3, excluding: { _ in true }) == [0, 0, 0])
        var uneven = Balancer(kind: kind, weights: [1, 2, 3])
        #expect(uneven.counts(of: 10, among: 3, excluding: { _ in true }) == [0, 0, 0])
        var weightless = Balancer(kind: kind, weights: [0, 0])
        #expect(weightless.counts(of: 10, among: 2) == [0, 0])
    }

    @Test(arguments: Balancer.Kind.allCases, [[1], [7], [1, 1, 1], [5, 1, 3], [1, 1000]])
    func `gives everything to the only endpoint left`(kind: Balancer.Kind, weights: [Int]) {
        for survivor in weights.indices {
            var balancer = Balancer(kind: kind, weights: weights)
            let counts = balancer.counts(
                of: 100, among: weights.count, excluding: { $0 != survivor })
            #expect(counts[survivor] == 100)
        }
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `never picks an endpoint of weight zero or below`(kind: Balancer.Kind) {
        var balancer = Balancer(kind: kind, weights: [0, 2, -5, 1])
        let counts = balancer.counts(of: 3000, among: 4)
        #expect(counts[0] == 0 && counts[2] == 0)
        #expect(counts[1] > counts[3] && counts[3] > 0)
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `takes absurd weights without trapping`(kind: Balancer.Kind) {
        var balancer = Balancer(kind: kind, weights: [.max, .max, 1, .min], offset: .max)
        let counts = balancer.counts(of: 1000, among: 4, load: { _ in .max })
        #expect(counts.reduce(0, +) == 1000)
        var ahead = Balancer(kind: kind, weights: [1, 1], offset: .min)
        #expect(ahead.counts(of: 10, among: 2, load: { _ in .min }).reduce(0, +) == 10)
        for absurd in [Int.min, 0, .max] {
            var odd = Balancer(
                settings: BalancerSettings(kind: kind, boundedLoad: .infinity, hotQuantile: 7),
                endpoints: [BalancedEndpoint(priority: .min), BalancedEndpoint(priority: .max)])
            let counts = odd.counts(
                of: 10, among: 2, load: { _ in absurd }, latency: { _ in Int64(absurd) },
                scale: { _ in absurd })
            #expect(counts == [10, 0])
        }
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `replays a seed (I29)`(kind: Balancer.Kind) {
        let original = Balancer(kind: kind, weights: [1, 2, 3])
        var (first, second) = (original, original.ahead(by: 0))
        #expect(first.sequence(of: 100) == second.sequence(of: 100))
    }

    @Test(arguments: Balancer.Kind.allCases, [[1, 1, 1, 1, 1], [3, 1, 4, 1, 5]])
    func `never picks what is excluded while exclusion changes`(
        kind: Balancer.Kind, weights: [Int]
    ) {
        var balancer = Balancer(kind: kind, weights: weights)
        var chance = Chance(seed: 9)
        for _ in 0..<20_000 {
            let excluded = chance.next()
            let picked = balancer.pick(
                chance: &chance, load: { _ in 0 }, excluding: { excluded >> $0 & 1 == 1 })
            if excluded & 31 == 31 {
                #expect(picked == nil)
            } else {
                #expect(picked.map { excluded >> $0 & 1 } == 0)
            }
        }
    }
}

@Suite struct `Round robin` {
    @Test func `takes equal endpoints in turn`() {
        var balancer = Balancer(kind: .roundRobin, weights: [4, 4, 4])
        #expect(balancer.sequence(of: 7) == [0, 1, 2, 0, 1, 2, 0])
    }

    @Test func `spreads a heavy endpoint's turns as nginx does`() {
        var balancer = Balancer(kind: .roundRobin, weights: [5, 1, 1])
        #expect(balancer.sequence(of: 7) == [0, 0, 1, 0, 2, 0, 0])
    }

    @Test(arguments: [[5, 1, 1], [1, 2, 3, 4], [10, 20, 70], [1, 100], [3, 3, 2]])
    func `respects weights exactly over each period`(weights: [Int]) {
        let period = weights.reduce(0, +)
        var balancer = Balancer(kind: .roundRobin, weights: weights)
        for _ in 0..<5 {
            #expect(balancer.counts(of: period, among: weights.count) == weights)
        }
    }

    @Test func `starts each worker elsewhere`() {
        let firsts = (0..<4).map { worker -> Int? in
            var balancer = Balancer(kind: .roundRobin, weights: [1, 1, 1, 1], offset: worker)
            return balancer.sequence(of: 1)[0]
        }
        #expect(firsts == [0, 1, 2, 3])

        var whole = Balancer(kind: .roundRobin, weights: [2, 1, 1])
        let sequence = whole.sequence(of: 8)
        for offset in 0..<4 {
            var ahead = Balancer(kind: .roundRobin, weights: [2, 1, 1], offset: offset)
            #expect(ahead.sequence(of: 4) == Array(sequence[offset..<offset + 4]))
        }
    }

    @Test(arguments: [[1, 1, 1, 1], [4, 1, 2, 2]])
    func `shares an excluded endpoint's turns by weight`(weights: [Int]) {
        var balancer = Balancer(kind: .roundRobin, weights: weights)
        let rest = weights.dropFirst().reduce(0, +)
        let counts = balancer.counts(of: 60 * rest, among: 4, excluding: { $0 == 0 })
        #expect(counts == [0] + weights.dropFirst().map { 60 * $0 })
    }

    @Test func `lets an endpoint that comes back have its share and no more`() {
        var balancer = Balancer(kind: .roundRobin, weights: [3, 2, 1])
        _ = balancer.counts(of: 1000, among: 3, excluding: { $0 == 1 })
        let counts = balancer.counts(of: 60, among: 3)
        for (count, share) in zip(counts, [30, 20, 10]) { #expect(abs(count - share) <= 3) }
    }
}

@Suite struct `Least request` {
    @Test(arguments: [[1, 1], [1, 1, 1, 1, 1], [3, 1], [5, 3, 2], [100, 1], [1, 2, 3, 4, 5]])
    func `uses an idle cluster by weight`(weights: [Int]) {
        let picks = 100_000
        let total = weights.reduce(0, +)
        var balancer = Balancer(kind: .leastRequest, weights: weights)
        let counts = balancer.counts(of: picks, among: weights.count)
        for (count, weight) in zip(counts, weights) {
            let share = Double(weight) / Double(total)
            let deviation = (Double(picks) * share * (1 - share)).squareRoot()
            #expect(abs(Double(count) - Double(picks) * share) < 5 * deviation, "\(counts)")
        }
    }

    @Test func `never picks the most loaded of equals`() {
        let loads = [3, 9, 1, 4]
        var balancer = Balancer(kind: .leastRequest, weights: [1, 1, 1, 1])
        let counts = balancer.counts(of: 10_000, among: 4, load: { loads[$0] })
        #expect(counts[1] == 0)
        // The least loaded one wins whenever it is drawn: with probability 1/2.
        #expect(abs(counts[2] - 5000) < 250, "\(counts)")
    }

    @Test func `compares loads for each unit of weight`() {
        var balancer = Balancer(kind: .leastRequest, weights: [4, 1])
        // 4 a unit against 5 a unit: both are always drawn, and the first has less to do.
        let fromHeavy = balancer.counts(of: 1000, among: 2, load: { [16, 5][$0] })
        #expect(fromHeavy == [1000, 0])
        let fromLight = balancer.counts(of: 1000, among: 2, load: { [24, 5][$0] })
        #expect(fromLight == [0, 1000])
    }

    @Test(arguments: [[1, 1, 1, 1], [4, 2, 1, 1]])
    func `loads endpoints evenly for their capacity`(weights: [Int]) {
        // A closed system: 64 attempts in flight; an endpoint ends attempts in proportion to its
        // weight as long as it has any.
        var balancer = Balancer(kind: .leastRequest, weights: weights)
        var chance = Chance(seed: 5)
        var inFlight = [Int](repeating: 0, count: weights.count)
        var served = inFlight
        var highest = inFlight
        let total = weights.reduce(0, +)
        for step in 0..<200_000 {
            if step >= 64 {
                var drawn = Int(chance.below(UInt32(total)))
                var index = 0
                while drawn >= weights[index] {
                    drawn -= weights[index]
                    index += 1
                }
                guard inFlight[index] > 0 else { continue }
                inFlight[index] -= 1
                served[index] += 1
            }
            let snapshot = inFlight
            let picked = balancer.pick(
                chance: &chance, load: { snapshot[$0] }, excluding: { _ in false })
            guard let picked else { continue }
            inFlight[picked] += 1
            highest[picked] = max(highest[picked], inFlight[picked])
        }
        let sum = served.reduce(0, +)
        for index in weights.indices {
            let share = Double(served[index]) / Double(sum)
            let fair = Double(weights[index]) / Double(total)
            #expect(abs(share / fair - 1) < 0.03, "\(served)")
            #expect(Double(highest[index]) < 64 * fair * 1.8 + 4, "\(highest)")
        }
    }

    @Test(arguments: [[1, 1, 1, 1], [4, 2, 1, 1], [1, 50, 1, 1]])
    func `shares an excluded endpoint's load by weight`(weights: [Int]) {
        var balancer = Balancer(kind: .leastRequest, weights: weights)
        let counts = balancer.counts(of: 40_000, among: 4, excluding: { $0 == 1 })
        let rest = weights[0] + weights[2] + weights[3]
        #expect(counts[1] == 0)
        for index in [0, 2, 3] {
            let fair = 40_000 * Double(weights[index]) / Double(rest)
            // Five standard deviations at the most.
            #expect(abs(Double(counts[index]) - fair) < 500, "\(counts)")
        }
    }
}
