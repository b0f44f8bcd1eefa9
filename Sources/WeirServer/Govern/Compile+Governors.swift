// What a configuration's governor sections become.

import WeirConfig
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTime

/// What all workers and generations share of the tenants' budgets.
final class TenantLedger {
    let seed: KeySeed
    /// Made for as many tenants as the configuration named at start.
    let governor: RateGovernor
    let places: TenantConcurrency
    /// What tokens are checked with, in the generation in use.
    private(set) var tokenKeys = TokenKeys()
    /// Which key has which plan, in the generation in use.
    var directory = TenantDirectory([], defaultPlan: 0)

    init(_ configuration: Configuration) {
        seed = KeySeed(Server.seed(), Server.seed())
        governor = RateGovernor(capacity: configuration.tenants?.maxTracked ?? 16_384)
        places = TenantConcurrency()
    }

    /// A key as requests carry it.
    func key(_ bytes: [UInt8]) -> UInt64 {
        bytes.withUnsafeBytes { bytes in
            var hasher = KeyHasher(seed: seed)
            hasher.update(bytes)
            return hasher.finish()
        }
    }

    /// The key of whom an address stands for.
    func key(_ address: IPAddress) -> UInt64 {
        var hasher = KeyHasher(seed: seed)
        hasher.update(address)
        return hasher.finish()
    }

    /// Tells one name from another, alike in all generations.
    func salt(_ name: String) -> UInt64 { key(Array(name.utf8)) }

    /// Takes up who has which plan, and the keys of tokens.
    func adopt(_ tenants: Tenants, _ file: TenantFile, _ keys: TokenKeys) {
        tokenKeys = keys
        let places = Dictionary(
            tenants.plans.enumerated().map { ($0.element.name, UInt16($0.offset)) },
            uniquingKeysWith: { first, _ in first })
        var pairs: [(hash: UInt64, plan: UInt16)] = []
        if case .inline(let assignments) = tenants.assignments {
            for (name, plan) in assignments {
                pairs.append((key(Array(name.utf8)), places[plan] ?? 0))
            }
        }
        for (name, plan) in file.assignments { pairs.append((key(name), places[plan] ?? 0)) }
        directory = TenantDirectory(pairs, defaultPlan: places[tenants.defaultPlan] ?? 0)
    }
}

extension Compiler {
    // MARK: Clusters

    func governance(of cluster: WeirConfig.Cluster) -> ClusterGovernance {
        var governance = ClusterGovernance()
        governance.ceilings = ceilings(of: cluster)
        governance.queue = cluster.queue ?? QueueSettings()
        if cluster.ceilings.mode == .enforce {
            governance.queue.maxLength = min(
                governance.queue.maxLength, cluster.ceilings.maxPendingRequests ?? .max)
        }
        governance.queue.minimumShares = configuration.priorities.classes.map(\.minShare)
        governance.budget = configuration.retryBudget(ofCluster: cluster.name)
        governance.concurrency = cluster.concurrency
        governance.outlier = cluster.outlier
        governance.breaker = cluster.breaker?.settings ?? BreakerSettings()
        governance.slowStart = cluster.slowStart ?? .zero
        return governance
    }

    private func ceilings(of cluster: WeirConfig.Cluster) -> ClusterSettings {
        let ceilings = cluster.ceilings
        var settings = ClusterSettings()
        settings.hasQueue = cluster.queue != nil
        settings.shadow.queueLength = cluster.shadowQueue?.maxLength ?? 0
        let pending = ceilings.maxPendingRequests ?? .max
        switch ceilings.mode {
        case .enforce:
            settings.maxRequests = ceilings.maxRequests ?? .max
            settings.maxConnections = ceilings.maxConnections ?? .max
            settings.maxRetries = ceilings.maxRetries ?? .max
        case .shadow:
            settings.shadow.maxRequests = min(
                ceilings.maxRequests ?? .max, ceilings.maxConnections ?? .max)
            settings.shadow.maxRetries = ceilings.maxRetries ?? .max
            settings.shadow.maxWaiting = pending
        case .off: return settings
        }
        settings.shadow.queueLength = min(settings.shadow.queueLength, pending)
        return settings
    }

