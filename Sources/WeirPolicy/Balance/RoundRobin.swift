// Endpoints in turn, by weight.

import WeirTime

/// Smooth weighted round robin (nginx, 2012); plainly in turn where weights are equal.
struct RoundRobin: Sendable {
    private let indices: [Int]
    /// Divided by their greatest common divisor.
    private let weights: [Int]
    private let total: Int
    private let isEven: Bool
    /// Equal weights: the place to try first.
    private var next = 0
    /// Unequal weights: how much each endpoint is owed, in 16.16 fixed point.
    private var credits: [Int]
    /// Bounds the picks that an offset is worth, since each costs O(n) with unequal weights.
    private static let maxOffset = 1024

    init(members: [Member]) {
        indices = members.map(\.index)
        weights = WeightedDraw.reduced(members)
        total = weights.reduce(0, +)
        isEven = weights.allSatisfy { $0 == 1 }
        credits = isEven ? [] : [Int](repeating: 0, count: weights.count)
    }

    mutating func moveAhead(by offset: Int) {
        guard offset > 0, total > 0 else { return }
        if isEven {
            next = (next + offset % indices.count) % indices.count
        } else {
            for _ in 0..<offset % total % Self.maxOffset {
                _ = pickByCredit({ _ in Balancer.fullScale }) { _ in false }
            }
        }
    }

    mutating func pick(
        _ chance: inout Chance, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        isEven ? pickInTurn(&chance, scale, excluding) : pickByCredit(scale, excluding)
    }

    /// An endpoint in slow start gives up some of its turns, by chance.
    private mutating func pickInTurn(
        _ chance: inout Chance, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        var place = next
        var passed: Int?
        for _ in 0..<indices.count {
            let following = place + 1 == indices.count ? 0 : place + 1
            let index = indices[place]
            if !excluding(index) {
                if chance.mayUse(scale: scale(index)) {
                    next = following
                    return index
                }
                if passed == nil { passed = place }
            }
            place = following
        }
        guard let passed else { return nil }
        next = passed + 1 == indices.count ? 0 : passed + 1
        return indices[passed]
    }

    /// Each eligible endpoint is owed its weight more; who is owed most is picked and pays for all.
    private mutating func pickByCredit(
        _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        let (weights, indices) = (weights, indices)
        return credits.withUnsafeMutableBufferPointer { credits in
            var best: Int?
            var paid = 0
            for place in 0..<credits.count where !excluding(indices[place]) {
                let due = weights[place] * WeightedDraw.clamped(scale(indices[place]))
                credits[place] += due
                paid += due
                if let leader = best, credits[leader] >= credits[place] { continue }
                best = place
            }
            guard let best else { return nil }
            credits[best] -= paid
            return indices[best]
        }
    }
}
