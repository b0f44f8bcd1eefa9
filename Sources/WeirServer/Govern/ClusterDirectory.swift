// The governors of all clusters and their endpoints, across every reload.

import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

/// What a cluster's governors are told by a configuration.
struct ClusterGovernance {
    var ceilings = ClusterSettings()
    var queue = QueueSettings()
    var budget = RetryBudgetSettings()
    var concurrency = ConcurrencySettings()
    var outlier = OutlierSettings()
    var breaker = BreakerSettings()
    var slowStart = Interval.zero
}

/// One cluster's governors and what the control thread keeps beside them.
final class ClusterEntry {
    let name: String
    let governor: ClusterGovernor
    let watch = ClusterWatch()
    let breaker: Breaker
    private(set) var hasBreaker = false
    /// Those of the routes that lead here, where they are several, by the routes' names.
    private var tempos: [String: RouteTempo] = [:]
    private(set) var states: [SocketAddress: EndpointState] = [:]
    /// The endpoints in use, in the order of the configuration or of discovery.
    private(set) var current: [(address: SocketAddress, state: EndpointState)] = []
    /// Ejections so far, by reason; those of shadow mode apart.
    private(set) var ejections: [Ejections: Int] = [:]
    private(set) var isPanicking = false

    /// What ejections are counted by.
    struct Ejections: Hashable {
        var reason: EjectionReason
        var isShadow: Bool
    }

    fileprivate init(name: String, _ governance: ClusterGovernance) {
        self.name = name
        governor = ClusterGovernor(
            settings: governance.ceilings, queue: governance.queue,
            budget: RetryBudget(governance.budget))
        breaker = Breaker(governance.breaker)
    }

    /// Takes up settings and addresses. What is in flight, waits or is ejected stays so.
    fileprivate func adopt(
        _ governance: ClusterGovernance, addresses: [SocketAddress], makeID: () -> UInt32
    ) {
        current = addresses.map { address in
            if let state = states[address] { return (address, state) }
            let state = EndpointState(governor: EndpointGovernor(id: makeID()))
            states[address] = state
            return (address, state)
        }
        governor.retryBudget.update(governance.budget)
        governor.shadowBudget.update(governance.budget)
        breaker.update(governance.breaker)
        hasBreaker = governance.breaker.mode != .off
        let endpoints = current.map(\.state.governor)
        watch.update(
            outlier: governance.outlier, concurrency: governance.concurrency,
            slowStart: governance.slowStart, endpoints: endpoints)
        governor.update(
            settings: governance.ceilings, queue: governance.queue, endpoints: endpoints)
        let kept = Set(addresses)
        states = states.filter { kept.contains($0.key) || $0.value.requestsInFlight > 0 }
    }
}

extension ClusterEntry {
    /// Takes up the routes that lead here.
    func adopt(routes names: [String]) {
        let known = tempos
        tempos.removeAll()
        if names.count > 1 {
            for name in names { tempos[name] = known[name] ?? RouteTempo() }
        }
        watch.update(routes: names.compactMap { tempos[$0] })
    }

    func tempo(route name: String) -> RouteTempo? { tempos[name] }

    /// Counts and logs what a tick has found.
    func note(_ event: EndpointEvent) {
        let address = current.first { $0.state.governor.id == event.endpoint }?.address
        let endpoint = address?.description ?? "?"
        switch event.kind {
        case .ejected(let reason, let length, let isShadow):
            ejections[Ejections(reason: reason, isShadow: isShadow), default: 0] += 1
            ProcessLog.warn(
                isShadow ? "endpoint would be ejected" : "endpoint is ejected",
                [
                    "cluster": name, "endpoint": endpoint, "reason": "\(reason.code)",
                    "for": "\(length.seconds) s",
                ])
        case .spared(let reason):
            ProcessLog.warn(
                "endpoint is not ejected: too many are, or the others could not bear its load",
                ["cluster": name, "endpoint": endpoint, "reason": "\(reason.code)"])
        case .probation: say("endpoint is on probation", endpoint)
        case .readmitted: say("endpoint is readmitted", endpoint)
        case .paused(let length):
            ProcessLog.info(
                "endpoint has asked for a pause",
                ["cluster": name, "endpoint": endpoint, "for": "\(length.seconds) s"])
        case .unhealthy: say("endpoint is unhealthy", endpoint)
        case .healthy: say("endpoint is healthy", endpoint)
        case .wouldBeUnhealthy:
            ProcessLog.warn(
                "endpoint would be unhealthy",
                ["cluster": name, "endpoint": endpoint, "reason": "health_check"])
        case .wouldBeHealthy: say("endpoint would be healthy", endpoint)
        case .limitChanged: break
        case .panicBegan:
            isPanicking = true
            ProcessLog.warn(
                "too few endpoints are available: all are used", ["cluster": name])
        case .panicEnded:
            isPanicking = false
            ProcessLog.info("enough endpoints are available again", ["cluster": name])
        }
    }

