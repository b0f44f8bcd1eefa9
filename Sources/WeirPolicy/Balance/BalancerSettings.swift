// How a cluster's endpoints are balanced, and what balancing knows about each of them.

/// What `load_balancing` says, with its defaults.
package struct BalancerSettings: Equatable, Sendable {
    package var kind: Balancer.Kind
    /// Hash policies: an endpoint whose load would exceed this many times its fair share is passed
    /// over (1 to 16; Mirrokni, Thorup and Zadimoghaddam, 2017). `nil` is no bound.
    package var boundedLoad: Double?
    /// Peak EWMA: a candidate is hot when its load is beyond this quantile of what is seen of
    /// others (0 to 1; Prequal's rule with 0.84, Wydrowski et al., 2024). `nil` compares latency
    /// times load instead, which suits clusters of
    /// fewer than five and needs no limits of concurrency to be safe.
    package var hotQuantile: Double?

    package init(
        kind: Balancer.Kind = .roundRobin, boundedLoad: Double? = nil, hotQuantile: Double? = nil
    ) {
        self.kind = kind
        self.boundedLoad = boundedLoad
        self.hotQuantile = hotQuantile
    }
}

/// One endpoint in the eyes of a balancer.
package struct BalancedEndpoint: Equatable, Sendable {
    /// Its share, compared with that of the others; zero or less is never picked.
    package var weight: Int
    /// 0 is used first; higher numbers when those before them are short of available endpoints.
    package var priority: Int
    /// It is in weir's own zone, so preferred to others of its priority.
    package var isLocalZone: Bool
    /// A hash of its address. Hash policies place it by this alone, so it must not differ between
    /// workers, generations and instances. Endpoints that share one are told apart by their order.
    package var key: UInt64

    package init(
        weight: Int = 1, priority: Int = 0, isLocalZone: Bool = false, key: UInt64 = 0
    ) {
        self.weight = weight
        self.priority = priority
        self.isLocalZone = isLocalZone
        self.key = key
    }
}
