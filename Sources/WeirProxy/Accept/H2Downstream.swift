// A client's HTTP/2 connection: many exchanges at once, each on a stream of its own.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

/// One downstream HTTP/2 connection.
///
/// What the session has to send is handed out once a turn, after all that the turn has brought:
/// answers of many streams leave in one call. Streams that came in one read are looked at after it,
/// so that those which their client has given up already cost nothing more.
///
///     open --drain--> leaving --no streams--> lingering --> closed
final class H2Downstream: DownstreamConnection {
    private enum State: UInt8 { case open, leaving, lingering, closed }

    /// Bytes of a read while bodies come, which cost less than heads.
    private static let bodyReadSize = 64 << 10
    /// Windows of `send_timeout` for which a client with a large window is waited for.
    private static let mostPatience = 10
    /// How long a client that does not answer a ping is given to learn of the connection's end.
    private static let farewellTime = Interval.seconds(1)

    private var state = State.open
    private var ownSession: H2Session?
    /// The same, not counted.
    private(set) var session: Borrowed<H2Session>?
    let workspace: H2Session.Workspace
    private var isBusy = false
    private var isPumpDue = false
    private var streams = LinkedList<H2Stream>()
    /// Streams whose requests have come and are still to be sent on their way.
    var arrived = Spares<H2Stream>()
    /// Bytes of bodies in what is being received.
    var bodyBytes = 0
    /// Most of the last read were bodies.
    private var readsBodies = false
    /// Streams that were written to in this turn.
    private var written = Spares<H2Stream>()

    private var deadlines = Deadlines()
    /// What the client takes of what is queued.
    private var window = ProgressWindow()
    /// Bytes of answers that wait in streams.
    var held = H2Held()
    private var headNumber: UInt64 = 0
    /// The last stream is to be named, and has been.
    private var isGoodbyeDue = false
    private var hasSaidGoodbye = false

    var now: Instant { context.loop.now }

    /// When the timer has something to look at.
    private struct Deadlines {
        var idle = Instant.distantFuture
        /// A head must be complete.
        var head = Instant.distantFuture
        /// The pace of the connection or of a stream is to be judged.
        var pace = Instant.distantFuture
        var farewell = Instant.distantFuture

        var soonest: Instant { min(idle, head, pace, farewell) }
    }

    /// Takes the place of a connection whose client speaks HTTP/2.
    init(replacing other: H1Downstream) {
        workspace = other.proxy.h2Workspace
        super.init(replacing: other)
    }

    /// Begins to serve the connection, which is in the loop; `bytes` were read already.
    func start(_ bytes: UnsafeRawBufferPointer) {
        enterList()
        proxy.counters.add(.http2Connections)
        var settings = H2Session.Settings()
        settings.maxStreams = listener.settings.maxStreams
        settings.maxHeadBytes = listener.settings.headBytes
        ownSession = H2Session(server: self, settings, workspace)
        session = ownSession.map(Borrowed.init)
        guard session != nil else { return close() }
        becomeIdle(for: listener.settings.headerTimeout)
        take(bytes)
        if isReadable { context.loop.defer(self) } else { sendArrived() }
        if proxy.isDraining || listener.isRemoved { drain() }
    }

    /// Ends the connection where the loop cannot watch it.
    func fail() {
        enterList()
        close()
    }

    // MARK: Reading

    override func readReady() {
        readOn()
        // What comes next may take requests back that came last: they wait for another read.
        if !isReadable || context.loop.isResuming { sendArrived() }
    }

    private func readOn() {
        var reads = 0
        while isReadable, state != .closed {
            guard mayRead(after: reads, isBulk: readsBodies) else {
                return context.loop.defer(self)
            }
            reads += 1
            switch receive(atMost: readsBodies ? Self.bodyReadSize : Self.readSize) {
            case .bytes(let count):
                proxy.counters.add(.bytesReceived, UInt64(count))
                bodyBytes = 0
                take(UnsafeRawBufferPointer(start: context.readBuffer, count: count))
                readsBodies = bodyBytes > count / 2
            case .wouldBlock: return
            case .endOfStream:
                // A fault that came just before has its answer, and is counted with it.
                if streams.isEmpty { pump() }
                return close()
            case .failed: return close()
            }
        }
    }

    /// Bytes of the first read: more than a request or two.
    static let firstReadSize = 512
    /// Bytes of a read: what a flood may ask for before it is judged and others have their turn.
    private static let readSize = 1 << 10

    override func resume() {
        readReady()
        context.flush()
    }

    /// Sends requests on their way, as many as there is time for in this turn.
    private func sendArrived(isUrgent: Bool = false) {
        guard !arrived.isEmpty, !isBusy else { return }
        isBusy = true
        arrived.drain {
            $0.proceed()
            return isUrgent || !context.loop.isOverdue
        }
        isBusy = false
        context.flush()
        if !arrived.isEmpty { context.loop.defer(self) }
        schedulePump()
    }