    private func say(_ what: String, _ endpoint: String) {
        ProcessLog.info(what, ["cluster": name, "endpoint": endpoint])
    }

    /// The cluster as the metrics show it.
    func gauges(classes: [String]) -> ClusterGauges {
        var gauges = ClusterGauges()
        gauges.name = name
        gauges.endpoints = current.map { address, state in
            let seen = state.governor.inspection
            var endpoint = EndpointGauges()
            endpoint.address = address.description
            endpoint.state = "\(seen.state)"
            endpoint.inFlight = seen.requestsInFlight
            endpoint.limit = seen.limit == .max ? nil : seen.limit
            endpoint.shadow = seen.shadow
            endpoint.wouldBeUnhealthy = seen.wouldBeUnhealthy
            return endpoint
        }
        gauges.waiting = zip(classes, governor.waiting(classes: classes.count))
            .map { (priority: $0, count: $1) }
        gauges.isPanicking = isPanicking
        gauges.ejections = ejections.map { key, count in
            (reason: "\(key.reason.code)", isShadow: key.isShadow, count: count)
        }.sorted { ($0.reason, $0.isShadow ? 1 : 0) < ($1.reason, $1.isShadow ? 1 : 0) }
        gauges.breaker = hasBreaker ? breaker.current.phase.rawValue : nil
        return gauges
    }
}

/// Clusters by name, their endpoints by address: what is known of them outlives a reload.
final class ClusterDirectory {
    private var entries: [String: ClusterEntry] = [:]
    private var lastID: UInt32 = 0
    /// Breakers and hedges of routes, which outlive reloads like the clusters' governors.
    private var breakers: [String: Breaker] = [:]
    private var hedges: [String: HedgeDelay] = [:]

    /// All clusters in use or still busy, by name.
    var all: [ClusterEntry] { entries.values.sorted { $0.name < $1.name } }

    subscript(name: String) -> ClusterEntry? { entries[name] }

    /// Takes up a cluster of the configuration in use, with the endpoints that it has now.
    func adopt(_ name: String, _ governance: ClusterGovernance, addresses: [SocketAddress]) {
        let entry = entries[name] ?? ClusterEntry(name: name, governance)
        entries[name] = entry
        entry.adopt(governance, addresses: addresses) {
            lastID += 1
            return lastID
        }
    }

    /// Takes up what a route asks for itself.
    func adopt(route name: String, breaker: BreakerSettings?, hedge: HedgeSettings?) {
        if let breaker, breaker.mode != .off {
            if let known = breakers[name] { known.update(breaker) }
            breakers[name] = breakers[name] ?? Breaker(breaker)
        } else {
            breakers[name] = nil
        }
        if let hedge {
            if let known = hedges[name] { known.update(hedge) }
            hedges[name] = hedges[name] ?? HedgeDelay(hedge)
        } else {
            hedges[name] = nil
        }
    }

    /// The breaker of a route that has one.
    func breaker(route name: String) -> Breaker? { breakers[name] }

    /// When a route's requests are hedged, for one that hedges.
    func hedge(route name: String) -> HedgeDelay? { hedges[name] }

    /// Looks at the latencies that hedges go by.
    func refreshHedges(now: Instant) {
        for hedge in hedges.values { hedge.refresh(now: now) }
    }

    /// The state of the breaker of each route that has one, by the routes' names.
    var routeBreakers: [(route: String, state: String)] {
        breakers.sorted { $0.key < $1.key }.map { ($0.key, $0.value.current.phase.rawValue) }
    }

    /// Forgets what belongs to routes that are not named.
    func keepOnly(routes names: Set<String>) {
        breakers = breakers.filter { names.contains($0.key) }
        hedges = hedges.filter { names.contains($0.key) }
    }

    /// Forgets clusters that are neither named nor busy.
    func keepOnly(_ names: Set<String>) {
        entries = entries.filter { name, entry in
            names.contains(name) || entry.governor.requestsInFlight > 0
                || entry.governor.requestsWaiting > 0
        }
    }
}
