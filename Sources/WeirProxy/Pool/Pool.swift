// The upstream connections of one worker to one endpoint: idle ones are kept and used again.

import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

/// Idle connections to one endpoint, last used first: the others may then grow old and close.
final class Pool {
    let address: SocketAddress
    let name: Text
    /// What it is called in a `Host` where nothing else is known.
    let authority: Text
    let state: EndpointState
    let governor: Borrowed<EndpointGovernor>
    /// The endpoint's number in the process.
    let id: UInt32
    let counters: ClusterCounters
    private(set) var connectTimeout = Interval.zero
    private(set) var idleTimeout = Interval.zero
    private(set) var maxIdle = 0
    /// What new connections speak TLS with; `nil` where they do not.
    private(set) var tls: TLSClientSession?
    /// The header that new connections begin with; each is then for one client.
    private(set) var proxyProtocol: ProxyHeader.Version?
    /// When a failed handshake was told last.
    private var toldAt = Instant.distantPast
    private var idle = Spares<H1Upstream>()
    /// Connections are of HTTP/2, and each is for many requests.
    private var isH2 = false
    private var shared: [H2Upstream] = []
    /// Calls that the endpoint takes on one connection, as it has said last.
    var streamsAllowed = H2Upstream.mostCalls

    fileprivate init(cluster: ClusterPlan, endpoint: EndpointPlan) {
        address = endpoint.address
        name = Text(endpoint.address.description)
        authority = endpoint.address.ip == nil ? Text("localhost") : name
        state = endpoint.state
        governor = Borrowed(endpoint.state.governor)
        id = endpoint.state.governor.id
        counters = cluster.counters
        adopt(cluster)
    }

    /// Takes over a cluster's settings, for connections that are made from now on.
    fileprivate func adopt(_ cluster: ClusterPlan) {
        connectTimeout = cluster.connectTimeout
        idleTimeout = cluster.idleTimeout
        maxIdle = cluster.maxIdle
        let isOther = isH2 != cluster.isH2 || cluster.tls != tls?.client
        isH2 = cluster.isH2
        proxyProtocol = cluster.proxyProtocol
        if cluster.tls != tls?.client {
            tls = cluster.tls.map { TLSClientSession($0, address: address.ip) }
        }
        // Those under other settings are not kept.
        if isOther || proxyProtocol != nil { closeIdle() }
    }

    /// Says why there is no handshake with the endpoint, ten times a minute at most: it is the one
    /// failure to connect that an operator cannot see from the outside.
    func tellHandshakeFailure(_ reason: String, now: Instant) {
        guard now - toldAt >= .seconds(6) else { return }
        toldAt = now
        ProcessLog.warn(
            "no \(tls == nil ? "HTTP/2" : "TLS handshake") with an endpoint: \(reason)",
            ["endpoint": name.description])
    }

    /// An idle connection, or `nil`.
    func takeIdle() -> H1Upstream? {
        guard let connection = idle.pop() else { return nil }
        counters.subtract(.connectionsIdle)
        return connection
    }

    /// A place for one more request: `isReady` where it can be sent at once, else the exchange that
    /// it is assigned to is told.
    ///
    /// - Parameter isFresh: not over a connection that was used before.
    @inline(__always)
    func attempt(
        _ exchange: Exchange, isFresh: Bool
    ) throws(SystemError) -> (upstream: Upstream, isReady: Bool) {
        if isH2 { return try call(exchange.proxy, isFresh: isFresh) }
        if !isFresh, let kept = exchange.takeKept(self) { return (.h1(Borrowed(kept)), true) }
        return (.h1(Borrowed(try connect(exchange.proxy))), false)
    }

    private func call(
        _ proxy: Proxy, isFresh: Bool
    ) throws(SystemError) -> (upstream: Upstream, isReady: Bool) {
        // One that is open rather than one that may not be soon.
        var found: H2Upstream?
        for connection in shared where connection.hasRoom && !(isFresh && connection.hasAnswered) {
            if found == nil || connection.state == .open { found = connection }
            if connection.state == .open { break }
        }
        if let found { return (.h2(found.open()), found.state == .open) }
        for connection in shared { connection.closeIfUnused() }
        let fd = try Socket.connect(to: address)
        let connection = H2Upstream(fd: fd, pool: self, proxy: proxy)
        try proxy.loop.add(connection)
        counters.add(.connects)
        counters.add(.connectionsActive)
        shared.append(connection)
        return (.h2(connection.open()), false)
    }

