// The spine: one request's life, from its head to its line in the log, readable top to bottom.

import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirPolicy
import WeirTime

/// One client request and its response, attempts included.
///
/// Whoever reads the client or the endpoint tells it what came (head, body, end, failure); it
/// decides and drives both sides. The phases are the folders of this module, in order; the way
/// back from `relay` to `pickEndpoint` is the only one.
final class Exchange: TimerTarget {
    enum Phase: UInt8, CaseIterable {
        case accept, decode, findRoute, govern, pickEndpoint, pool, relay, report
    }

    let proxy: Proxy
    var phase = Phase.accept
    /// What the exchange began under; a reload does not change it.
    private var snapshot: Snapshot?

    // Not counted, since a count costs more than the use: the snapshot keeps the plan's parts, and
    // the loop keeps a connection until the end of the turn in which it closes and says so here.
    /// The snapshot, which is kept above.
    private(set) var under: Borrowed<Snapshot>?
    private(set) var client: Borrowed<DownstreamConnection>?
    /// The client's connection, or its stream of the connection.
    private(set) var downstream: Downstream?
    private(set) var matched: Borrowed<RoutePlan>?
    private(set) var destination: Borrowed<Cluster>?
    var target: Borrowed<Pool>?
    /// The pool of where the client's connection was going; kept, since it may be forgotten.
    var passage: Pool?
    /// A pool that came with a later configuration; kept, since it may go with the next.
    var newerPool: Pool?
    var upstream: Upstream?
    var route: RoutePlan? { matched?.object }
    var cluster: Cluster? { destination?.object }
    var pool: Pool? { target?.object }

    /// The request's head, and the index into it.
    var message = HeadStore()
    var head: RequestHead
    var timer = TimerID.none
    /// Body bytes that wait for an upstream connection, or are kept for another attempt.
    var held = ByteQueue()
    private var heldTrailers: [UInt8] = []
    /// Decodes the request's body where it comes in chunks; here and not in the connection, so that
    /// an idle one does not pay for it.
    var chunks = ChunkedDecoder()
    var record = ExchangeRecord()

    /// What the governors decided, and what they hold for this request.
    var ticket = Ticket()
    var charges = ChargeList()
    /// The place at an endpoint that the attempt under way has.
    var permit: Permit?
    var pause = Pause.none
    /// The second attempt of a hedged exchange, and when it is to begin.
    var rival: Rival?
    var hedgeAt = Instant.distantFuture
    /// What the attempt's end says about the endpoint.
    var outcome = AttemptOutcome.unsent
    /// Endpoints that earlier attempts went to.
    var tried = TriedEndpoints()
    /// When the answer is due at the latest: the route's timeout, or the client's deadline.
    var dueAt = Instant.distantFuture
    var isDueSet = false
    /// The body cannot be sent again from its beginning.
    var isBodyLost = false

    var isRequestComplete = true
    var isUpstreamReady = false
    var hasResponseBegun = false
    var isDiscarding = false
    var isReplay = false
    /// The next attempt is not to be made over a connection that was used before.
    var needsFreshConnection = false
    var touchedAt = Instant.distantPast
    var hasContinued = false
    /// What the endpoint had taken of the request when the timer last looked.
    var acknowledged: UInt64 = 0

    init(proxy: Proxy, fields: Int) {
        self.proxy = proxy
        head = RequestHead(maxFields: fields)
        super.init()
        timer = proxy.loop.timers.add(self)
    }

    deinit {
        message.release()
        charges.release()
        proxy.loop.timers.remove(timer)
    }

    /// Makes room for a head of `fields` fields.
    func prepare(fields: Int) {
        if head.fields.capacity < fields { head = RequestHead(maxFields: fields) }
    }

    var now: Instant { proxy.loop.now }

    // MARK: Decode

    /// Parses a head into this exchange, which has not begun yet.
    func parse(_ bytes: UnsafeRawBufferPointer, seen: Int, limits: HeadLimits) -> ParseStep {
        H1Parser.parseRequest(bytes, seen: seen, limits: limits, into: &head)
    }

