// Which endpoint gets the next attempt.

package import WeirTime

/// Picks one endpoint of a cluster.
///
/// One per worker and cluster; decisions take chance as an argument, so a seed replays them.
/// Endpoints are named by their index in the list they were given in. A pick allocates nothing.
package struct Balancer: Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        /// In turn, smoothly by weight (nginx's smooth weighted round robin, 2012).
        case roundRobin = "round_robin"
        /// The less loaded of two drawn by weight (Mitzenmacher, 2001).
        case leastRequest = "least_request"
        /// Of three drawn by weight, the one with the least latency times load (Finagle's peak
        /// EWMA; Buoyant, 2016).
        case peakEWMA = "peak_ewma"
        /// By hash, on a ring of points (Karger et al., 1997): few keys move when endpoints do.
        case ringHash = "ring_hash"
        /// By hash, from a table (Eisenbud et al., 2016): more even than the ring, faster to
        /// search, and a few more keys move.
        case maglev
    }

    /// Weights beyond this one count as this one.
    package static let maxWeight = 1_000_000
    /// The scale of an endpoint that is not in slow start: 1 in 16.16 fixed point.
    package static let fullScale = 1 << 16

    /// In the order of preference: by priority, and weir's own zone before the others.
    private var tiers: [Tier]
    private let failover: Failover

    /// - Parameters:
    ///   - endpoints: those of weight zero or less are never picked.
    ///   - offset: how many picks to be ahead: the worker's number, say, so that workers do not all
    ///     begin with the same endpoint.
    package init(settings: BalancerSettings, endpoints: [BalancedEndpoint], offset: Int = 0) {
        let eligible = Self.named(endpoints).filter { $0.weight > 0 }
        let ranks = Set(eligible.map(\.rank)).sorted()
        tiers = ranks.map { rank in
            Tier(settings: settings, members: eligible.filter { $0.rank == rank })
        }
        failover = Failover(priorities: ranks.map(\.priority))
        moveAhead(by: offset)
    }

    /// The same balancer for another worker. Tables of hashes are large and shared by both.
    package func ahead(by offset: Int) -> Balancer {
        var copy = self
        copy.moveAhead(by: offset)
        return copy
    }

    private mutating func moveAhead(by offset: Int) {
        guard offset > 0 else { return }
        for index in tiers.indices { tiers[index].moveAhead(by: offset) }
    }

    /// Picks an endpoint; `nil` when all are excluded or there is none.
    ///
    /// - Parameters:
    ///   - hash: what a hash policy goes by; without one, or with 0, it draws by weight.
    ///   - load: the attempts in flight at an endpoint.
    ///   - latency: nanoseconds, for peak EWMA; 0 where none has been measured.
    ///   - scale: how far an endpoint is in slow start, in 16.16 fixed point: at half of
    ///     `fullScale` it gets about half of its share.
    ///   - excluding: the endpoint must not be picked. May be asked more than once about each.
    package mutating func pick(
        chance: inout Chance, hash: UInt64?, load: (Int) -> Int, latency: (Int) -> Int64,
        scale: (Int) -> Int, excluding: (Int) -> Bool
    ) -> Int? {
        let preferred =
            tiers.count == 1 ? 0 : failover.choose(&chance, among: tiers, excluding: excluding)
        guard let preferred else { return nil }
        let picked = tiers[preferred].pick(&chance, hash, load, latency, scale, excluding)
        if picked != nil || tiers.count == 1 { return picked }
        // What was available a moment ago may have been taken by another worker since.
        for index in tiers.indices where index != preferred {
            let picked = tiers[index].pick(&chance, hash, load, latency, scale, excluding)
            if picked != nil { return picked }
        }
        return nil
    }

    /// Gives each endpoint its index, a weight within bounds and a key of its own.
    private static func named(_ endpoints: [BalancedEndpoint]) -> [Member] {
        var seen: [UInt64: UInt64] = [:]
        return endpoints.enumerated().map { index, endpoint in
            let twins = seen[endpoint.key, default: 0]
            seen[endpoint.key] = twins + 1
            let own = twins == 0 ? endpoint.key : endpoint.key ^ StableHash.mixed(twins)
            return Member(
                index: index, weight: min(max(endpoint.weight, 0), maxWeight),
                rank: Rank(priority: endpoint.priority, isElsewhere: !endpoint.isLocalZone),
                key: StableHash.mixed(own))
        }
    }
}

extension Chance {
    /// A number in `0..<bound`; 0 when `bound` is not positive.
    mutating func below(_ bound: Int) -> Int {
        bound > 0 ? Int(next().multipliedFullWidth(by: UInt64(bound)).high) : 0
    }

    /// Whether an endpoint in slow start takes part this time.
    @inline(__always)
    mutating func mayUse(scale: Int) -> Bool {
        scale >= Balancer.fullScale || below(Balancer.fullScale) < scale
    }
}
