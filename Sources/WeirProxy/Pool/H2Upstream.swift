// A connection to an endpoint that speaks HTTP/2: many calls at once.

import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirTime

/// One upstream HTTP/2 connection.
///
/// It is open once the endpoint has said how many calls it takes: before that, some of them would
/// be refused.
///
///     connecting --SETTINGS--> open --GOAWAY, drain--> leaving --no calls--> closed
final class H2Upstream: Connection {
    enum State: UInt8 { case connecting, open, leaving, closed }

    private static let readSize = 64 << 10
    /// Calls at once, whatever the endpoint allows.
    static let mostCalls = 100
    /// Streams beyond this number are left to those who have begun.
    private static let lastNumber = Int32.max - 1000
    /// How often a connection that is to end looks whether anybody still waits for its calls.
    private static let leaveTime = Interval.seconds(2)
    /// Bytes of bodies that may come unasked; calls have windows of their own.
    private static let window = 16 << 20
    static let headLimits = HeadLimits(
        maxBytes: 64 << 10, maxFields: H1Upstream.maxFields, maxTargetBytes: 0)

    let pool: Pool
    let proxy: Proxy
    let workspace: H2Session.Workspace
    /// What it speaks TLS with; `nil` where it does not.
    let security: TLSClientSession?
    private(set) var state = State.connecting
    private var ownSession: H2Session?
    /// The same, not counted.
    private var session: Borrowed<H2Session>?
    private var isBusy = false
    private var isPumpDue = false
    private(set) var calls = LinkedList<H2Call>()
    /// Calls at once that the endpoint takes here.
    private var limit = 0
    /// It is to end once its first calls are made: the pool has other settings now.
    private var isRetired = false
    /// It will never be open.
    private var hasFailed = false
    private var written = Spares<H2Call>()
    /// Calls that wait for the connection, and some that have gone since.
    private var waiting = Spares<H2Call>()
    /// Bytes of requests that wait in calls.
    var held = H2Held()
    private(set) var hasAnswered = false
    private var heardAt = Instant.distantPast
    /// When the first call was made that nothing was heard since.
    private var askedAt = Instant.distantPast
    private var timer: TimerID
    private var countedBytesSent: UInt64 = 0

    init(fd: Int32, pool: Pool, proxy: Proxy) {
        self.pool = pool
        self.proxy = proxy
        workspace = proxy.h2Workspace
        security = pool.tls
        timer = .none
        super.init(fd: fd, context: proxy.context)
        timer = context.loop.timers.add(self)
        context.loop.timers.arm(timer, at: context.loop.now + pool.connectTimeout)
    }

    // Where the loop refuses to watch the connection, nothing else would remove it.
    deinit { context.loop.timers.remove(timer) }

    // MARK: Calls

    /// Ends a connection that is full of calls for which nobody waits any more.
    func closeIfUnused() { if state == .open, calls.count >= limit, !isAwaited { close() } }

    /// Another call may begin.
    var hasRoom: Bool {
        switch state {
        case .connecting: !isRetired && !isBroken && calls.count < pool.streamsAllowed
        case .open: !isBroken && calls.count < limit
        case .leaving, .closed: false
        }
    }

    /// A call, which `connected` of it follows where the connection is not ready yet.
    func open() -> Borrowed<H2Call> {
        let reference = proxy.takeCall(on: self)
        let call = Borrowed<H2Call>(opaque: reference.toOpaque())
        call.use { $0.open(on: self, isReused: hasAnswered) }
        calls.insert(call)
        if state == .connecting { waiting.push(call.object) }
        if state == .open { context.loop.timers.disarm(timer) }
        return call
    }

    var takesTunnels: Bool { session?.use { $0.takesTunnels } ?? false }

    /// Sends the gathered fields as a call's head; the stream's number, 0 where there is none.
    func request(_ call: H2Call, hasBody: Bool) -> Int32 {
        let attached = Unmanaged.passUnretained(call).toOpaque()
        schedulePump()
        if heardAt >= askedAt { askedAt = context.loop.now }
        let id = session?.use { $0.request(attached, hasBody: hasBody) } ?? 0
        // Numbers are not used again.
        if id <= 0 || id > Self.lastNumber { leave() }
        return id
    }

    /// All of a call's request has left.
    func hasEnded(_ id: Int32) -> Bool { session?.use { $0.hasEnded(id) } ?? true }