    /// What ceilings or concurrency in shadow mode would refuse a cluster's requests with.
    func shadowRefusal(of cluster: WeirConfig.Cluster) -> Refusal? {
        guard cluster.ceilings.mode == .shadow || cluster.concurrency.mode == .shadow else {
            return nil
        }
        return ceilings(of: cluster).shadow.queueLength > 0 ? .queueFull : .ceiling
    }

    /// The modes of all that draws on a cluster's retry budget.
    func retryModes(ofCluster name: String) -> [Mode] {
        routes(toCluster: name).flatMap { route in
            [policy(of: route)?.mode, route.hedge?.mode].compactMap { $0 }
        }
    }

    func routes(toCluster name: String) -> [Route] {
        configuration.routes.filter { $0.action == .forward(cluster: name) }
    }

    private func policy(of route: Route) -> RetryPolicy? {
        configuration.retryPolicies.first { $0.name == route.retry && $0.mode != .off }
    }

    // MARK: Routes

    func rules(of route: Route) -> RouteRules {
        var rules = RouteRules()
        rules.priority = route.priority.flatMap(priority)
        rules.rates = plans(route.rateLimits, of: route.name)
        let policy = policy(of: route)
        rules.retry = policy.map(Self.rules)
        rules.retryBuffer = policy?.bodyBuffer ?? 0
        if let breaker = route.breaker, breaker.settings.mode != .off {
            if let known = clusters.breaker(route: route.name) {
                rules.breakers.append(Self.plan(breaker, known))
            }
        }
        if case .forward(let name) = route.action, let entry = clusters[name] {
            rules.tempo = entry.tempo(route: route.name)
            let cluster = configuration.clusters.first { $0.name == name }
            if let breaker = cluster?.breaker, breaker.settings.mode != .off {
                rules.breakers.append(Self.plan(breaker, entry.breaker))
            }
        }
        rules.hedge = clusters.hedge(route: route.name)
        rules.isHedgeShadow = route.hedge?.mode == .shadow
        return rules
    }

    private func priority(_ name: String) -> UInt8? {
        configuration.priorities.index(of: name).map { UInt8(clamping: $0) }
    }

    private static func rules(_ policy: RetryPolicy) -> RetryRules {
        var rules = RetryRules()
        rules.conditions = policy.conditions
        rules.statuses = policy.statuses
        rules.attempts = policy.attempts
        rules.isShadow = policy.mode == .shadow
        // To end a try for nothing would be more than a shadow.
        rules.perTryTimeout = rules.isShadow ? .max : policy.perTryTimeout ?? .max
        rules.backoffBase = policy.backoffBase
        rules.backoffMax = policy.backoffMax
        rules.hasJitter = policy.hasJitter
        rules.methods = policy.methods.reduce(0) { $0 | Method(named: $1).bit }
        return rules
    }

    private static func plan(_ policy: BreakerPolicy, _ breaker: Breaker) -> BreakerPlan {
        BreakerPlan(
            breaker: breaker, isShadow: policy.settings.mode == .shadow,
            fallback: policy.fallback.map {
                BreakerPlan.Fallback(
                    status: $0.status, body: Text($0.body), contentType: Text($0.contentType))
            })
    }

    // MARK: What is common to all routes

    func commonRules() -> CommonRules {
        let priorities = configuration.priorities
        return CommonRules(
            priorities: PriorityRules(
                names: priorities.classes.map { Text($0.name) },
                fallback: priority(priorities.defaultClass) ?? 0,
                header: priorities.requestHeader.map { Text($0) }),
            tenants: configuration.tenants.flatMap { tenantRules($0) },
            rates: plans(configuration.rateLimits, of: "global"),
            fields: configuration.tenants?.headers.plan ?? .ietf, seed: ledger.seed,
            governor: ledger.governor, places: ledger.places)
    }

