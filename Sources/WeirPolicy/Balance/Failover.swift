// Which tier of endpoints serves an attempt, when there are several: by priority, then by zone.

import WeirTime

/// Divides attempts between tiers by what share of each is available.
///
/// A priority serves min(100 %, 1.4 × the share of its weight that is available) of the attempts,
/// and what it does not serve goes on to the next one; so with 5 of 7 endpoints nothing is sent
/// away yet, and with half of them 30 % is (Envoy's over-provisioning factor). When all together
/// serve less than 100 %, they share everything in proportion. Within a priority weir's own zone
/// and the others divide its attempts in the same way. What counts as available is what `pick` does
/// not exclude: an endpoint that is full counts as absent, so a zone that is full spills over.
struct Failover: Sendable {
    /// The tiers of each priority, one or two.
    private let levels: [Range<Int>]
    /// 1.4 as a fraction.
    private static let (numerator, denominator) = (7, 5)

    /// - Parameter priorities: that of each tier, in order.
    init(priorities: [Int]) {
        var levels: [Range<Int>] = []
        for (tier, priority) in priorities.enumerated() {
            if let last = levels.last, priorities[last.lowerBound] == priority {
                levels[levels.count - 1] = last.lowerBound..<tier + 1
            } else {
                levels.append(tier..<tier + 1)
            }
        }
        self.levels = levels
    }

    /// The tier to pick from; `nil` when nothing is available in any.
    func choose(
        _ chance: inout Chance, among tiers: [Tier], excluding: (Int) -> Bool
    ) -> Int? {
        guard let level = chooseLevel(&chance, tiers, excluding) else { return nil }
        guard level.count > 1 else { return level.lowerBound }
        let local = share(of: level.prefix(1), tiers, excluding)
        if local >= Balancer.fullScale { return level.lowerBound }
        if share(of: level.dropFirst(), tiers, excluding) == 0 { return level.lowerBound }
        return level.lowerBound + (chance.mayUse(scale: local) ? 0 : 1)
    }

    private func chooseLevel(
        _ chance: inout Chance, _ tiers: [Tier], _ excluding: (Int) -> Bool
    ) -> Range<Int>? {
        var served = 0
        for level in levels {
            let share = share(of: level, tiers, excluding)
            // As it almost always is.
            if share >= Balancer.fullScale && served == 0 { return level }
            served += share
            if served >= Balancer.fullScale { break }
        }
        var drawn = chance.below(min(served, Balancer.fullScale))
        var last: Range<Int>?
        for level in levels {
            // Asked again, rather than remembered, as this is rare and would need memory.
            let share = share(of: level, tiers, excluding)
            if share > 0 { last = level }
            if drawn < share { return level }
            drawn -= share
        }
        return last
    }

    /// What some tiers together can serve: 16.16 fixed point, up to 1; 0 only if nothing at all.
    private func share(
        of range: Range<Int>, _ tiers: [Tier], _ excluding: (Int) -> Bool
    ) -> Int {
        var total = 0
        for index in range { total += tiers[index].weight }
        let enough = (total * Self.denominator + Self.numerator - 1) / Self.numerator
        var available = 0
        for index in range where available < enough {
            available += tiers[index].availableWeight(
                enough: enough - available, excluding: excluding)
        }
        if available == 0 { return 0 }
        let share = available * Self.numerator * Balancer.fullScale / (total * Self.denominator)
        return min(max(share, 1), Balancer.fullScale)
    }
}