    func remove(_ call: H2Call) {
        calls.remove(call)
        // Handlers further up the stack may still refer to it.
        proxy.retire(call: .passUnretained(call))
        if calls.isEmpty { becomeIdle() }
    }

    private func becomeIdle() {
        switch state {
        case .open: context.loop.timers.arm(timer, at: context.loop.now + pool.idleTimeout)
        case .leaving: schedulePump()
        case .connecting, .closed: break
        }
    }

    func receivedBody(_ count: Int) { session?.use { $0.consumeConnection(count) } }

    func pay(_ id: Int32, _ count: Int) {
        session?.use { $0.consumeStream(id, count) }
        schedulePump()
    }

    func setWindow(of id: Int32, _ size: Int) { session?.use { $0.setWindow(of: id, size) } }

    func reset(_ id: Int32, _ code: H2Code) {
        session?.use { $0.reset(id, code) }
        schedulePump()
    }

    /// There is more of a call's request.
    func hasWritten(_ call: H2Call, _ count: Int, _ waiting: Int) {
        held.bytes += count
        willSettle(call)
        session?.use { $0.resume(call.id) }
        schedulePump()
        if waiting >= H2Output.enough, !isBusy { pump() }
    }

    func willSettle(_ call: H2Call) {
        guard !call.isWritten else { return }
        call.isWritten = true
        written.push(call)
    }

    /// Bytes of a call's request that are worth having now, up to `most`.
    func room(of id: Int32, atMost most: Int) -> Int {
        guard queuedBytes == 0, let session else { return 0 }
        return session.use { held.room(of: id, atMost: most, in: $0) }
    }

    /// There is no room for anybody.
    var isFull: Bool { queuedBytes > 0 || held.isFull }

    // MARK: Connecting

    override func ready(_ events: Events) {
        guard state == .connecting, tls == nil, session == nil else {
            return super.ready(events)
        }
        guard !events.isDisjoint(with: [.writable, .hungUp]) else { return }
        if Socket.pendingError(fd) != nil || events.contains(.hungUp) {
            return fail(.connect)
        }
        if let security {
            do { try secure(as: security, offering: "h2") } catch {
                return handshakeFailed("\(error)")
            }
        } else {
            connected()
        }
        if fd >= 0, !events.isDisjoint(with: [.readable, .peerEnded]) { super.ready(events) }
    }

    override func secured() {
        guard let tls, FieldValue.equals(tls.agreedProtocol, "h2") else {
            return handshakeFailed("it does not speak HTTP/2")
        }
        connected()
    }

    private func handshakeFailed(_ reason: String) {
        if !hasFailed {
            hasFailed = true
            pool.tellHandshakeFailure(reason, now: context.loop.now)
        }
        fail(.connect)
    }

    private func connected() {
        var settings = H2Session.Settings()
        settings.streamWindow = H2Call.firstWindow
        settings.connectionWindow = Self.window
        settings.maxHeadBytes = Self.headLimits.maxBytes
        ownSession = H2Session(client: self, settings, workspace)
        session = ownSession.map(Borrowed.init)
        guard session != nil else { return fail(.exhausted) }
        schedulePump()
    }

    /// The endpoint has said, or says anew, how many calls it takes.
    func opened() {
        limit = min(Self.mostCalls, session?.use { $0.mostStreams } ?? 0)
        guard state == .connecting, !hasFailed else { return }
        guard limit > 0 else { return handshakeFailed("it takes no requests") }
        pool.streamsAllowed = limit
        state = .open
        context.loop.timers.disarm(timer)
        var room = limit
        waiting.drain { call in
            guard call.isWaiting(for: self) else { return }
            if room > 0 {
                room -= 1
                call.connected()
            } else {
                call.close(.unsent)
                remove(call)
            }
        }
        if isRetired { leave() } else if calls.isEmpty { becomeIdle() }
    }

    override func timerFired() {
        switch state {
        case .connecting: fail(.connectTimeout)
        case .open: if calls.isEmpty { leave() }
        case .leaving: if isAwaited { watchLeaving() } else { close() }
        case .closed: break
        }
        context.flush()
    }

    /// Somebody waits for one of the calls; the others wait only to be taken off the books, which
    /// an endpoint that does not read can put off.
    private var isAwaited: Bool { !calls.visit(while: { !$0.isAwaited }) }

    private func watchLeaving() {
        context.loop.timers.arm(timer, at: context.loop.now + Self.leaveTime)
    }

    // MARK: Reading and sending

