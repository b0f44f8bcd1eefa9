// Endpoints of one priority and zone, and the policy that picks among them.

import WeirTime

/// An endpoint as it stands in a tier.
struct Member: Sendable {
    /// In the cluster's list of endpoints.
    let index: Int
    /// From 0 to `Balancer.maxWeight`; in tiers at least 1.
    let weight: Int
    let rank: Rank
    /// Spread over 64 bits, and no other endpoint's.
    let key: UInt64
}

/// What makes one endpoint preferred to another, whatever the policy.
struct Rank: Comparable, Hashable, Sendable {
    let priority: Int
    let isElsewhere: Bool

    static func < (one: Rank, other: Rank) -> Bool {
        if one.priority != other.priority { return one.priority < other.priority }
        return !one.isElsewhere && other.isElsewhere
    }
}

/// Endpoints between which only the policy decides.
struct Tier: Sendable {
    /// Of the weights of all members.
    let weight: Int
    private let kind: Balancer.Kind
    private let members: [Member]
    /// The one that `kind` names is in use, the others are empty. Payloads of one enumeration would
    /// be copied whenever the one with state is used.
    private var roundRobin = RoundRobin(members: [])
    private var draw = WeightedDraw(members: [])
    private var peakEWMA = PeakEWMA(hotQuantile: nil)
    private var consistentHash = ConsistentHash()

    init(settings: BalancerSettings, members: [Member]) {
        kind = settings.kind
        self.members = members
        weight = members.reduce(0) { $0 + $1.weight }
        switch settings.kind {
        case .roundRobin: roundRobin = RoundRobin(members: members)
        case .leastRequest: draw = WeightedDraw(members: members)
        case .peakEWMA:
            draw = WeightedDraw(members: members)
            peakEWMA = PeakEWMA(hotQuantile: settings.hotQuantile)
        case .ringHash:
            consistentHash = ConsistentHash(
                members: members, boundedLoad: settings.boundedLoad,
                table: .ring(HashRing(members: members)))
        case .maglev:
            consistentHash = ConsistentHash(
                members: members, boundedLoad: settings.boundedLoad,
                table: .maglev(Maglev(members: members)))
        }
    }

    /// Only turns have a beginning.
    mutating func moveAhead(by offset: Int) {
        if kind == .roundRobin { roundRobin.moveAhead(by: offset) }
    }

    /// The weights of the members that are not excluded; enough of them end the count.
    func availableWeight(enough: Int, excluding: (Int) -> Bool) -> Int {
        var available = 0
        for member in members where !excluding(member.index) {
            available += member.weight
            if available >= enough { break }
        }
        return available
    }

    mutating func pick(
        _ chance: inout Chance, _ hash: UInt64?, _ load: (Int) -> Int,
        _ latency: (Int) -> Int64, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        switch kind {
        case .roundRobin:
            return roundRobin.pick(&chance, scale, excluding)
        case .leastRequest:
            return draw.leastLoaded(&chance, load, scale, excluding)
        case .peakEWMA:
            return peakEWMA.pick(draw, &chance, load, latency, scale, excluding)
        case .ringHash, .maglev:
            let known = hash ?? 0
            return consistentHash.pick(known == 0 ? chance.next() : known, load, scale, excluding)
        }
    }
}
