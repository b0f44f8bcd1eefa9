// A client's HTTP/1 connection: reads requests, one exchange after the other.

import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirPolicy
import WeirTime

/// One downstream HTTP/1.x connection.
///
///     idle --byte--> head --complete--> exchange --answered--> idle
///                     |                    |---101---> tunnel
///                     '----refused---------'-----close---> lingering --> closed
final class H1Downstream: DownstreamConnection {
    enum State: UInt8 { case idle, head, exchange, tunnel, lingering, closed }

    /// Exchanges before other connections get their turn. What has ended is used again only after
    /// the turn, so this also bounds the memory that a client costs who sends thousands of requests
    /// at once.
    private static let exchangesPerTurn = 32
    /// Exchanges between two looks at whether the turn has taken long.
    private static let exchangesAtOnce = 4

    private(set) var state = State.idle
    private var isProcessing = false
    /// It may yet turn out to speak HTTP/2.
    private var isFresh = true
    /// A part of a head, or what the client sent ahead.
    private var incoming = ByteQueue()
    /// How much of a partial head the parser has seen.
    private var headSeen = 0
    private var exchange: Exchange?
    /// Exchanges begun in the turn `shareTurn` of the loop.
    private var share = 0
    private var shareTurn: UInt64 = 0
    /// When the first byte of the current head came.
    private var headStarted = Instant.distantPast

    // The request's body.
    private var bodyFraming = BodyFraming.none
    private var bodyRemaining: Int64 = 0
    private var isBodyComplete = true

    // The response's body, and whether it is being read.
    var writer = H1BodyWriter()
    private var window = ProgressWindow()

    /// Begins to serve the connection, which is in the loop.
    func start() {
        enterList()
        proxy.counters.add(.connectionsActive)
        // A client that connects and says nothing has not earned the idle time of one that did.
        arm(after: listener.settings.headerTimeout)
    }

    // MARK: Reading

    /// What is read now has somewhere to go.
    private var wantsInput: Bool {
        switch state {
        case .idle, .head: queuedBytes == 0
        case .exchange: !isBodyComplete && exchange?.acceptsRequestBody == true
        case .tunnel: exchange?.acceptsRequestBody == true
        case .lingering: true
        case .closed: false
        }
    }

    private var hasHadItsShare: Bool {
        guard share >= Self.exchangesAtOnce, shareTurn == context.loop.turns else { return false }
        return share >= Self.exchangesPerTurn
            || share % Self.exchangesAtOnce == 0 && context.loop.isOverdue
    }

    override func readReady() {
        var reads = 0
        while isReadable, wantsInput {
            // What a client of HTTP/2 begins with may be a hundred requests.
            let isBulk = isFresh || state == .exchange
            guard mayRead(after: reads, isBulk: isBulk), !hasHadItsShare else {
                return context.loop.defer(self)
            }
            reads += 1
            switch receive(
                atMost: isFresh ? H2Downstream.firstReadSize : StreamContext.readBufferSize)
            {
            case .bytes(let count):
                proxy.counters.add(.bytesReceived, UInt64(count))
                take(UnsafeMutableRawBufferPointer(start: context.readBuffer, count: count))
            case .wouldBlock: return
            case .endOfStream: return endOfInput()
            case .failed: return close()
            }
        }
    }

    private func take(_ fresh: UnsafeMutableRawBufferPointer) {
        if incoming.isEmpty {
            let used = process(fresh)
            if used < fresh.count, state != .closed {
                let rest = UnsafeRawBufferPointer(rebasing: fresh[used...])
                if !incoming.append(rest, pool: context.pool) { refuseForMemory() }
            }
            context.flush()
        } else if incoming.append(UnsafeRawBufferPointer(fresh), pool: context.pool) {
            processIncoming()
        } else {
            refuseForMemory()
        }
    }

