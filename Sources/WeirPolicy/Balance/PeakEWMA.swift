// The endpoint that answers soonest, as far as latency and load tell.

import WeirTime

/// Compares three endpoints drawn by weight.
///
/// By default the least latency × (load + 1) wins, the load counted for each unit of weight
/// (Finagle's and Linkerd's peak EWMA, whose latency rises at once and sinks slowly). With
/// `hotQuantile` a candidate is hot or cold first (Prequal's HCL, Wydrowski et al., 2024): the cold
/// one of least latency wins, and among hot ones the least loaded.
struct PeakEWMA: Sendable {
    /// In 16.16 fixed point; `nil` is off.
    private let quantile: Int?
    /// The load for each unit of weight beyond which a candidate is hot; 16.16 fixed point.
    private var threshold = 0

    init(hotQuantile: Double?) {
        quantile = hotQuantile.map {
            Int(min(max($0, 0), 1) * Double(Balancer.fullScale))
        }
    }

    mutating func pick(
        _ draw: WeightedDraw, _ chance: inout Chance, _ load: (Int) -> Int,
        _ latency: (Int) -> Int64, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        guard let first = draw.place(&chance, scale, excluding) else { return nil }
        guard let second = draw.place(&chance, scale, excluding, not: first) else {
            return draw.indices[first]
        }
        let third = draw.place(&chance, scale, excluding, not: first, nor: second)
        let share = chance.below(1 << 16)
        func look(_ place: Int) -> Candidate {
            Candidate(
                index: draw.indices[place], level: draw.level(place, load, scale),
                share: share, latency: latency(draw.indices[place]))
        }
        var best = look(first)
        let other = look(second)
        let last = third.map { look($0) }
        let guess = Candidate.guess(best.latency, other.latency, last?.latency ?? 0)
        learn(best.level)
        learn(other.level)
        if let last { learn(last.level) }
        if isBetter(other, best, guess) { best = other }
        if let last, isBetter(last, best, guess) { best = last }
        return best.index
    }

    /// What is better by less than an eighth is not: endpoints that are about equally fast share
    /// the load by weight, rather than the fastest getting all there is while it is idle.
    private func isBetter(_ one: Candidate, _ best: Candidate, _ guess: Int) -> Bool {
        func isMuchLess(_ one: Int, _ other: Int) -> Bool { one + one >> 3 < other }
        guard quantile != nil else { return isMuchLess(one.cost(guess), best.cost(guess)) }
        // Steps around the quantile must not make what lies on it hot.
        let limit = threshold + 4 * step
        let (isHot, isBestHot) = (one.level > limit, best.level > limit)
        if isHot != isBestHot { return isBestHot }
        return isHot
            ? one.rounded < best.rounded : isMuchLess(one.presumed(guess), best.presumed(guess))
    }

    /// A sixty-fourth of the threshold, or of four requests for each unit of weight.
    private var step: Int { min(max(threshold >> 6, 1 << 12), 1 << 40) }

    /// Steps towards the quantile: up where a level is beyond it, down where it is not, in
    /// proportions that balance at the quantile (Robbins and Monro, 1951).
    private mutating func learn(_ level: Int) {
        guard let quantile else { return }
        let isBeyond = level > threshold
        let share = isBeyond ? quantile : Balancer.fullScale - quantile
        let move = (step * share) >> 16
        threshold = isBeyond ? threshold + move : max(threshold - move, 0)
    }
}

/// One of the endpoints that are compared.
private struct Candidate {
    let index: Int
    /// Load for each unit of weight, 16.16 fixed point.
    let level: Int
    /// Rounds the levels of all candidates alike; see `leastLoaded`.
    let share: Int
    /// Nanoseconds; 0 is unknown.
    let latency: Int

    init(index: Int, level: Int, share: Int, latency: Int64) {
        self.index = index
        self.level = level
        self.share = share
        // More than a quarter of an hour is as bad as a quarter of an hour.
        self.latency = Int(min(max(latency, 0), 1 << 40))
    }

    var rounded: Int { (level + share) >> 16 }

    /// The latency of candidates that have none: a little less than the best one's, so that they
    /// are tried, but with a request or two in flight others are preferred again.
    static func guess(_ first: Int, _ second: Int, _ third: Int) -> Int {
        func orNever(_ latency: Int) -> Int { latency > 0 ? latency : .max }
        let least = min(orNever(first), orNever(second), orNever(third))
        return least == .max ? 1 << 10 : max(least - least >> 2, 1)
    }

    func presumed(_ guess: Int) -> Int { latency == 0 ? guess : latency }

    func cost(_ guess: Int) -> Int { presumed(guess) * (min(rounded, 1 << 20) + 1) }
}