    private func tenantRules(_ tenants: Tenants) -> TenantRules? {
        guard tenants.mode != .off else { return nil }
        // A weight is a run of requests in the queue: the shortest runs of the same shares.
        let divisor = max(tenants.plans.map(\.weight).reduce(0, Self.commonDivisor), 1)
        return TenantRules(
            sources: tenants.identify.map { $0.source(ledger.tokenKeys) },
            directory: ledger.directory,
            plans: tenants.plans.map { plan in
                var allowance = Allowance()
                allowance.rate = plan.rate?.law
                allowance.weight = UInt16(clamping: plan.weight / divisor)
                allowance.concurrency = plan.concurrency ?? .max
                allowance.priority = plan.priority.flatMap(priority)
                return TenantPlanRules(name: Text(plan.name), allowance: allowance)
            },
            isShadow: tenants.mode == .shadow)
    }

    private static func commonDivisor(_ a: Int, _ b: Int) -> Int {
        var (a, b) = (a, b)
        while b != 0 { (a, b) = (b, a % b) }
        return a
    }

    /// A rule that keeps its name, or its place, and its key keeps its buckets, whatever its rate
    /// becomes.
    private func plans(_ rules: [RateRule], of owner: String) -> [RateRulePlan] {
        rules.enumerated().compactMap { place, rule in
            guard rule.mode != .off else { return nil }
            let name = rule.name ?? "\(owner)/\(place)"
            return RateRulePlan(
                name: Text(name), salt: ledger.salt("\(owner) \(name) \(rule.key) \(rule.mode)"),
                parts: rule.key.map(\.part), law: rule.limit.law, cost: Int64(rule.cost),
                isShadow: rule.mode == .shadow)
        }
    }
}

extension WeirConfig.Cluster.Balancing {
    var settings: BalancerSettings {
        BalancerSettings(
            kind: Balancer.Kind(rawValue: kind.rawValue) ?? .roundRobin, boundedLoad: boundedLoad)
    }

    var source: HashSource? {
        switch hashOn {
        case nil: nil
        case .header(let name): .header(Text(name))
        case .cookie(let name): .cookie(Text(name))
        case .query(let name): .query(Text(name))
        case .path: .path
        case .clientIP: .clientAddress
        case .tenant: .tenant
        }
    }
}

extension Hedge {
    var settings: HedgeSettings {
        var settings = HedgeSettings()
        settings.percent = percent
        switch after {
        case .percentile(let percentile): settings.percentile = Double(percentile)
        case .delay(let delay): settings.fixedDelay = delay
        }
        return settings
    }
}

extension RateHeaders {
    fileprivate var plan: RateFields {
        switch self {
        case .ietf: .ietf
        case .xRatelimit: .xRateLimit
        case .none: .none
        }
    }
}

extension RateKey {
    fileprivate var part: RateKeyPart {
        switch self {
        case .tenant: .tenant
        case .route: .route
        case .clientIP: .clientAddress
        case .header(let name): .header(Text(name))
        case .query(let name): .query(Text(name))
        case .pathSegment(let number): .pathSegment(number)
        case .method: .method
        case .host: .host
        }
    }
}

extension TenantIdentity {
    fileprivate func source(_ keys: TokenKeys) -> TenantSource {
        switch self {
        case .header(let name): .header(Text(name))
        case .clientIP(let v4Prefix, let v6Prefix):
            .clientAddress(v4Bits: v4Prefix, v6Bits: v6Prefix)
        case .pathSegment(let number): .pathSegment(number)
        case .query(let name): .query(Text(name))
        case .jwtClaim(let claim): .jwtClaim(claim.source(keys))
        case .clientCertificate: .clientCertificate
        }
    }
}

extension JWTClaim {
    fileprivate func source(_ keys: TokenKeys) -> TokenSource {
        guard case .key(let key) = verification else {
            return TokenSource(header: Text(header), claim: Text(claim), verifier: nil)
        }
        return TokenSource(
            header: Text(header), claim: Text(claim), verifier: keys.verifier(of: self),
            issuer: key.issuer.map { Text($0) }, audiences: key.audiences.map { Text($0) })
    }
}