    /// Begins the exchange on a connection whose head is complete, or was refused.
    func begin(_ side: Downstream, on connection: DownstreamConnection, startedAt: Instant) {
        client = Borrowed(connection)
        downstream = side
        snapshot = proxy.snapshot
        under = Borrowed(proxy.snapshot)
        phase = .decode
        proxy.counters.add(.requestsActive)
        record.begin(startedAt: startedAt, now: now, side, on: connection)
        message.makeID(&proxy.chance)
    }

    /// The head is complete. `bytes` are copied: they must outlive the read buffer, for a replay
    /// and for the log.
    func headArrived(_ bytes: UnsafeRawBufferPointer, bodyFollows: Bool) {
        keepHead(bytes, bodyFollows: bodyFollows)
        findRoute()
    }

    /// The same where `findRoute` is to follow later.
    func keepHead(_ bytes: UnsafeRawBufferPointer, bodyFollows: Bool) {
        isRequestComplete = !bodyFollows
        message.take(bytes, head)
        if record.isPeerTrusted { adoptRequestID() }
    }

    /// A trusted proxy has named the request already.
    private func adoptRequestID() {
        for index in 0..<head.fields.count where head.fields[index].known == .xRequestID {
            if message.adoptID(message.bytes[valueOf: head.fields[index]]) { return }
        }
    }

    // MARK: FindRoute

    func findRoute() {
        phase = .findRoute
        if head.method == .connect || head.method == .trace {
            // What follows a CONNECT is not HTTP.
            head.isPersistent = false
            return refuse(.notImplemented)
        }
        under?.use { snapshot in
            matched = snapshot.plan.table.borrow(
                host: message.host(head), path: message.path(head), head: head,
                message: message.bytes,
                listener: client?.use { $0.listener.nameBytes } ?? Bytes.none)
            guard let matched else { return refuse(.routeMissing) }
            matched.use { govern($0, snapshot) }
        }
    }

    // MARK: Govern

    @inline(__always)
    private func govern(_ route: RoutePlan, _ snapshot: Snapshot) {
        phase = .govern
        if case .length(let length) = head.framing,
            length > mostBodyBytes
        {
            return refuse(.bodyTooLarge)
        }
        switch route.action {
        case .redirect(let redirect): respond(.redirect(redirect, self))
        case .respond(let status, let body, let contentType):
            respond(LocalReply(status: status, contentType: contentType, body: body))
        case .forward(let index):
            guard !proxy.context.pool.isNearlyExhausted else { return refuse(.resourceExhausted) }
            guard isAdmitted(route, snapshot.plan.common) else { return }
            snapshot.clusters[index].use { cluster in
                destination = Borrowed(cluster)
                // A body is gathered first, so that a slow client costs the endpoint nothing; one
                // that waits for `100 Continue` will not send it before it is asked.
                if isRequestComplete || head.expectsContinue || route.requestBuffer == 0
                    || isCall(to: cluster)
                {
                    pickEndpoint(of: cluster, for: route)
                } else if ticket.deadline < .distantFuture {
                    proxy.loop.timers.arm(timer, at: ticket.deadline)
                }
            }
        }
    }

    private var mostBodyBytes: Int64 { client?.use { $0.listener.settings.bodyBytes } ?? .max }

    /// A part of the request's body, valid until the handler returns.
    func requestBody(_ bytes: UnsafeRawBufferPointer) {
        guard phase != .report else { return }
        record.requestBodyBytes &+= Int64(bytes.count)
        if isDiscarding { return }
        if record.requestBodyBytes > mostBodyBytes {
            return refuse(.bodyTooLarge)
        }
        if isUpstreamReady, let upstream {
            // Before it is sent: that may be when the attempt fails and another one begins.
            if !hasResponseBegun, !isBodyLost { keepForRetry(bytes) }
            upstream.sendBody(bytes)
            guard isCurrent(upstream) else { return }
            if !hasResponseBegun, let route { armResponseTimer(route) }
            return touch()
        }
        guard held.append(bytes, pool: proxy.context.pool) else {
            return refuse(.resourceExhausted)
        }
        if phase == .govern, held.count >= route?.requestBuffer ?? 0 { pickEndpoint() }
    }

    /// The request's body is complete.
    func requestEnd(trailers: [UInt8]) {
        guard phase != .report, !isRequestComplete else { return }
        isRequestComplete = true
        if isDiscarding { return finishIfAnswered() }
        heldTrailers = trailers
        if isUpstreamReady, let upstream {
            upstream.endBody(trailers: trailers)
            guard isCurrent(upstream) else { return }
            if !hasResponseBegun, let route { armResponseTimer(route) }
            finishIfAnswered()
        } else if phase == .govern {
            pickEndpoint()
        }
    }

