// A proxy, its clients and its endpoints in one thread: tests drive them turn by turn.

import Glibc
import Testing
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

/// What did not happen within ten seconds, which only a failing test waits for.
struct Waited: Error, CustomStringConvertible {
    let description: String
}

/// One end of a connection that a test holds: a client's, or an endpoint's.
final class Peer {
    private(set) var fd: Int32
    /// What came and was not taken yet.
    private(set) var received: [UInt8] = []
    /// The other side has ended its sending, or the connection is reset.
    private(set) var hasEnded = false
    private(set) var wasReset = false
    /// Nothing is read while this is false.
    var isReading = true
    /// Bytes are counted but not kept.
    var isCounting = false
    private var outbox: [UInt8] = []
    private var outboxStart = 0
    private(set) var totalReceived = 0

    init(fd: Int32) { self.fd = fd }

    deinit { hangUp() }

    var text: String { String(decoding: received, as: UTF8.self) }
    /// Bytes that the kernel has not taken yet.
    var unsent: Int { outbox.count - outboxStart }

    func send(_ text: String) { send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) {
        outbox += bytes
        pump()
    }

    func take(_ count: Int) -> String {
        let part = received.prefix(count)
        received.removeFirst(part.count)
        return String(decoding: part, as: UTF8.self)
    }

    func endSending() { Socket.shutdownSending(fd) }

    func hangUp() {
        if fd >= 0 { _ = close(fd) }
        fd = -1
    }

    func reset() {
        Socket.setLingerZero(fd)
        hangUp()
    }

