// Who serves when part of a priority or zone is unavailable.

import Testing
import WeirPolicy
import WeirTime

private func tier(
    _ count: Int, priority: Int = 0, isLocal: Bool = false, weight: Int = 1, from first: Int
) -> [BalancedEndpoint] {
    endpoints(first..<first + count, weight: weight).map {
        BalancedEndpoint(
            weight: $0.weight, priority: priority, isLocalZone: isLocal, key: $0.key)
    }
}

/// How many of 20,000 attempts go to each tier of `size` endpoints.
private func shares(
    _ kind: Balancer.Kind, _ endpoints: [BalancedEndpoint], size: Int, excluded: [Int]
) -> [Int] {
    var balancer = Balancer(settings: BalancerSettings(kind: kind), endpoints: endpoints)
    let out = Set(excluded)
    let counts = balancer.counts(
        of: 20_000, among: endpoints.count, excluding: { out.contains($0) })
    return stride(from: 0, to: counts.count, by: size).map {
        counts[$0..<$0 + size].reduce(0, +)
    }
}

@Suite struct `Priorities` {
    private let two = tier(10, from: 0) + tier(10, priority: 1, from: 10)

    @Test(arguments: Balancer.Kind.allCases, [[], [0, 1]])
    func `leave the next one idle while the first has enough`(kind: Balancer.Kind, out: [Int]) {
        #expect(shares(kind, two, size: 10, excluded: out) == [20_000, 0])
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `fail over when nothing of the first is left`(kind: Balancer.Kind) {
        #expect(shares(kind, two, size: 10, excluded: Array(0..<10)) == [0, 20_000])
    }

    @Test(arguments: Balancer.Kind.allCases, [(5, 0.7), (3, 0.42), (1, 0.14)])
    func `serve 1.4 times what is available and send on the rest`(
        kind: Balancer.Kind, left: (Int, Double)
    ) {
        let served = shares(kind, two, size: 10, excluded: Array(left.0..<10))
        #expect(isLikely(served[0], of: 20_000, share: left.1), "\(served)")
        #expect(served[0] + served[1] == 20_000)
    }

    @Test func `share in proportion when all together are short`() {
        // 2 and 3 of 10 can serve 28 % and 42 %.
        let served = shares(
            .leastRequest, two, size: 10, excluded: Array(2..<10) + Array(13..<20))
        #expect(isLikely(served[0], of: 20_000, share: 0.4), "\(served)")
        #expect(served[0] + served[1] == 20_000)
    }

    @Test func `are used in order of their numbers, however these are spaced and listed`() {
        let three =
            tier(2, priority: 9, from: 0) + tier(2, priority: 3, from: 2)
            + tier(2, priority: 5, from: 4)
        #expect(shares(.roundRobin, three, size: 2, excluded: []) == [0, 20_000, 0])
        #expect(shares(.roundRobin, three, size: 2, excluded: [2, 3]) == [0, 0, 20_000])
        #expect(shares(.roundRobin, three, size: 2, excluded: [2, 3, 4, 5]) == [20_000, 0, 0])
        // One of two serves 70 %, the next priority the rest.
        let served = shares(.roundRobin, three, size: 2, excluded: [2])
        #expect(isLikely(served[1], of: 20_000, share: 0.7) && served[0] == 0, "\(served)")
    }

    @Test func `count weights, not heads`() {
        let heavy = tier(1, weight: 9, from: 0) + tier(1, from: 1) + tier(2, priority: 1, from: 2)
        #expect(shares(.leastRequest, heavy, size: 2, excluded: [1]) == [20_000, 0])
        let served = shares(.leastRequest, heavy, size: 2, excluded: [0])
        #expect(isLikely(served[0], of: 20_000, share: 0.14), "\(served)")
    }

    @Test func `of endpoints without weight do not exist`() {
        let idle = tier(2, weight: 0, from: 0) + tier(2, priority: 1, from: 2)
        #expect(shares(.roundRobin, idle, size: 2, excluded: []) == [0, 20_000])
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `find the last endpoint of the last one`(kind: Balancer.Kind) {
        let many = (0..<5).flatMap { tier(4, priority: $0, isLocal: $0 % 2 == 0, from: 4 * $0) }
        for survivor in [0, 7, 19] {
            let served = shares(
                kind, many, size: 1, excluded: (0..<20).filter { $0 != survivor })
            #expect(served[survivor] == 20_000)
        }
    }
}

@Suite struct `Zones` {
    private let cluster =
        tier(5, isLocal: false, from: 0) + tier(5, isLocal: true, from: 5)
        + tier(5, priority: 1, isLocal: true, from: 10)

    @Test(arguments: Balancer.Kind.allCases, [[], [5], [0, 1, 2, 3, 4]])
    func `keep attempts in weir's own while it has enough`(kind: Balancer.Kind, out: [Int]) {
        // Without the other zone half of the priority is left, and 30 % go to the next one.
        let served = shares(kind, cluster, size: 5, excluded: out)
        #expect(served[0] == 0, "\(served)")
        if out.count < 5 {
            #expect(served == [0, 20_000, 0])
        } else {
            #expect(isLikely(served[1], of: 20_000, share: 0.7), "\(served)")
        }
    }

    @Test(arguments: Balancer.Kind.allCases)
    func `overflow to the others before the next priority`(kind: Balancer.Kind) {
        // 2 of 5 serve 56 %; 7 of 10 of the priority serve 98 %.
        let served = shares(kind, cluster, size: 5, excluded: [5, 6, 7])
        #expect(isLikely(served[2], of: 20_000, share: 0.02), "\(served)")
        #expect(isLikely(served[1], of: 20_000, share: 0.98 * 0.56), "\(served)")
    }

    @Test func `of weir's own that are gone leave all to the others`() {
        let served = shares(.peakEWMA, cluster, size: 5, excluded: [5, 6, 7, 8, 9])
        #expect(isLikely(served[0], of: 20_000, share: 0.7), "\(served)")
        #expect(served[1] == 0)
    }

    @Test func `do not matter where all or none are weir's own`() {
        for isLocal in [true, false] {
            let same = tier(4, isLocal: isLocal, from: 0)
            #expect(shares(.roundRobin, same, size: 1, excluded: [0, 1, 2]) == [0, 0, 0, 20_000])
            #expect(
                shares(.roundRobin, same, size: 1, excluded: [])
                    == [5000, 5000, 5000, 5000])
        }
    }
}
