// The data plane of one worker: what all its connections and exchanges share.

import WeirHTTP
package import WeirNet
import WeirPolicy
package import WeirTelemetry
import WeirTime

/// One worker's proxy. Lives on that worker's thread.
package final class Proxy {
    private static let maxFreeExchanges = 1024

    package let loop: EventLoop
    let context: StreamContext
    let counters: WorkerCounters
    let budget: ConnectionBudget
    var chance: Chance
    var date = HTTPDate()
    /// The index of the response head that is being read; used up before the next one is.
    var responseHead = ResponseHead(maxFields: H1Upstream.maxFields)
    /// What new exchanges begin under.
    private(set) var snapshot: Snapshot
    let pools: PoolTable
    private(set) var isDraining = false
    var downstreams = LinkedList<DownstreamConnection>()
    private var acceptors: [SocketAddress: Acceptor] = [:]
    /// Connections that have yet to say whom they are from.
    var greetings: [ObjectIdentifier: Greeting] = [:]
    private var freeExchanges = Spares<Exchange>(capacity: maxFreeExchanges)
    private var endedExchanges = Spares<Exchange>()
    private var freeStreams = Spares<H2Stream>()
    private var endedStreams = Spares<H2Stream>()
    /// Connections that have something to send at the end of the turn.
    private var pumps = Spares<Connection>()
    private var pumping = Spares<Connection>()
    private var freeCalls = Spares<H2Call>()
    private var endedCalls = Spares<H2Call>()
    /// What HTTP/2 sessions use in turn; made when the first of them comes.
    private(set) lazy var h2Workspace = H2Session.Workspace()
    private let whenIdle: () -> Void
    /// Who waits here for a permit.
    var waitRoom: WaitRoom
    /// What was decided in this turn about requests that wait, here or on other workers.
    var verdicts: [WaitVerdict] = []
    private var delivering: [WaitVerdict] = []
    private let lines: VerdictLines
    private var watch: ReadinessWatch?

    /// Creates the proxy and begins to accept.
    ///
    /// - Parameters:
    ///   - worker: this worker's place among the lines.
    ///   - whenIdle: called once a drain has left no connection.
    package init(
        plan: Plan, loop: EventLoop, counters: WorkerCounters, budget: ConnectionBudget,
        lines: VerdictLines, worker: Int, seed: UInt64, whenIdle: @escaping () -> Void
    ) throws(SystemError) {
        self.lines = lines
        waitRoom = WaitRoom(worker: worker)
        self.loop = loop
        self.counters = counters
        self.budget = budget
        self.whenIdle = whenIdle
        context = StreamContext(loop: loop, pool: BufferPool(limit: plan.bufferMemory))
        chance = Chance(seed: seed)
        pools = PoolTable()
        snapshot = Snapshot(plan: plan, pools: pools, chance: &chance)
        verdicts.reserveCapacity(64)
        delivering.reserveCapacity(64)
        let line = lines.mailboxes[worker]
        let watch = ReadinessWatch(fd: try line.makeWakeDescriptor()) { [unowned self] in
            verdicts += line.drain()
        }
        try loop.addForReading(watch)
        self.watch = watch
        try reconcileAcceptors()
    }

    /// Takes up a new configuration. Exchanges that have begun end under the old one.
    package func adopt(_ plan: Plan) throws(SystemError) {
        context.pool.limit = plan.bufferMemory
        downstreams.forEach { $0.configurationWillChange() }
        let adopted = Snapshot(plan: plan, pools: pools, chance: &chance)
        pools.keepOnly(adopted, proxy: self)
        snapshot = adopted
        // A drain has closed the listeners; only the endpoints can still change.
        if !isDraining { try reconcileAcceptors() }
    }

    private func reconcileAcceptors() throws(SystemError) {
        var kept: [SocketAddress: Acceptor] = [:]
        var failure: SystemError?
        for listener in snapshot.plan.listeners {
            if let acceptor = acceptors.removeValue(forKey: listener.address) {
                acceptor.listener.name = Text(listener.name)
                acceptor.listener.settings = listener.settings
                acceptor.listener.tls = listener.tls
                kept[listener.address] = acceptor
            } else {
                let acceptor = Acceptor(plan: listener, proxy: self)
                kept[listener.address] = acceptor
                do {
                    try acceptor.start()
                } catch {
                    // The other listeners are served all the same.
                    failure = error
                }
            }
        }
        let removed = acceptors.values
        acceptors = kept
        for acceptor in removed { acceptor.stop() }
        if let failure { throw failure }
    }

    /// Stops accepting, closes idle connections and lets the others end their exchange.
    package func drain() {
        guard !isDraining else { return }
        isDraining = true
        let stopping = acceptors.values
        acceptors = [:]
        for acceptor in stopping { acceptor.stop() }
        // They have asked for nothing yet.
        for greeting in greetings.values { greeting.cut() }
        downstreams.forEach { $0.drain() }
        connectionEnded()
    }

    /// Ends every connection, whatever it is doing.
    package func closeAll() {
        drain()
        downstreams.forEach { $0.cut() }
        pools.closeAll()
        // Closed connections that wait for the end of a turn: none comes any more.
        pump()
        if let watch { loop.remove(watch) }
        // They refer to the proxy, which otherwise would keep itself alive.
        _ = freeExchanges.removeAll()
    }

    /// Downstream connections that are open.
    package var connectionCount: Int { downstreams.count }

    func connectionEnded() {
        if isDraining, downstreams.isEmpty { whenIdle() }
    }

    // MARK: Exchanges

    /// An exchange ready for a head; reused, since a new one costs several allocations.
    func takeExchange(fields: Int) -> Exchange {
        if let exchange = freeExchanges.pop() {
            exchange.prepare(fields: fields)
            return exchange
        }
        return Exchange(proxy: self, fields: fields)
    }

    /// Exchanges that wait to be used again.
    var freeExchangeCount: Int { freeExchanges.count }

    /// Takes back an exchange that has not begun.
    func recycle(_ exchange: Exchange) {
        if freeExchanges.count < Self.maxFreeExchanges { freeExchanges.push(exchange) }
    }

    /// Takes back an exchange that has ended. It is used again only after this turn, since
    /// handlers further up the stack may still ask it whether it has ended.
    func retire(_ exchange: Exchange) { endedExchanges.push(exchange) }

    // MARK: HTTP/2

    /// A stream that is nobody's, counted for whoever takes it.
    func takeStream(on connection: H2Downstream) -> Unmanaged<H2Stream> {
        freeStreams.popCounted() ?? .passRetained(H2Stream(on: connection))
    }

    /// Takes back a stream that is over, to be used again after this turn.
    func retire(_ stream: Unmanaged<H2Stream>) { endedStreams.push(counted: stream) }

    /// Sends what a connection has to send at the end of this turn.
    func pumpLater(_ connection: Connection) { pumps.push(connection) }

    /// A call that is nobody's, counted for whoever takes it.
    func takeCall(on connection: H2Upstream) -> Unmanaged<H2Call> {
        freeCalls.popCounted() ?? .passRetained(H2Call(on: connection))
    }

    /// Takes back a call that is over, to be used again after this turn.
    func retire(call: Unmanaged<H2Call>) { endedCalls.push(counted: call) }

    private func pump() {
        swap(&pumps, &pumping)
        while let connection = pumping.pop() { connection.turnEnded() }
        context.flush()
    }

    // MARK: Verdicts

    /// Tells the requests that waited what became of them; what follows from that may decide about
    /// more of them.
    private func deliverVerdicts() {
        while !verdicts.isEmpty {
            swap(&verdicts, &delivering)
            for verdict in delivering { deliver(verdict) }
            delivering.removeAll(keepingCapacity: true)
            context.flush()
        }
    }

    private func deliver(_ verdict: WaitVerdict) {
        guard WaitRoom.worker(of: verdict.waiter) == waitRoom.worker else {
            return lines.post(verdict)
        }
        if let exchange = waitRoom.leave(verdict.waiter) {
            return exchange.verdictArrived(verdict)
        }
        giveBack(verdict)
    }

    /// Whoever waited is gone: the permit goes to the next.
    func giveBack(_ verdict: WaitVerdict) {
        guard let endpoint = verdict.endpoint else { return }
        let permit = Permit(
            cluster: verdict.cluster, endpoint: endpoint,
            startedAt: verdict.startedAt)
        permit.settle(.unsent, now: loop.now, verdicts: &verdicts)
    }

    /// The pool of an endpoint, as the cluster or its newest generation knows it.
    func pool(of endpoint: EndpointGovernor, in cluster: Cluster) -> Pool? {
        if let pool = cluster.pools.first(where: { $0.id == endpoint.id }) { return pool }
        for newer in snapshot.clusters {
            let pool = newer.use { $0.pools.first { $0.id == endpoint.id } }
            if let pool { return pool }
        }
        return nil
    }

    /// Ends a turn of the loop.
    package func endTurn() {
        if !verdicts.isEmpty { deliverVerdicts() }
        while pumps.count > 0 {
            pump()
            if !verdicts.isEmpty { deliverVerdicts() }
        }
        if endedStreams.count > 0 {
            endedStreams.move(to: &freeStreams, atMost: Self.maxFreeExchanges) { _ in }
        }
        if endedCalls.count > 0 {
            endedCalls.move(to: &freeCalls, atMost: Self.maxFreeExchanges) { _ in }
        }
        // An event that ended a request may have gathered its answer.
        context.flush()
        guard endedExchanges.count > 0 else { return }
        endedExchanges.move(to: &freeExchanges, atMost: Self.maxFreeExchanges) { $0.reset() }
    }
}

/// A plan in use: its clusters with this worker's pools and balancers.
final class Snapshot {
    let plan: Plan
    private let owned: [Cluster]
    /// In the order of the plan.
    let clusters: [Borrowed<Cluster>]

    init(plan: Plan, pools: PoolTable, chance: inout Chance) {
        self.plan = plan
        owned = plan.clusters.map { Cluster(plan: $0, pools: pools, chance: &chance) }
        clusters = owned.map(Borrowed.init)
    }
}