    /// Moves what can be moved.
    func pump() {
        guard fd >= 0 else { return }
        while unsent > 0 {
            let sent = outbox.withUnsafeBytes {
                Glibc.send(
                    fd, $0.baseAddress.map { $0 + outboxStart }, unsent, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { break }
            outboxStart += sent
        }
        if unsent == 0 {
            outbox = []
            outboxStart = 0
        }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while isReading, !hasEnded {
            let count = recv(fd, &buffer, buffer.count, 0)
            if count > 0 {
                if !isCounting { received += buffer[..<count] }
                totalReceived += count
            } else if count == 0 {
                hasEnded = true
            } else if errno == EAGAIN || errno == ENOTCONN {
                return
            } else {
                hasEnded = true
                wasReset = errno == ECONNRESET
            }
        }
    }
}

/// A listening endpoint.
final class Origin {
    let fd: Int32
    let address: SocketAddress

    init() throws {
        fd = try Socket.listen(on: .ip(IPAddress(v4: 0x7F00_0001), port: 0), exclusively: false)
        address = try #require(Socket.localAddress(fd))
    }

    deinit { _ = close(fd) }
}

/// A proxy with one listener and, unless told otherwise, one endpoint.
final class Stand {
    let loop: EventLoop
    let registry = CounterRegistry(workers: 1, refusalCodes: Refusal.allCases.map(\.code))
    let budget: ConnectionBudget
    let origin: Origin
    let state = EndpointState(governor: EndpointGovernor(id: 1))
    let lines: VerdictLines
    let governor = ClusterGovernor(
        settings: ClusterSettings(), queue: QueueSettings(),
        budget: RetryBudget(RetryBudgetSettings()))
    let common = CommonRules(
        priorities: PriorityRules(names: [Text("default")], fallback: 0, header: nil),
        tenants: nil, rates: [], fields: .none, seed: KeySeed(1, 2),
        governor: RateGovernor(capacity: 16), places: TenantConcurrency(capacity: 16))
    let proxy: Proxy
    let address: SocketAddress
    private let idleCalls = Box()
    private var peers: [Peer] = []
    private(set) var plan: Plan

    final class Box { var count = 0 }

    /// How often a drain was said to be over.
    var idleReports: Int { idleCalls.count }

    init(
        maxConnections: Int = 100, share: Interval = .microseconds(200),
        _ settings: ListenerSettings = ListenerSettings(),
        change: (inout Blueprint) -> Void = { _ in }
    ) throws {
        loop = try EventLoop(share: share)
        budget = ConnectionBudget(limit: maxConnections)
        origin = try Origin()
        let listening = try Socket.listen(
            on: .ip(IPAddress(v4: 0x7F00_0001), port: 0), exclusively: false)
        address = try #require(Socket.localAddress(listening))
        lines = try VerdictLines(workers: 1)
        var blueprint = Blueprint(
            governor: governor, common: common, endpoints: [(origin.address, state)])
        change(&blueprint)
        plan = blueprint.plan(
            registry, ListenerPlan(name: "l", address: address, fd: listening, settings: settings))
        let idleCalls = self.idleCalls
        proxy = try Proxy(
            plan: plan, loop: loop, counters: registry.worker(0), budget: budget, lines: lines,
            worker: 0, seed: 7,
            whenIdle: { idleCalls.count += 1 })
    }

    deinit {
        proxy.closeAll()
        proxy.endTurn()
        loop.turn(maxWait: .zero)
    }

    /// Takes up a changed configuration with the same listener.
    func adopt(_ change: (inout Blueprint) -> Void) throws {
        var blueprint = Blueprint(
            governor: governor, common: common, endpoints: [(origin.address, state)])
        blueprint.generation = plan.generation + 1
        change(&blueprint)
        plan = blueprint.plan(registry, plan.listeners[0])
        try proxy.adopt(plan)
    }

    // MARK: Turns

    func turn() {
        loop.turn(maxWait: .milliseconds(1))
        proxy.endTurn()
        for peer in peers { peer.pump() }
    }

    /// Takes turns until `condition` holds.
    func turn(until what: String, _ condition: () throws -> Bool) throws {
        let limit = MonotonicClock.now() + .seconds(10)
        while try !condition() {
            guard MonotonicClock.now() < limit else { throw Waited(description: what) }
            turn()
        }
    }

    /// Takes turns until nothing has moved for a while: for what must NOT happen.
    func settle() { for _ in 0..<20 { turn() } }

    func client() throws -> Peer {
        let peer = Peer(fd: try Socket.connect(to: address))
        peers.append(peer)
        return peer
    }

    /// The next connection that the proxy makes.
    func accept(from origin: Origin? = nil) throws -> Peer {
        var taken: Int32 = -1
        try turn(until: "a connection to the endpoint") {
            if let (fd, _) = try Socket.accept((origin ?? self.origin).fd) { taken = fd }
            return taken >= 0
        }
        let peer = Peer(fd: taken)
        peers.append(peer)
        return peer
    }

    /// A connection to the endpoint waits to be accepted.
    func hasNewConnection() throws -> Bool {
        settle()
        guard let (fd, _) = try Socket.accept(origin.fd) else { return false }
        _ = Glibc.close(fd)
        return true
    }

    /// Waits for bytes that end in `end`, and takes everything up to it.
    func read(_ peer: Peer, upTo end: String) throws -> String {
        var count = 0
        let mark = Array(end.utf8)
        try turn(until: "'\(end)' in '\(peer.text.prefix(600))' (ended: \(peer.hasEnded))") {
            guard let place = peer.received.firstRange(of: mark) else { return false }
            count = place.upperBound
            return true
        }
        return peer.take(count)
    }

    func readHead(_ peer: Peer) throws -> String { try read(peer, upTo: "\r\n\r\n") }

    func expectEnd(_ peer: Peer) throws {
        try turn(until: "the end after '\(peer.text.suffix(300))'") { peer.hasEnded }
    }

    // MARK: Accounts

    private var totals: CounterTotals { CounterTotals(registry) }

    /// Exchanges that were reported.
    var reported: UInt64 { totals.routes.reduce(0) { $0 + $1[.durationCount] } }

    func reported(_ route: String) -> UInt64 {
        totals.routes.first { $0.name == route }?[.durationCount] ?? 0
    }

    func refusals(_ refusal: Refusal) -> UInt64 {
        totals.routes.reduce(0) { $0 + $1.refusals[Int(refusal.rawValue)] }
    }

    func count(_ counter: ClusterCounter) -> UInt64 {
        totals.clusters.reduce(0) { $0 + $1[counter] }
    }

    func count(_ counter: WorkerCounter) -> UInt64 { totals.sum(counter) }

    /// Ends all connections and checks that the books balance: each of `exchanges` was reported
    /// once, and nothing is left open, in flight or in a buffer.
    func close(exchanges: UInt64, _ location: SourceLocation = #_sourceLocation) throws {
        for peer in peers { peer.hangUp() }
        try turn(until: "the end of all connections") { proxy.connectionCount == 0 }
        proxy.pools.closeAll()
        settle()
        #expect(reported == exchanges, sourceLocation: location)
        let ofWorker: [WorkerCounter] = [.requestsActive, .connectionsActive]
        for gauge in ofWorker { #expect(count(gauge) == 0, "\(gauge)", sourceLocation: location) }
        let inCluster: [ClusterCounter] = [.requestsActive, .connectionsActive, .connectionsIdle]
        for gauge in inCluster { #expect(count(gauge) == 0, "\(gauge)", sourceLocation: location) }
        #expect(state.requestsInFlight == 0, sourceLocation: location)
        #expect(UInt64(state.attempts) == count(.attempts), sourceLocation: location)
        #expect(budget.count == 0, sourceLocation: location)
        #expect(proxy.context.pool.bytesInUse == 0, sourceLocation: location)
        let reports = totals.routes.map { $0.cells[0...5].reduce(0, +) }.reduce(0, +)
        #expect(reports == exchanges, "one class of status each", sourceLocation: location)
    }
}

/// The configuration of a stand: one route to one cluster, unless a test changes it.
struct Blueprint {
    let governor: ClusterGovernor
    let common: CommonRules
    var generation: UInt64 = 1
    var endpoints: [(address: SocketAddress, state: EndpointState)]
    var route = "r"
    var action = RoutePlan.Action.forward(cluster: 0)
    var timeout = Interval.seconds(30)
    var idleTimeout = Interval.seconds(30)
    var requestBuffer = 16 << 10
    var prefix: String?
    var prefixRewrite: String?
    var requestEdits = FieldEdits()
    var responseEdits = FieldEdits()
    var hostHeader = ClusterPlan.HostHeader.preserve
    var connectTimeout = Interval.seconds(5)
    var idleUpstream = Interval.seconds(30)
    var maxIdle = 8
    var bufferMemory = 16 << 20

    func plan(_ registry: CounterRegistry, _ listener: ListenerPlan) -> Plan {
        var rule = RouteRule(
            plan: RoutePlan(
                name: Text(route), action: action, timeout: timeout, idleTimeout: idleTimeout,
                requestBuffer: requestBuffer, rules: RouteRules(), salt: 1,
                prefixLength: prefix?.utf8.count ?? 0,
                prefixRewrite: prefixRewrite.map { Text($0) }, requestEdits: requestEdits,
                responseEdits: responseEdits, counters: registry.route(route, worker: 0)))
        if let prefix { rule.path = .prefix(prefix) }
        let cluster = ClusterPlan(
            name: Text("c"),
            balancer: Balancer(
                settings: BalancerSettings(), endpoints: endpoints.map { _ in BalancedEndpoint() }),
            hashOn: nil, governor: governor,
            hasRetries: false,
            endpoints: endpoints.map {
                EndpointPlan(address: $0.address, weight: 1, state: $0.state)
            },
            connectTimeout: connectTimeout, idleTimeout: idleUpstream, maxIdle: maxIdle,
            hostHeader: hostHeader, counters: registry.cluster("c", worker: 0))
        return Plan(
            generation: generation, listeners: [listener], table: RouteTable([rule]),
            clusters: [cluster], unrouted: registry.route("-", worker: 0),
            bufferMemory: bufferMemory, log: nil, logSample: 0, common: common,
            reasonLine: Text("x-weir-reason: "))
    }
}

extension FieldEdits {
    /// The edits of `remove` and `set`, as the compiler makes them.
    init(remove: [String] = [], set: [(String, String)] = []) {
        self.init()
        dropped = (remove + set.map(\.0)).map { Drop($0) }
        lines = Text(set.map { "\($0.0): \($0.1)\r\n" }.joined())
    }
}

extension String {
    /// The lines of a head, without what differs from run to run.
    var headLines: [String] {
        components(of: "\r\n").filter {
            !$0.isEmpty && !$0.hasPrefix("date: ") && !$0.hasPrefix("x-request-id: ")
        }
    }

    private func components(of separator: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}
