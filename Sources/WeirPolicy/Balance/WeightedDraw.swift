// Drawing endpoints at random by weight: the candidates that are then compared.

import WeirTime

/// Draws places of a list with the probability of their weights.
struct WeightedDraw: Sendable {
    /// The endpoint at each place, as `pick` names it.
    let indices: [Int]
    /// Divided by their greatest common divisor.
    let weights: [Int]
    private let total: Int
    private let isEven: Bool
    /// Unequal weights: their sums up to and with each place.
    private let sums: [Int]
    /// Draws that may hit an endpoint which is excluded, before all are asked.
    private static let tries = 3

    init(members: [Member]) {
        indices = members.map(\.index)
        weights = Self.reduced(members)
        total = weights.reduce(0, +)
        isEven = weights.allSatisfy { $0 == 1 }
        var sum = 0
        sums = weights.map {
            sum += $0
            return sum
        }
    }

    /// Draws a place that is eligible and none of those `drawn` before; `nil` if there is none.
    ///
    /// An endpoint in slow start is drawn with the probability of its scaled weight.
    func place(
        _ chance: inout Chance, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool,
        not first: Int = -1, nor second: Int = -1
    ) -> Int? {
        for _ in 0..<Self.tries where total > 0 {
            let place = place(at: chance.below(total))
            if place == first || place == second || excluding(indices[place]) { continue }
            if chance.mayUse(scale: scale(indices[place])) { return place }
        }
        // O(n). Reservoir sampling: each eligible endpoint replaces the choice so far with the
        // probability of its share, so one pass is enough and exclusion may change meanwhile.
        var chosen: Int?
        var sum = 0
        for place in 0..<weights.count where place != first && place != second {
            if excluding(indices[place]) { continue }
            let weight = scaledWeight(place, scale)
            sum += weight
            if chance.below(sum) < weight { chosen = place }
        }
        return chosen
    }

    /// In 16.16 fixed point, and never nothing.
    func scaledWeight(_ place: Int, _ scale: (Int) -> Int) -> Int {
        weights[place] * Self.clamped(scale(indices[place]))
    }

    /// The load for each unit of weight, in 16.16 fixed point.
    func level(_ place: Int, _ load: (Int) -> Int, _ scale: (Int) -> Int) -> Int {
        let inFlight = min(max(load(indices[place]), 0), 1 << 30 - 1)
        return inFlight << 32 / scaledWeight(place, scale)
    }

    /// The place that a number in `0..<total` falls to.
    private func place(at number: Int) -> Int {
        if isEven { return number }
        var low = 0
        var high = sums.count - 1
        while low < high {
            let middle = (low + high) / 2
            if sums[middle] > number { high = middle } else { low = middle + 1 }
        }
        return low
    }

    static func clamped(_ scale: Int) -> Int { min(max(scale, 1), Balancer.fullScale) }

    /// The members' weights, divided by their greatest common divisor.
    static func reduced(_ members: [Member]) -> [Int] {
        var divisor = 0
        for member in members {
            var (a, b) = (divisor, member.weight)
            while b != 0 { (a, b) = (b, a % b) }
            divisor = a
        }
        return members.map { $0.weight / max(divisor, 1) }
    }
}