    /// Routes of the configuration under which a request came are found while its listeners have
    /// the names that these routes know.
    override func configurationWillChange() { sendArrived(isUrgent: true) }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        guard let session, state != .lingering else { return }
        isBusy = true
        let second = now.nanoseconds / 1_000_000_000
        let verdict = session.use { $0.receive(bytes, second: second) }
        isBusy = false
        context.flush()
        switch verdict {
        case .sound: break
        case .flood:
            proxy.counters.add(.http2Floods)
            return endSession(.enhanceYourCalm)
        case .broken:
            proxy.counters.add(.http2Faults)
            return endSession(.protocolError)
        }
        watchHead()
        schedulePump()
    }

    /// Ends the connection for what its client does.
    private func endSession(_ code: H2Code) {
        session?.use { $0.terminate(code) }
        dropStreams()
        pump()
        linger()
    }

    private func dropStreams() {
        while let stream = streams.first {
            stream.use {
                let id = $0.id
                session?.use { $0.attach(nil, to: id) }
                drop($0)
            }
        }
    }

    // MARK: Streams

    /// A stream in the list, which keeps it.
    func openStream(_ id: Int32, isEnd: Bool) -> Borrowed<H2Stream> {
        let reference = proxy.takeStream(on: self)
        session?.use { $0.attach(reference.toOpaque(), to: id) }
        deadlines.idle = .distantFuture
        let stream = Borrowed<H2Stream>(opaque: reference.toOpaque())
        stream.use { $0.open(id, on: self, isEnd: isEnd) }
        streams.insert(stream)
        return stream
    }

    /// The stream is over, whether its exchange is or not.
    func drop(_ stream: H2Stream) {
        streams.remove(stream)
        if stream.isWaiting { _ = arrived.remove(stream) }
        stream.close()
        // Handlers further up the stack may still refer to it.
        proxy.retire(.passUnretained(stream))
        guard streams.isEmpty else { return }
        if state == .leaving {
            schedulePump()
        } else {
            becomeIdle(for: listener.settings.idleTimeout)
        }
    }

    // MARK: For streams

    func pay(_ id: Int32, _ count: Int) {
        session?.use { $0.consume(id, count) }
        schedulePump()
    }

    /// Bytes of a stream's answer that the client's window takes.
    func window(of id: Int32) -> Int { session?.use { $0.window(of: id) } ?? 0 }

    /// How many windows of `send_timeout` a stream may be shut: clients open their windows by
    /// halves, and who reads at the least rate takes that long for one.
    func patience(with id: Int32) -> Int {
        let least = listener.settings.sendBytesPerWindow
        guard least > 0, let session else { return 1 }
        // The window of the connection is never smaller at first.
        let whole = session.use { $0.peersStreamWindow }
        let half = UInt64(window(of: id) == 0 ? whole : max(whole, 65_535)) / 2
        return Int(min(UInt64(Self.mostPatience), half / least + 1))
    }

    /// Bytes of a stream's answer that are worth having now, up to `most`: what the client takes,
    /// as far as others do not wait for the same.
    func room(of id: Int32, atMost most: Int) -> Int {
        guard queuedBytes == 0, let session else { return 0 }
        return session.use { held.room(of: id, atMost: most, in: $0) }
    }

    /// There is no room for anybody.
    var isFull: Bool { queuedBytes > 0 || held.isFull }

    func respond(_ id: Int32, hasBody: Bool) {
        session?.use {
            if !$0.respond(id, hasBody: hasBody) { $0.reset(id, .internalError) }
        }
        schedulePump()
    }

    /// A request has turned out to be none after it was sent on: for its endpoint that is as good
    /// as if the client had reset it.
    func countSpoiled() { session?.use { $0.countReset() } }

    func inform(_ id: Int32) {
        session?.use { _ = $0.inform(id) }
        schedulePump()
    }

    func reset(_ id: Int32, _ code: H2Code) {
        session?.use { $0.reset(id, code) }
        schedulePump()
    }

    /// There is more of a stream's answer.
    func hasWritten(_ stream: H2Stream) {
        willSettle(stream)
        session?.use { $0.resume(stream.id) }
        schedulePump()
    }

    /// What a stream has sent is looked at after the session has sent all that it can.
    func willSettle(_ stream: H2Stream) {
        guard !stream.isWritten else { return }
        stream.isWritten = true
        written.push(stream)
    }

    // MARK: Sending

    private func schedulePump() {
        guard !isPumpDue, state != .closed else { return }
        isPumpDue = true
        proxy.pumpLater(self)
    }

    override func turnEnded() { pump() }

    /// Sends what there is, as far as the client takes it; nothing while the session is just being
    /// told something.
    func pump() {
        guard let session, state != .closed, !isBusy else { return }
        isPumpDue = false
        if queuedBytes == 0 {
            isBusy = true
            if isGoodbyeDue {
                isGoodbyeDue = false
                hasSaidGoodbye = true
                session.use { $0.refuseStreams() }
            }
            let isSound = session.use { $0.send() }
            flush()
            isBusy = false
            if !isSound { return close() }
        }
        settleWritten()
        guard state != .closed, state != .lingering else { return }
        countSent()
        guard queuedBytes == 0 else { return watchSending() }
        window.endSending()
        let isDone =
            hasSaidGoodbye && streams.isEmpty && !session.use { $0.wantsToSend || $0.isInHead }
        guard session.use({ $0.isOver }) || isDone else { return }
        if session.use({ $0.hasFoundFault }) { proxy.counters.add(.http2Faults) }
        linger()
    }

    private func settleWritten() {
        while let stream = written.pop() {
            guard stream.isWritten else { continue }
            if stream.settle() { stream.drained() }
        }
    }

    override func sendQueueDrained() {
        switch state {
        case .open, .leaving: pump()
        case .lingering: finishSending()
        case .closed: break
        }
    }

    // MARK: Idle, head and pace

    private func becomeIdle(for time: Interval) { check(&deadlines.idle, at: now + time) }

    private func watchHead() {
        guard let session, session.use({ $0.isInHead }) else {
            return deadlines.head = .distantFuture
        }
        let number = session.use { $0.headsBegun }
        if deadlines.head == .distantFuture || headNumber != number {
            headNumber = number
            check(&deadlines.head, at: now + listener.settings.headerTimeout)
        }
    }

    /// A pace is to be looked at.
    func checkPace(at instant: Instant) {
        if instant < deadlines.pace { check(&deadlines.pace, at: instant) }
    }

    private func watchSending() {
        let until = now + listener.settings.sendTimeout
        if window.beginSending(bytesAcknowledged, until: until) { checkPace(at: until) }
    }

    private func check(_ deadline: inout Instant, at instant: Instant) {
        deadline = instant
        if context.loop.timers.deadline(of: timer) > instant { arm(at: instant) }
    }

    override func timerFired() {
        if state == .lingering { return close() }
        if now >= deadlines.head {
            proxy.counters.add(.http2HeadTimeouts)
            endSession(.enhanceYourCalm)
        } else if now >= deadlines.idle {
            deadlines.idle = .distantFuture
            drain()
        } else if now >= deadlines.farewell {
            sayGoodbye()
        } else if now >= deadlines.pace {
            checkPaces()
        }
        rearm()
        context.flush()
    }

    private func rearm() {
        guard state == .open || state == .leaving else { return }
        if deadlines.soonest == .distantFuture {
            context.loop.timers.disarm(timer)
        } else {
            arm(at: deadlines.soonest)
        }
    }

    private func checkPaces() {
        deadlines.pace = .distantFuture
        let isDone = streams.visit(while: { stream in
            // Each that is cut off costs its endpoint a connection: the others are looked at anon.
            guard let soonest = stream.checkPace() else { return !context.loop.isOverdue }
            // What ended before may have set the deadline for another.
            deadlines.pace = min(deadlines.pace, soonest)
            return true
        })
        guard isDone else {
            deadlines.pace = now
            return schedulePump()
        }
        guard queuedBytes > 0 else { return schedulePump() }
        if now >= window.sendingEnds {
            // Nothing of all that was sent arrives, and a stream's end would not arrive either.
            let least = listener.settings.sendBytesPerWindow
            if window.isTooSlowSending(bytesAcknowledged, least: least) {
                guard cutOffRequests() else { return deadlines.pace = now }
                return close()
            }
            window.endSending()
        }
        watchSending()
        checkPace(at: window.sendingEnds)
    }

    /// Ends the requests of a client that takes nothing, as many as there is time for in this turn;
    /// `false` where some are left.
    private func cutOffRequests() -> Bool {
        streams.visit(while: {
            guard $0.exchange != nil else { return true }
            $0.cutOff()
            return !context.loop.isOverdue
        })
    }

    // MARK: The end

    /// Tells the client that the connection will end. Requests that it sends before it hears of it
    /// are still answered.
    override func drain() {
        guard state == .open, let session else { return }
        state = .leaving
        deadlines.idle = .distantFuture
        session.use { $0.announceEnd() }
        check(&deadlines.farewell, at: now + Self.farewellTime)
        schedulePump()
    }

    /// All that the client has sent before it heard of the end has come.
    func sayGoodbye() {
        deadlines.farewell = .distantFuture
        guard state == .leaving, !hasSaidGoodbye else { return }
        // Said when it can be sent: until then streams are still taken, and it must name the last.
        isGoodbyeDue = true
        schedulePump()
    }

    override func listenerRemoved() { drain() }

    override func cut() {
        streams.forEach { $0.exchange?.refuse(.draining) }
        pump()
        session?.use { $0.terminate(.noError) }
        pump()
        context.flush()
        close()
    }

    private func linger() {
        guard state != .closed, state != .lingering else { return }
        dropStreams()
        state = .lingering
        deadlines = Deadlines()
        arm(after: listener.settings.sendTimeout)
        if queuedBytes == 0 { finishSending() }
    }

    override func close() {
        guard state != .closed else { return }
        // The session is being told something, and must outlive it.
        if isBusy { return breakOff() }
        state = .closed
        dropStreams()
        written.drain { _ in }
        session = nil
        ownSession = nil
        leave()
        proxy.connectionEnded()
    }

    override func hungUp() { close() }
}
