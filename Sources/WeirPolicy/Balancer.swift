// Which endpoint gets the next attempt.

package import WeirTime

/// Picks one endpoint of a cluster.
///
/// One per worker and cluster; decisions take chance as an argument, so a seed replays them.
/// Endpoints are named by their index in the list of weights. A pick allocates nothing.
package struct Balancer: Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        /// In turn, smoothly by weight (nginx's smooth weighted round robin, 2012).
        case roundRobin = "round_robin"
        /// The less loaded of two drawn by weight (Mitzenmacher, 2001).
        case leastRequest = "least_request"
    }

    /// Weights beyond this one count as this one.
    package static let maxWeight = 1_000_000
    /// Bounds the picks that an offset is worth, since each costs O(n) with unequal weights.
    private static let maxOffset = 1024

    private let kind: Kind
    /// Divided by their greatest common divisor.
    private let weights: [Int]
    private let total: Int
    private let isEven: Bool
    /// Even round robin: the index to try first.
    private var next = 0
    /// Weighted round robin: how much each endpoint is owed.
    private var credits: [Int] = []
    /// Least request with unequal weights: the sums of the weights up to and with each endpoint.
    private var sums: [Int] = []

    /// - Parameters:
    ///   - weights: one an endpoint; an endpoint of weight zero is never picked.
    ///   - offset: how many picks to be ahead: the worker's number, say, so that workers do not all
    ///     begin with the same endpoint.
    package init(kind: Kind, weights: [Int], offset: Int = 0) {
        let clamped = weights.map { min(max($0, 0), Self.maxWeight) }
        let divisor = max(clamped.reduce(0, Self.greatestCommonDivisor), 1)
        self.kind = kind
        self.weights = clamped.map { $0 / divisor }
        total = self.weights.reduce(0, +)
        isEven = self.weights.allSatisfy { $0 == 1 }
        let isAhead = max(offset, 0)
        switch kind {
        case .roundRobin where isEven:
            next = weights.isEmpty ? 0 : isAhead % weights.count
        case .roundRobin:
            credits = [Int](repeating: 0, count: weights.count)
            let skipped = total == 0 ? 0 : isAhead % total % Self.maxOffset
            for _ in 0..<skipped { _ = pickByCredit { _ in false } }
        case .leastRequest:
            var sum = 0
            sums = self.weights.map {
                sum += $0
                return sum
            }
        }
    }

    /// Picks an endpoint; `nil` when all are excluded or there is none.
    ///
    /// - Parameters:
    ///   - load: the attempts in flight at an endpoint. Asked for least request only.
    ///   - excluding: the endpoint must not be picked. May be asked more than once about each.
    package mutating func pick(
        chance: inout Chance, load: (Int) -> Int, excluding: (Int) -> Bool
    ) -> Int? {
        switch kind {
        case .roundRobin: isEven ? pickInTurn(excluding) : pickByCredit(excluding)
        case .leastRequest: pickLessLoaded(&chance, load, excluding)
        }
    }

    private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
        var (a, b) = (a, b)
        while b != 0 { (a, b) = (b, a % b) }
        return a
    }
}

// MARK: Round robin

extension Balancer {
    private mutating func pickInTurn(_ excluding: (Int) -> Bool) -> Int? {
        var index = next
        for _ in 0..<weights.count {
            let following = index + 1 == weights.count ? 0 : index + 1
            if !excluding(index) {
                next = following
                return index
            }
            index = following
        }
        return nil
    }

    /// Each eligible endpoint is owed its weight more; who is owed most is picked and pays for all.
    private mutating func pickByCredit(_ excluding: (Int) -> Bool) -> Int? {
        let weights = weights
        return credits.withUnsafeMutableBufferPointer { credits in
            var best: Int?
            var paid = 0
            for index in 0..<credits.count where weights[index] > 0 && !excluding(index) {
                credits[index] += weights[index]
                paid += weights[index]
                if let leader = best, credits[leader] >= credits[index] { continue }
                best = index
            }
            if let best { credits[best] -= paid }
            return best
        }
    }
}

// MARK: Least request

extension Balancer {
    private func pickLessLoaded(
        _ chance: inout Chance, _ load: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        guard total > 0 else { return nil }
        var first = draw(chance.below(total))
        if excluding(first) {
            guard let eligible = drawEligible(&chance, excluding) else { return nil }
            first = eligible
        }
        let rest = total - weights[first]
        guard rest > 0 else { return first }
        var second = draw(chance.below(rest), skipping: first)
        if excluding(second) {
            let others = drawEligible(&chance) { $0 == first || excluding($0) }
            guard let eligible = others else { return first }
            second = eligible
        }
        return lessLoaded(first, second, &chance, load)
    }

    /// The endpoint that a number in `0..<total` falls to.
    private func draw(_ number: Int) -> Int {
        if isEven { return number }
        var low = 0
        var high = sums.count - 1
        while low < high {
            let middle = (low + high) / 2
            if sums[middle] > number { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// As if the endpoint `skipped` had no weight.
    private func draw(_ number: Int, skipping skipped: Int) -> Int {
        let isBefore = number < sums[skipped] - weights[skipped]
        return draw(isBefore ? number : number + weights[skipped])
    }

    /// Compares the requests in flight for each unit of weight.
    ///
    /// Both quotients are rounded by one random share: endpoints that differ by less than a request
    /// a unit mostly tie, and a tie goes to the first drawn. So an idle cluster is used by weight;
    /// were the quotients compared exactly, its heaviest endpoint would get everything.
    private func lessLoaded(
        _ first: Int, _ second: Int, _ chance: inout Chance, _ load: (Int) -> Int
    ) -> Int {
        let firstLoad = min(max(load(first), 0), Int(Int32.max))
        let secondLoad = min(max(load(second), 0), Int(Int32.max))
        if weights[first] == weights[second] { return secondLoad < firstLoad ? second : first }
        let share = Int(chance.below(1 << 16 as UInt32))
        let firstLevel = (firstLoad << 16 / weights[first] + share) >> 16
        let secondLevel = (secondLoad << 16 / weights[second] + share) >> 16
        return secondLevel < firstLevel ? second : first
    }

    /// The slow way, O(n), when the fast draw hit an endpoint that is excluded.
    ///
    /// Reservoir sampling: each eligible endpoint replaces the choice so far with the probability
    /// of its share, so one pass is enough and exclusion may change meanwhile.
    private func drawEligible(_ chance: inout Chance, _ excluding: (Int) -> Bool) -> Int? {
        var chosen: Int?
        var sum = 0
        for index in 0..<weights.count where weights[index] > 0 && !excluding(index) {
            sum += weights[index]
            if chance.below(sum) < weights[index] { chosen = index }
        }
        return chosen
    }
}

extension Chance {
    /// A number in `0..<bound`; 0 when `bound` is not positive.
    fileprivate mutating func below(_ bound: Int) -> Int {
        bound > 0 ? Int(next().multipliedFullWidth(by: UInt64(bound)).high) : 0
    }
}