    private func processIncoming() {
        let used = process(incoming.bytes)
        // What was gathered lies in the queue: send it before the queue moves.
        context.flush()
        if state == .closed || state == .lingering {
            incoming.clear(pool: context.pool)
        } else {
            incoming.consume(used, pool: context.pool)
        }
    }

    /// Goes on with what was read ahead; called when the exchange before it has ended.
    override func resume() {
        guard !hasHadItsShare else { return context.loop.defer(self) }
        if !incoming.isEmpty, wantsInput { processIncoming() }
        if fd >= 0, isReadable { readReady() }
        context.flush()
        if state == .idle, proxy.isDraining, !isQueued { linger() }
    }

    /// Serves what `bytes` hold and returns how many of them are used up.
    private func process(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        isProcessing = true
        defer { isProcessing = false }
        var used = 0
        while used < bytes.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[used...])
            switch state {
            case .idle, .head:
                guard queuedBytes == 0 else { return used }
                if isFresh, let length = changeOver(UnsafeRawBufferPointer(rest)) {
                    return used + length
                }
                if hasHadItsShare {
                    context.loop.defer(self)
                    return used
                }
                let length = readHead(UnsafeRawBufferPointer(rest))
                if length == 0 { return used }
                used += length
            case .exchange:
                guard !isBodyComplete, exchange?.acceptsRequestBody == true else { return used }
                used += readBody(rest)
            case .tunnel:
                exchange?.tunnelToUpstream(UnsafeRawBufferPointer(rest))
                return bytes.count
            case .lingering, .closed:
                return bytes.count
            }
        }
        return used
    }

    /// What a client of HTTP/2 begins with (RFC 9113 section 3.4).
    private static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    /// Hands the connection over where its client speaks HTTP/2: as agreed under TLS, or else as
    /// its first bytes say. The bytes used up, 0 while there are too few to tell; `nil` where it
    /// speaks HTTP/1.
    private func changeOver(_ bytes: UnsafeRawBufferPointer) -> Int? {
        if let tls {
            isFresh = FieldValue.equals(tls.agreedProtocol, "h2")
        } else {
            let preface = Self.preface.bytes
            isFresh = Bytes.hasPrefix(preface, bytes.part(0, min(bytes.count, preface.count)))
            if isFresh, bytes.count < preface.count { return 0 }
        }
        guard isFresh else { return nil }
        state = .closed
        let successor = H2Downstream(replacing: self)
        do {
            try context.loop.add(successor)
            successor.start(bytes)
        } catch {
            successor.fail()
        }
        return bytes.count
    }

    /// Parses a head and begins its exchange; returns the head's length, 0 when it is not complete.
    private func readHead(_ bytes: UnsafeRawBufferPointer) -> Int {
        if state == .idle {
            state = .head
            headSeen = 0
            headStarted = context.loop.now
        }
        let limits = listener.headLimits
        let exchange = proxy.takeExchange(fields: limits.maxFields)
        switch exchange.parse(bytes, seen: headSeen, limits: limits) {
        case .needsMore:
            if headSeen == 0 { arm(after: listener.settings.headerTimeout) }
            headSeen = bytes.count
            proxy.recycle(exchange)
            return 0
        case .malformed(let problem):
            begin(exchange)
            isBodyComplete = true
            exchange.refuseMalformed(problem)
            return bytes.count
        case .complete:
            let length = exchange.head.length
            begin(exchange)
            beginBody(exchange.head.framing)
            exchange.headArrived(bytes.part(0, length), bodyFollows: !isBodyComplete)
            return length
        }
    }

    private func begin(_ exchange: Exchange) {
        state = .exchange
        self.exchange = exchange
        if shareTurn != context.loop.turns {
            shareTurn = context.loop.turns
            share = 0
        }
        share += 1
        writer.reset()
        context.loop.timers.disarm(timer)
        exchange.begin(.h1(Borrowed(self)), on: self, startedAt: headStarted)
    }

    private func beginBody(_ framing: BodyFraming) {
        bodyFraming = framing
        switch framing {
        case .none, .untilClose:
            isBodyComplete = true
            return
        case .length(let length):
            bodyRemaining = length
        case .chunked:
            exchange?.chunks.reset()
        }
        isBodyComplete = false
        beginReceivingWindow()
        arm(after: listener.settings.bodyTimeout)
    }

    private func beginReceivingWindow() {
        window.beginReceiving(
            bytesReceived, until: context.loop.now + listener.settings.bodyTimeout)
    }

    /// Hands on a part of the request's body; returns the bytes used up.
    private func readBody(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard let exchange else { return bytes.count }
        if case .chunked = bodyFraming {
            do {
                let progress = try exchange.chunks.decode(bytes)
                if progress.isComplete { isBodyComplete = true }
                exchange.requestBody(
                    UnsafeRawBufferPointer(rebasing: bytes[..<progress.bodyLength]))
                if progress.isComplete { exchange.requestEnd(trailers: exchange.chunks.trailers) }
                return progress.consumed
            } catch {
                exchange.refuseMalformed(error)
                return bytes.count
            }
        }
        let count = Int(min(Int64(bytes.count), bodyRemaining))
        bodyRemaining -= Int64(count)
        if bodyRemaining == 0 { isBodyComplete = true }
        exchange.requestBody(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        if isBodyComplete { exchange.requestEnd(trailers: []) }
        return count
    }

    private func endOfInput() {
        switch state {
        case .idle, .lingering: close()
        case .head: close()
        case .exchange where !isBodyComplete: exchange?.downstreamGone()
        // The client has only closed its sending side: it still wants its answer.
        case .exchange: break
        case .tunnel: exchange?.tunnelEndFromDownstream()
        case .closed: break
        }
    }

    /// Bytes of the client are lost: what it sends next could be anything.
    private func refuseForMemory() {
        guard let exchange, state == .exchange else { return close() }
        exchange.head.isPersistent = false
        exchange.refuse(.resourceExhausted)
    }

    // MARK: For the exchange

    /// Body bytes that the client has not yet been heard on; reading may go on.
    func resumeReading() {
        // While it was held up, the client could not be quick.
        if !isBodyComplete { beginReceivingWindow() }
        if isReadable || !incoming.isEmpty { context.loop.defer(self) }
    }

    /// A body that is left unread is small enough to be read and dropped.
    var canDiscardBody: Bool {
        if isBodyComplete { return true }
        if case .length = bodyFraming { return bodyRemaining <= 64 << 10 }
        return false
    }

    /// The answer is complete, and the exchange no longer needs this connection.
    func exchangeEnded(mayPersist: Bool) {
        exchange = nil
        window.endSending()
        window.endReceiving()
        countSent()
        guard mayPersist, writer.mode != .untilClose, isBodyComplete, !proxy.isDraining else {
            return linger()
        }
        state = .idle
        headSeen = 0
        arm(after: listener.settings.idleTimeout)
        if !isProcessing, isReadable || !incoming.isEmpty { context.loop.defer(self) }
    }

    /// Both sides speak another protocol from now on.
    func beginTunnel() {
        state = .tunnel
        context.loop.timers.disarm(timer)
        if isReadable || !incoming.isEmpty { context.loop.defer(self) }
    }

    /// The answer cannot be completed: the connection's end says so.
    func abort() {
        exchange = nil
        // Where only the connection's end ends the body, an orderly end would look complete.
        if fd >= 0, writer.mode == .untilClose { Socket.setLingerZero(fd) }
        close()
    }

    override func drain() {
        // A request that has come already is answered: its client cannot know that it was late.
        guard state == .idle, !isQueued else { return }
        isReadable = true
        resume()
    }

    override func cut() {
        exchange?.refuse(.draining)
        context.flush()
        close()
    }

    // MARK: Ending

    private func linger() {
        guard state != .closed, state != .lingering else { return }
        state = .lingering
        flush()
        incoming.clear(pool: context.pool)
        if queuedBytes == 0 { finishSending() } else { watchSending() }
    }

    override func close() {
        guard state != .closed else { return }
        state = .closed
        let exchange = self.exchange
        self.exchange = nil
        incoming.clear(pool: context.pool)
        leave()
        exchange?.downstreamGone()
        proxy.connectionEnded()
    }

    override func hungUp() { close() }

    override func ready(_ events: Events) {
        super.ready(events)
        if hasPeerEnded, state == .exchange { leaveIfAbandoned() }
    }

    /// A client that closes while it waits for its answer looks, until it is sent something, like
    /// one that has only closed its sending side. The first is far more common, and an answer that
    /// nobody reads costs the endpoint as much as any other: so the attempt is cancelled, unless
    /// the listener allows half-closed clients or the request said that it is the connection's
    /// last.
    private func leaveIfAbandoned() {
        guard isBodyComplete, !listener.settings.allowsHalfClose, incoming.isEmpty, let exchange,
            exchange.awaitsAnswer, isAtEnd()
        else { return }
        exchange.downstreamGone()
        context.flush()
    }

    /// There is nothing more to come. TLS cannot be peeked into: what comes is kept.
    private func isAtEnd() -> Bool {
        guard tls != nil else { return Socket.isAtEnd(fd) }
        guard isReadable else { return false }
        switch receive() {
        case .bytes(let count):
            let bytes = UnsafeRawBufferPointer(start: context.readBuffer, count: count)
            if !incoming.append(bytes, pool: context.pool) { refuseForMemory() }
            return false
        case .wouldBlock: return false
        case .endOfStream, .failed: return true
        }
    }

    // MARK: Sending and its pace

    override func sendQueueFilled() {
        switch state {
        case .exchange, .tunnel, .lingering: watchSending()
        // An answer that has ended has as long as an idle connection.
        case .idle, .head, .closed: break
        }
    }

    override func sendQueueDrained() {
        switch state {
        case .exchange, .tunnel:
            window.endSending()
            exchange?.downstreamDrained()
        case .idle, .head: resumeReading()
        case .lingering: finishSending()
        case .closed: break
        }
    }

    /// The client has not taken all that was sent: from now on it must read at the least rate.
    private func watchSending() {
        let deadline = context.loop.now + listener.settings.sendTimeout
        guard window.beginSending(bytesAcknowledged, until: deadline) else { return }
        if context.loop.timers.deadline(of: timer) > deadline {
            arm(at: deadline)
        }
    }

    override func timerFired() {
        switch state {
        case .idle: linger()
        case .head: refuseSlowHead()
        case .exchange, .tunnel: checkPace()
        case .lingering: if queuedBytes > 0 { checkPace() } else { close() }
        case .closed: break
        }
        context.flush()
    }

    private func refuseSlowHead() {
        let exchange = proxy.takeExchange(fields: listener.settings.headFields)
        exchange.head.discard()
        begin(exchange)
        exchange.refuse(.clientTooSlow)
    }

    private func checkPace() {
        let settings = listener.settings
        let now = context.loop.now
        if queuedBytes == 0 { window.endSending() }
        if state != .exchange || isBodyComplete { window.endReceiving() }
        if now >= window.sendingEnds {
            if window.isTooSlowSending(bytesAcknowledged, least: settings.sendBytesPerWindow) {
                if let exchange { exchange.downstreamTooSlow() } else { abort() }
                return
            }
            window.endSending()
            _ = window.beginSending(bytesAcknowledged, until: now + settings.sendTimeout)
        }
        if now >= window.receivingEnds {
            if let exchange, exchange.acceptsRequestBody, !exchange.awaitsContinue,
                window.isTooSlowReceiving(bytesReceived, least: settings.bodyBytesPerWindow)
            {
                return exchange.refuse(.clientTooSlow)
            }
            beginReceivingWindow()
        }
        let next = min(window.sendingEnds, window.receivingEnds)
        if next != .distantFuture { arm(at: next) }
    }
}