    /// Lets go of the request's body, which can then not be sent again.
    private func dropBody() {
        isBodyLost = true
        held.clear(pool: proxy.context.pool)
    }

    /// More of the request's body may be read.
    var acceptsRequestBody: Bool {
        if isDiscarding { return true }
        if isUpstreamReady { return upstream.map { !$0.isBehind } ?? false }
        return held.count < max(route?.requestBuffer ?? 0, 1)
    }

    // MARK: Pool

    /// The upstream connection is ready for the request.
    func upstreamConnected(_ upstream: Upstream) {
        if rival != nil, isRival(upstream) { return rivalConnected() }
        guard let matched, let destination else { return }
        matched.use { route in
            destination.use { cluster in send(route, cluster, on: upstream) }
        }
    }

    private func send(_ route: RoutePlan, _ cluster: Cluster, on upstream: Upstream) {
        phase = .relay
        isUpstreamReady = true
        if head.wantsUpgrade, case .h2(let call) = upstream,
            let refusal = H2Tunnel.refusal(self, call.object)
        {
            return refuse(refusal)
        }
        outcome = .cancelled
        record.connected(now)
        guard upstream.sendHead(self, route: route, cluster: cluster) else {
            return refuse(.headTooLarge)
        }
        ticket.retryPaidAt = .distantPast
        let hasBegunBody = !held.isEmpty
        if hasBegunBody { upstream.sendBody(UnsafeRawBufferPointer(held.bytes)) }
        if isRequestComplete, !head.wantsUpgrade, isCurrent(upstream) {
            upstream.endBody(trailers: heldTrailers)
        }
        guard isCurrent(upstream) else { return }
        planHedge(route)
        armResponseTimer(route)
        if hasBegunBody {
            upstream.flush()
            if held.count > mostKept(route, upstream) { dropBody() }
        }
        if !isRequestComplete { downstream?.resumeReading() }
    }

    /// Sending on a stream may have shown that it has ended; another attempt is under way then.
    @inline(__always)
    private func isCurrent(_ sent: Upstream) -> Bool {
        if case .h2 = sent { upstream == sent } else { true }
    }

    // MARK: Relay

    /// More of the response may be read from the endpoint.
    var acceptsResponseBody: Bool {
        if let downstream { !downstream.isBehind } else { false }
    }

    /// An interim response, such as 100 or 103.
    func upstreamInterim(_ bytes: UnsafeRawBufferPointer) {
        guard let downstream, !hasResponseBegun, head.minorVersion > 0, rival == nil else { return }
        downstream.sendInterim(proxy.responseHead, bytes)
        if awaitsContinue, proxy.responseHead.status == 100 {
            hasContinued = true
            downstream.resumeReading()
        }
    }

    /// The head of the final response; it is indexed by the proxy's `responseHead`.
    func upstreamHead(
        _ bytes: UnsafeRawBufferPointer, pool: Pool, from connection: Upstream
    ) {
        guard let downstream, let matched else { return }
        let status = proxy.responseHead.status
        if rival != nil, !isHeard(connection, status, bytes) {
            return pool.counters.count(status: status)
        }
        if status == 101, !head.wantsUpgrade {
            return upstreamMalformed()
        }
        pool.counters.count(status: status)
        if judge(status, bytes) { return }
        if passesForTunnel(status) { return refuse(.notImplemented) }
        record.firstByte(now)
        record.status = status
        let isWritten = matched.use { route in
            if let hedge = route.rules.hedge { hedge.record(now - record.attemptAt) }
            return downstream.sendHead(
                self, proxy.responseHead, bytes, route: route,
                mayPersist: mayPersist && !awaitsContinue)
        }
        guard isWritten else { return upstreamMalformed() }
        hasResponseBegun = true
        if !held.isEmpty { dropBody() }
        touch()
        if ticket.holdsProbe { settleBreakers(isAtHead: true) }
        if status == 101 { beginTunnel() }
    }

