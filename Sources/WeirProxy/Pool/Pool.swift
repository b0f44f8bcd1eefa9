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
        secure(by: cluster.tls)
        proxyProtocol = cluster.proxyProtocol
        if proxyProtocol != nil { closeIdle() }
    }

    /// New connections speak TLS by these settings from now on; those under others are not kept.
    private func secure(by client: TLSClient?) {
        guard client != tls?.client else { return }
        tls = client.map { TLSClientSession($0, address: address.ip) }
        closeIdle()
    }

    /// Says why there is no handshake with the endpoint, ten times a minute at most: it is the one
    /// failure to connect that an operator cannot see from the outside.
    func tellHandshakeFailure(_ reason: String, now: Instant) {
        guard now - toldAt >= .seconds(6) else { return }
        toldAt = now
        ProcessLog.warn(
            "no TLS handshake with an endpoint: \(reason)", ["endpoint": name.description])
    }

    /// An idle connection, or `nil`.
    func takeIdle() -> H1Upstream? {
        guard let connection = idle.pop() else { return nil }
        counters.subtract(.connectionsIdle)
        return connection
    }

    /// Starts a new connection.
    func connect(_ proxy: Proxy) throws(SystemError) -> H1Upstream {
        let fd = try Socket.connect(to: address)
        let connection = H1Upstream(fd: fd, pool: self, proxy: proxy)
        try proxy.loop.add(connection)
        counters.add(.connects)
        counters.add(.connectionsActive)
        return connection
    }

    /// Keeps a connection that is ready for another request; `false` when there are enough.
    func keep(_ connection: H1Upstream) -> Bool {
        guard idle.count < maxIdle, proxyProtocol == nil, connection.security === tls else {
            return false
        }
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

    fileprivate func closeIdle() {
        let closing = idle.removeAll()
        counters.subtract(.connectionsIdle, UInt64(closing.count))
        for connection in closing { connection.close() }
    }
}

/// All pools of a worker, by cluster and address: a reload keeps the connections of what stays.
final class PoolTable {
    private struct Key: Hashable {
        var cluster: String
        var address: SocketAddress
    }

    private var pools: [Key: Pool] = [:]

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

    /// Retires the pools that a snapshot no longer names: what is busy ends its exchange.
    func keepOnly(_ snapshot: Snapshot, proxy: Proxy) {
        let kept = Set(snapshot.clusters.flatMap { $0.object.pools.map(ObjectIdentifier.init) })
        for (key, pool) in pools where !kept.contains(ObjectIdentifier(pool)) {
            pool.retire()
            pools[key] = nil
        }
    }

    func closeAll() {
        for pool in pools.values { pool.retire() }
    }
}
