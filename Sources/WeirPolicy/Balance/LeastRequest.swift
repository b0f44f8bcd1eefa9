// The less loaded of two endpoints.

import WeirTime

extension WeightedDraw {
    /// Of two endpoints drawn by weight, the one with fewer requests in flight for each unit of
    /// weight (Mitzenmacher, 2001).
    ///
    /// Both quotients are rounded by one random share: endpoints that differ by less than a request
    /// a unit mostly tie, and a tie goes to the first drawn. So an idle cluster is used by weight;
    /// were the quotients compared exactly, its heaviest endpoint would get everything.
    func leastLoaded(
        _ chance: inout Chance, _ load: (Int) -> Int, _ scale: (Int) -> Int,
        _ excluding: (Int) -> Bool
    ) -> Int? {
        guard let first = place(&chance, scale, excluding) else { return nil }
        guard let second = place(&chance, scale, excluding, not: first) else {
            return indices[first]
        }
        let share = chance.below(1 << 16)
        let firstLevel = (level(first, load, scale) + share) >> 16
        let secondLevel = (level(second, load, scale) + share) >> 16
        return indices[secondLevel < firstLevel ? second : first]
    }
}