    /// Forgets a connection that was closed.
    func forget(_ connection: H2Upstream) { shared.removeAll { $0 === connection } }

    /// Starts a new connection.
    private func connect(_ proxy: Proxy) throws(SystemError) -> H1Upstream {
        let fd = try Socket.connect(to: address)
        let connection = H1Upstream(fd: fd, pool: self, proxy: proxy)
        try proxy.loop.add(connection)
        counters.add(.connects)
        counters.add(.connectionsActive)
        return connection
    }

    /// Keeps a connection that is ready for another request; `false` when there are enough.
    func keep(_ connection: H1Upstream) -> Bool {
        guard idle.count < maxIdle, proxyProtocol == nil, !connection.isOneClients,
            connection.security === tls
        else { return false }
        idle.push(connection)
        counters.add(.connectionsIdle)
        return true
    }

    /// Forgets a connection that was closed while idle.
    func forget(_ connection: H1Upstream) {
        if idle.remove(connection) { counters.subtract(.connectionsIdle) }
    }

    fileprivate func retire() {
        maxIdle = 0
        closeIdle()
    }

    /// The worker ends.
    fileprivate func closeAll() {
        retire()
        for connection in shared { connection.close() }
    }

    fileprivate func closeIdle() {
        let closing = idle.removeAll()
        counters.subtract(.connectionsIdle, UInt64(closing.count))
        for connection in closing { connection.close() }
        for connection in shared { connection.leave() }
    }
}

/// All pools of a worker, by cluster and address: a reload keeps the connections of what stays.
final class PoolTable {
    private struct Key: Hashable {
        var cluster: String
        var address: SocketAddress
    }

    private struct Destination: Hashable {
        /// What stands for all destinations of a cluster.
        var state: ObjectIdentifier
        var address: SocketAddress
    }

    private struct Passage {
        var pool: Pool
        var usedAt: Instant
    }

    /// Destinations of redirected connections that are remembered; clients name them.
    private static let mostPassages = 1024

    private var pools: [Key: Pool] = [:]
    private var passages: [Destination: Passage] = [:]

    /// The pool for an endpoint; an existing one takes over the new settings.
    func pool(cluster: ClusterPlan, endpoint: EndpointPlan) -> Pool {
        let key = Key(cluster: cluster.name.description, address: endpoint.address)
        if let pool = pools[key] {
            pool.adopt(cluster)
            return pool
        }
        let pool = Pool(cluster: cluster, endpoint: endpoint)
        pools[key] = pool
        return pool
    }

    /// The pool for where a redirected connection was going.
    func passage(_ cluster: ClusterPlan, to address: SocketAddress, now: Instant) -> Pool? {
        guard var endpoint = cluster.endpoints.first else { return nil }
        let key = Destination(state: ObjectIdentifier(endpoint.state), address: address)
        if let known = passages[key] {
            passages[key]?.usedAt = now
            return known.pool
        }
        if passages.count >= Self.mostPassages { forgetOldest() }
        endpoint.address = address
        let pool = Pool(cluster: cluster, endpoint: endpoint)
        passages[key] = Passage(pool: pool, usedAt: now)
        return pool
    }

    private func forgetOldest() {
        guard let oldest = passages.min(by: { $0.value.usedAt < $1.value.usedAt }) else { return }
        oldest.value.pool.retire()
        passages[oldest.key] = nil
    }

    /// Retires the pools that a snapshot no longer names: what is busy ends its exchange.
    func keepOnly(_ snapshot: Snapshot, proxy: Proxy) {
        let kept = Set(snapshot.clusters.flatMap { $0.object.pools.map(ObjectIdentifier.init) })
        for (key, pool) in pools where !kept.contains(ObjectIdentifier(pool)) {
            pool.retire()
            pools[key] = nil
        }
        var plans: [ObjectIdentifier: ClusterPlan] = [:]
        for cluster in snapshot.plan.clusters where cluster.goesOn {
            if let all = cluster.endpoints.first { plans[ObjectIdentifier(all.state)] = cluster }
        }
        for (key, passage) in passages {
            if let plan = plans[key.state] {
                passage.pool.adopt(plan)
            } else {
                passage.pool.retire()
                passages[key] = nil
            }
        }
    }

    func closeAll() {
        for pool in pools.values { pool.closeAll() }
        for passage in passages.values { passage.pool.closeAll() }
    }
}
