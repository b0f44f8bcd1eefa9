// Balancers that are put to use many times over, and what came of it.

import WeirPolicy
import WeirTime

extension Balancer {
    init(kind: Kind, weights: [Int], offset: Int = 0) {
        self.init(
            settings: BalancerSettings(kind: kind),
            endpoints: weights.enumerated().map {
                BalancedEndpoint(weight: $1, key: StableHash("10.0.0.\($0):80".utf8).value)
            }, offset: offset)
    }

    mutating func pick(
        chance: inout Chance, hash: UInt64? = nil, load: (Int) -> Int,
        latency: (Int) -> Int64 = { _ in 0 }, excluding: (Int) -> Bool
    ) -> Int? {
        pick(
            chance: &chance, hash: hash, load: load, latency: latency,
            scale: { _ in Balancer.fullScale }, excluding: excluding)
    }

    /// Counts picks by endpoint; `nil` picks are not counted.
    mutating func counts(
        of picks: Int, among endpoints: Int, seed: UInt64 = 1,
        load: (Int) -> Int = { _ in 0 }, latency: (Int) -> Int64 = { _ in 0 },
        scale: (Int) -> Int = { _ in Balancer.fullScale },
        excluding: (Int) -> Bool = { _ in false }
    ) -> [Int] {
        var chance = Chance(seed: seed)
        var counts = [Int](repeating: 0, count: endpoints)
        for _ in 0..<picks {
            let picked = pick(
                chance: &chance, hash: nil, load: load, latency: latency, scale: scale,
                excluding: excluding)
            if let picked { counts[picked] += 1 }
        }
        return counts
    }

    mutating func sequence(of picks: Int) -> [Int?] {
        var chance = Chance(seed: 1)
        return (0..<picks).map { _ in
            pick(chance: &chance, load: { _ in 0 }, excluding: { _ in false })
        }
    }

    /// Where the keys 1 to `keys` go.
    mutating func homes(
        of keys: Int, scale: (Int) -> Int = { _ in Balancer.fullScale },
        excluding: (Int) -> Bool = { _ in false }
    ) -> [Int?] {
        var chance = Chance(seed: 1)
        return (1...keys).map { key in
            pick(
                chance: &chance, hash: UInt64(key), load: { _ in 0 }, latency: { _ in 0 },
                scale: scale, excluding: excluding)
        }
    }
}

/// Endpoints of equal weight whose keys are their addresses'.
func endpoints(_ numbers: some Sequence<Int>, weight: Int = 1) -> [BalancedEndpoint] {
    numbers.map {
        BalancedEndpoint(
            weight: weight, key: StableHash("10.0.\($0 >> 8).\($0 & 255):80".utf8).value)
    }
}

/// Whether a count of independent picks is within five standard deviations of its expectation.
func isLikely(_ count: Int, of picks: Int, share: Double) -> Bool {
    let deviation = (Double(picks) * share * (1 - share)).squareRoot()
    return abs(Double(count) - Double(picks) * share) <= 5 * deviation + 1
}