    override func readReady() {
        var reads = 0
        while isReadable, state != .closed {
            guard mayRead(after: reads) else { return context.loop.defer(self) }
            reads += 1
            switch receive(atMost: Self.readSize) {
            case .bytes(let count):
                pool.counters.add(.bytesReceived, UInt64(count))
                take(UnsafeRawBufferPointer(start: context.readBuffer, count: count))
            case .wouldBlock: return
            case .endOfStream, .failed: return inputFailed()
            }
        }
    }

    private func inputFailed() {
        guard state == .connecting else { return fail(.reset) }
        handshakeFailed(tls?.failure ?? "it has broken off")
    }

    override func resume() {
        if isReadable { readReady() }
        context.flush()
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        guard let session else { return }
        hasAnswered = state != .connecting
        heardAt = context.loop.now
        isBusy = true
        let second = context.loop.now.nanoseconds / 1_000_000_000
        let verdict = session.use { $0.receive(bytes, second: second) }
        isBusy = false
        context.flush()
        if verdict != .sound || !session.use({ $0.takesRequests }) { leave() }
        if verdict != .sound {
            if state == .connecting { return handshakeFailed("it does not speak HTTP/2") }
            // Calls hear why, and not just that the connection is over.
            isBusy = true
            session.use {
                $0.terminate(.enhanceYourCalm)
                _ = $0.send()
            }
            flush()
            isBusy = false
            return fail(.malformed)
        }
        schedulePump()
    }

    private func schedulePump() {
        guard !isPumpDue, state != .closed else { return }
        isPumpDue = true
        proxy.pumpLater(self)
    }

    override func turnEnded() { pump() }

    /// Sends what there is, as far as the endpoint takes it.
    func pump() {
        isPumpDue = false
        guard let session, state != .closed, !isBusy else { return }
        if queuedBytes == 0 {
            isBusy = true
            let isSound = session.use { $0.send() }
            flush()
            isBusy = false
            if !isSound { return fail(.reset) }
        }
        while let call = written.pop() { if call.isWritten { call.settle() } }
        guard state != .closed else { return }
        pool.counters.add(.bytesSent, bytesSent &- countedBytesSent)
        countedBytesSent = bytesSent
        guard queuedBytes == 0, session.use({ $0.isOver }) || state == .leaving && calls.isEmpty
        else { return }
        if state == .connecting { return handshakeFailed("it does not speak HTTP/2") }
        close()
    }

    override func sendQueueDrained() { if state != .closed { pump() } }

    override func hungUp() {
        // What it sent before it left is read first; that ends with the end of stream.
        if isReadable, state != .connecting { return }
        inputFailed()
    }

    // MARK: The end

    /// Takes no more calls, and ends with the last.
    func leave() {
        if state == .connecting { isRetired = true }
        guard state == .open else { return }
        state = .leaving
        // Also without a call: what is still to be sent may not be taken.
        watchLeaving()
        if calls.isEmpty { schedulePump() }
    }

    /// A call has had no answer in time. Where nothing else was heard meanwhile either, the
    /// endpoint may be gone, and whoever comes next had better not wait for it as well.
    ///
    /// - Parameter isClients: it was the client that has set the time, which may be as short as it
    ///   likes: the silence must then have lasted as long as a connection may take to be made.
    func gaveUp(onCallSince begun: Instant, isClients: Bool) {
        let isLong = !isClients || context.loop.now - askedAt >= pool.connectTimeout
        if isLong, heardAt < begun || queuedBytes > 0 { leave() }
    }

    private func fail(_ failure: AttemptFailure) {
        guard state != .closed else { return }
        if isBusy { return breakOff() }
        let isUnsent = state == .connecting
        close(isUnsent ? failure : failure == .malformed ? .malformed : .reset)
    }

    func close() { close(.reset) }

    private func close(_ failure: AttemptFailure) {
        guard state != .closed else { return }
        if isBusy { return breakOff() }
        state = .closed
        pool.forget(self)
        session = nil
        written.drain { _ in }
        waiting.drain { _ in }
        while let call = calls.first {
            call.use {
                let isUnsent = ownSession?.hasHead(of: $0.id) ?? false
                $0.connectionEnded(isUnsent ? .unsent : failure)
                remove($0)
            }
        }
        ownSession = nil
        context.loop.timers.remove(timer)
        timer = .none
        pool.counters.subtract(.connectionsActive)
        closeNow()
    }
}