    /// A part of the response's body, valid until the handler returns.
    func upstreamBody(_ bytes: UnsafeRawBufferPointer) {
        guard let downstream, head.method != .head else { return }
        record.responseBodyBytes &+= Int64(bytes.count)
        downstream.sendBody(bytes)
        touch()
    }

    /// Where the response's body may be moved without looking at it: it goes out as it comes in.
    var bodySink: H1Downstream? { downstream?.bodySink }

    /// A part of the response's body has been moved to `bodySink`.
    func upstreamMoved(_ count: Int) {
        record.responseBodyBytes &+= Int64(count)
        touch()
    }

    /// The response is complete.
    func upstreamEnd(trailers: [UInt8], from upstream: Upstream) {
        guard let downstream else { return }
        if case .open = record.call { endCall(trailers) }
        downstream.endBody(trailers: trailers)
        release(upstream)
        finish(downstream)
    }

    /// The client has taken all that was queued for it.
    func downstreamDrained() {
        touch()
        upstream?.resumeReading()
    }

    /// The endpoint has taken all that was queued for it.
    func upstreamDrained() { downstream?.resumeReading() }

    /// The answer lets the client's connection be used again.
    var mayPersist: Bool {
        guard head.isPersistent, !proxy.isDraining, let client else { return false }
        return client.use { !$0.listener.isRemoved }
    }

    // MARK: Ends

    override func timerFired() {
        defer { proxy.context.flush() }
        switch pause {
        case .queued: return waitExpired()
        case .backoff: return pickEndpoint()
        case .none: break
        }
        if phase == .govern { return refuse(.deadline) }
        guard target != nil, !isWaitingForClient else { return }
        if record.isTunnel { return finish() }
        if hedgeAt <= now {
            beginHedge()
            if let route, !hasResponseBegun { armResponseTimer(route) }
            return
        }
        attemptTimedOut()
    }

    func respond(_ reply: LocalReply) {
        guard let downstream else { return }
        hasResponseBegun = true
        record.status = reply.status
        // A client that waits for `100 Continue` may send the body all the same, or not at all:
        // what it sends next could be either.
        let isBodyCertain = isRequestComplete || !head.expectsContinue
        var keeps = mayPersist && isBodyCertain && downstream.canDiscardBody
        if !downstream.send(reply, self, mayPersist: keeps) { keeps = false }
        if !keeps { head.isPersistent = false }
        isDiscarding = !isRequestComplete && keeps
        held.clear(pool: proxy.context.pool)
        guard isDiscarding else { return finish() }
        // What is still to come is waited for by the client's connection.
        proxy.loop.timers.disarm(timer)
        downstream.resumeReading()
    }

    private func finishIfAnswered() {
        if isDiscarding, hasResponseBegun { finish() }
    }

    func finish() {
        guard let downstream else { return }
        finish(downstream)
    }

    @inline(__always)
    private func finish(_ downstream: Downstream) {
        guard phase != .report else { return }
        dropUpstream()
        let mayPersist = head.isPersistent && !record.isTunnel
        downstream.flush()
        report()
        downstream.exchangeEnded(mayPersist: mayPersist)
    }

    // MARK: Report

    func report() {
        let phaseAtEnd = phase
        phase = .report
        // A verdict that came later would be for whoever has this exchange next.
        stopWaiting()
        proxy.loop.timers.disarm(timer)
        proxy.counters.subtract(.requestsActive)
        settleTicket()
        ExchangeReport.write(self, phase: phaseAtEnd)
        if !held.isEmpty { held.clear(pool: proxy.context.pool) }
        proxy.retire(self)
    }

    /// Forgets everything, so that the next request finds nothing of this one.
    func reset() {
        phase = .accept
        snapshot = nil
        under = nil
        client = nil
        downstream = nil
        matched = nil
        destination = nil
        target = nil
        passage = nil
        newerPool = nil
        message.clear()
        record = ExchangeRecord()
        ticket = Ticket()
        tried = TriedEndpoints()
        outcome = .unsent
        dueAt = .distantFuture
        isDueSet = false
        isBodyLost = false
        if !heldTrailers.isEmpty { heldTrailers = [] }
        isRequestComplete = true
        isUpstreamReady = false
        hasResponseBegun = false
        isDiscarding = false
        isReplay = false
        needsFreshConnection = false
        touchedAt = .distantPast
        hasContinued = false
        acknowledged = 0
    }
}
