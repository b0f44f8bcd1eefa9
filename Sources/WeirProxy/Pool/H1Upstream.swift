// A connection to an endpoint: sends one request after the other, reads their responses.

import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirTime

/// How an attempt failed.
enum AttemptFailure: UInt8 {
    /// No connection was made.
    case connect
    case connectTimeout
    /// The endpoint ended or reset the connection before its answer was complete.
    case reset
    /// The endpoint says that it has not looked at the request.
    case refused
    /// The connection cannot take the request any more, which has not been sent.
    case unsent
    /// The answer breaks HTTP's rules.
    case malformed
    /// weir has no descriptor, port or memory left.
    case exhausted
}

/// One upstream HTTP/1.1 connection.
///
///     connecting --> busy <--> idle        busy --101--> tunnel        any --> closed
final class H1Upstream: Connection {
    enum State: UInt8 { case connecting, idle, busy, tunnel, closed }

    /// Bytes of the first read of a response.
    private static let firstReadSize = 16 << 10
    /// The same for a client that takes nothing of a body now: what comes with the head is held.
    private static let leastReadSize = 4 << 10
    /// Bytes of a body's rest from which moving it costs less than reading it.
    private static let leastMove = 32 << 10
    static let maxFields = 200
    /// Interim heads before an answer: more of them are no help to anybody.
    static let mostInterimHeads = 16
    private static let headLimits = HeadLimits(
        maxBytes: 64 << 10, maxFields: maxFields, maxTargetBytes: 0)

    let pool: Pool
    let proxy: Proxy
    /// What it speaks TLS with; `nil` where it does not.
    let security: TLSClientSession?
    private(set) var state = State.connecting
    /// A response to an earlier request came over this connection.
    private(set) var isReused = false
    /// It began with a header that names a client; nobody else may use it.
    private(set) var isOneClients = false
    /// A byte of the current response has come.
    private(set) var hasAnswered = false
    /// It gives the connection back before it ends.
    private var assigned: Borrowed<Exchange>?
    private var exchange: Exchange? { assigned?.object }
    private var incoming = ByteQueue()
    private var headSeen = 0
    private var interimHeads = 0
    private var timer: TimerID
    private var countedBytesSent: UInt64 = 0
    var writer = H1BodyWriter()

    // The response's body.
    private var isHeadComplete = false
    private var isResponseComplete = true
    private var framing = BodyFraming.none
    private var bodyRemaining: Int64 = 0
    private var chunks = ChunkedDecoder()
    private var mayPersist = true
    /// Bytes of the next read of a body.
    private var readLimit = StreamContext.readBufferSize
    /// The exchange has let go.
    private var isReleased = false

    init(fd: Int32, pool: Pool, proxy: Proxy) {
        self.pool = pool
        self.proxy = proxy
        security = pool.tls
        timer = .none
        super.init(fd: fd, context: proxy.context)
        timer = context.loop.timers.add(self)
        arm(after: pool.connectTimeout)
    }

    // Where the loop refuses to watch the connection, nothing else would remove it.
    deinit { context.loop.timers.remove(timer) }

    private func arm(after interval: Interval) {
        context.loop.timers.arm(timer, at: context.loop.now + interval)
    }

    /// Gives the connection to an exchange; before it is connected, `upstreamConnected` follows.
    func assign(_ exchange: Exchange) {
        assigned = Borrowed(exchange)
        hasAnswered = false
        isHeadComplete = false
        isResponseComplete = false
        headSeen = 0
        interimHeads = 0
        mayPersist = true
        readLimit = StreamContext.readBufferSize
        guard state == .idle else { return }
        state = .busy
        isReused = true
        context.loop.timers.disarm(timer)
    }

    // MARK: Connecting

    override func ready(_ events: Events) {
        guard state == .connecting, tls == nil else { return super.ready(events) }
        guard !events.isDisjoint(with: [.writable, .hungUp]) else { return }
        if Socket.pendingError(fd) != nil || events.contains(.hungUp) {
            return fail(.connect)
        }
        if let version = pool.proxyProtocol, let exchange {
            send(exchange.proxyHeader(version))
            isOneClients = true
        }
        if let security { beginHandshake(security) } else { connected() }
        // The endpoint may have spoken or closed in the same event.
        if fd >= 0, !events.isDisjoint(with: [.readable, .peerEnded]) { super.ready(events) }
    }

    private func beginHandshake(_ security: TLSClientSession) {
        do {
            try secure(as: security)
        } catch {
            handshakeFailed("\(error)")
        }
    }

    private func handshakeFailed(_ reason: String) {
        pool.tellHandshakeFailure(reason, now: context.loop.now)
        fail(.connect)
    }

    override func secured() { connected() }

    private func connected() {
        state = .busy
        context.loop.timers.disarm(timer)
        exchange?.upstreamConnected(.h1(Borrowed(self)))
        context.flush()
    }

    override func timerFired() {
        switch state {
        case .connecting: fail(.connectTimeout)
        case .idle: close()
        case .busy, .tunnel, .closed: break
        }
        context.flush()
    }

    // MARK: Reading

    private var wantsInput: Bool {
        switch state {
        case .busy, .tunnel:
            if let assigned { assigned.use { $0.acceptsResponseBody } } else { false }
        // Anything but silence on an idle connection makes it useless.
        case .idle: true
        // The handshake.
        case .connecting: tls != nil
        case .closed: false
        }
    }

    override func readReady() {
        var reads = 0
        while isReadable, wantsInput {
            // An idle one must hear of its end before it is used again.
            guard mayRead(after: reads, isBulk: isHeadComplete && state == .busy) || state == .idle
            else { return context.loop.defer(self) }
            reads += 1
            if let sink = bodySink {
                moveBody(to: sink)
                adaptReads()
                continue
            }
            // A head comes with little; what follows it may be moved without reading it.
            switch receive(atMost: isHeadComplete ? bodyReadSize : firstReadSize) {
            case .bytes(let count):
                guard state != .idle else { return close() }
                pool.counters.add(.bytesReceived, UInt64(count))
                take(UnsafeMutableRawBufferPointer(start: context.readBuffer, count: count))
                adaptReads()
            case .wouldBlock: return
            case .endOfStream: return endOfInput()
            case .failed: return inputFailed()
            }
        }
    }

    private var firstReadSize: Int {
        let isShut = assigned?.use { $0.downstream?.isShut ?? false } ?? false
        return isShut ? Self.leastReadSize : Self.firstReadSize
    }

    /// What a client of HTTP/2 does not take at once is held for each of its streams.
    private var bodyReadSize: Int {
        let isShared = assigned?.use { $0.downstream?.isH2 ?? false } ?? false
        return isShared ? min(readLimit, 4 * firstReadSize) : readLimit
    }

    private func inputFailed() {
        // In TLS 1.3 an endpoint refuses weir's certificate only after weir has begun to ask.
        let isRefused = tls?.isRefused == true && !isReused && !hasAnswered
        guard state == .connecting || isRefused else { return fail(.reset) }
        handshakeFailed(tls?.failure ?? "the endpoint has broken off")
    }

    override func resume() {
        if !incoming.isEmpty, wantsInput { processIncoming() }
        if fd >= 0, isReadable { readReady() }
        context.flush()
    }

    /// The client has taken what was sent: reading may go on.
    func resumeReading() {
        if isReadable || !incoming.isEmpty { context.loop.defer(self) }
    }

    @inline(__always)
    private func take(_ fresh: UnsafeMutableRawBufferPointer) {
        if incoming.isEmpty {
            let used = process(fresh)
            context.flush()
            if isReleased { return settle() }
            if used < fresh.count, state == .busy || state == .tunnel {
                let rest = UnsafeRawBufferPointer(rebasing: fresh[used...])
                if !incoming.append(rest, pool: context.pool) { fail(.exhausted) }
            }
        } else if incoming.append(UnsafeRawBufferPointer(fresh), pool: context.pool) {
            processIncoming()
        } else {
            fail(.exhausted)
        }
    }

    private func processIncoming() {
        let used = process(incoming.bytes)
        context.flush()
        incoming.consume(used, pool: context.pool)
        if isReleased { settle() }
    }

    private func process(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        var used = 0
        while used < bytes.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[used...])
            if state == .tunnel {
                exchange?.tunnelToDownstream(UnsafeRawBufferPointer(rest))
                return bytes.count
            }
            guard state == .busy, let assigned, !isResponseComplete else {
                // Bytes after a complete response answer nothing that was asked.
                mayPersist = false
                return bytes.count
            }
            // An exchange that ends here is only reused after this turn.
            let length = assigned.use { exchange in
                isHeadComplete
                    ? readBody(rest, exchange) : readHead(UnsafeRawBufferPointer(rest), exchange)
            }
            if length == 0 { return used }
            used += length
        }
        return used
    }

    @inline(__always)
    private func readHead(_ bytes: UnsafeRawBufferPointer, _ exchange: Exchange) -> Int {
        hasAnswered = true
        let step = H1Parser.parseResponse(
            bytes, seen: headSeen, method: exchange.head.method, limits: Self.headLimits,
            into: &proxy.responseHead)
        switch step {
        case .needsMore:
            headSeen = bytes.count
            return 0
        case .malformed:
            fail(.malformed)
            return bytes.count
        case .complete:
            headSeen = 0
            let length = proxy.responseHead.length
            let message = bytes.part(0, length)
            if proxy.responseHead.isInterim {
                interimHeads += 1
                guard interimHeads <= Self.mostInterimHeads else {
                    fail(.malformed)
                    return bytes.count
                }
                exchange.upstreamInterim(message)
                return length
            }
            isHeadComplete = true
            framing = proxy.responseHead.framing
            mayPersist = proxy.responseHead.isPersistent
            switch framing {
            case .none: isResponseComplete = true
            case .length(let length): bodyRemaining = length
            case .chunked: chunks.reset()
            case .untilClose: break
            }
            exchange.upstreamHead(message, pool: pool, from: .h1(Borrowed(self)))
            if isResponseComplete, state == .busy {
                exchange.upstreamEnd(trailers: [], from: .h1(Borrowed(self)))
            }
            return length
        }
    }

    @inline(__always)
    private func readBody(_ bytes: UnsafeMutableRawBufferPointer, _ exchange: Exchange) -> Int {
        switch framing {
        case .none: return bytes.count
        case .untilClose:
            exchange.upstreamBody(UnsafeRawBufferPointer(bytes))
            return bytes.count
        case .length:
            let count = Int(min(Int64(bytes.count), bodyRemaining))
            bodyRemaining -= Int64(count)
            exchange.upstreamBody(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            if bodyRemaining == 0 {
                isResponseComplete = true
                exchange.upstreamEnd(trailers: [], from: .h1(Borrowed(self)))
            }
            return count
        case .chunked:
            do {
                let progress = try chunks.decode(bytes)
                exchange.upstreamBody(
                    UnsafeRawBufferPointer(rebasing: bytes[..<progress.bodyLength]))
                if progress.isComplete {
                    isResponseComplete = true
                    exchange.upstreamEnd(trailers: chunks.trailers, from: .h1(Borrowed(self)))
                }
                return progress.consumed
            } catch {
                fail(.malformed)
                return bytes.count
            }
        }
    }

    /// Where the rest of the body may be moved without being read.
    private var bodySink: H1Downstream? {
        guard state == .busy, isHeadComplete, bodyRemaining >= Self.leastMove, incoming.isEmpty,
            case .length = framing, let sink = exchange?.bodySink, canMove(to: sink)
        else { return nil }
        return sink
    }

    /// Reads less for a client that is behind, since what it does not take is held for it: hundreds
    /// of slow readers must not use up the buffers of all.
    private func adaptReads() {
        let isBehind = if let assigned { !assigned.use { $0.acceptsResponseBody } } else { false }
        readLimit = isBehind ? Self.leastMove : min(readLimit * 2, StreamContext.readBufferSize)
    }

    private func moveBody(to sink: H1Downstream) {
        switch move(to: sink, atMost: min(Int(clamping: bodyRemaining), readLimit)) {
        case .bytes(let count):
            pool.counters.add(.bytesReceived, UInt64(count))
            bodyRemaining -= Int64(count)
            exchange?.upstreamMoved(count)
            if bodyRemaining == 0, let exchange {
                isResponseComplete = true
                exchange.upstreamEnd(trailers: [], from: .h1(Borrowed(self)))
                if isReleased { settle() }
            }
        case .wouldBlock: break
        case .endOfStream: endOfInput()
        case .failed: fail(.reset)
        }
    }

    private func endOfInput() {
        switch state {
        case .idle: close()
        case .tunnel:
            exchange?.tunnelEndFromUpstream()
            if isReleased { settle() }
        case .busy:
            // Under TLS an end that nobody has vouched for may be anyone's.
            if isHeadComplete, case .untilClose = framing, tls?.hasOrderlyEnd ?? true {
                isResponseComplete = true
                mayPersist = false
                exchange?.upstreamEnd(trailers: [], from: .h1(Borrowed(self)))
                if isReleased { settle() }
            } else {
                fail(.reset)
            }
        case .connecting: inputFailed()
        case .closed: break
        }
    }

    override func hungUp() {
        // What it sent before it left is read first; that ends with the end of stream.
        if isReadable, state != .idle { return }
        switch state {
        case .closed: break
        case .connecting: inputFailed()
        case .idle: close()
        case .busy, .tunnel: fail(.reset)
        }
    }

    override func sendQueueDrained() {
        if state == .busy || state == .tunnel { exchange?.upstreamDrained() }
    }

    // MARK: Ending

    /// Both sides speak another protocol from now on.
    func beginTunnel() {
        state = .tunnel
        isHeadComplete = true
    }

    /// The exchange is done with the connection. What becomes of it is settled once all that was
    /// read is looked at: bytes beyond the response would make it useless.
    func release(isRequestComplete: Bool) {
        assigned = nil
        countSent()
        if !isRequestComplete { mayPersist = false }
        isReleased = true
    }

    /// Keeps the connection if its state is beyond doubt.
    private func settle() {
        isReleased = false
        guard state == .busy, isResponseComplete, mayPersist, !isBroken, !hasPeerEnded,
            incoming.isEmpty, queuedBytes == 0, !proxy.isDraining, pool.keep(self)
        else { return close() }
        state = .idle
        arm(after: pool.idleTimeout)
    }

    private func countSent() {
        pool.counters.add(.bytesSent, bytesSent &- countedBytesSent)
        countedBytesSent = bytesSent
    }

    private func fail(_ failure: AttemptFailure) {
        let exchange = self.exchange
        assigned = nil
        close()
        exchange?.upstreamFailed(failure, connection: .h1(Borrowed(self)))
    }

    /// Closes without a word to the exchange.
    func close() {
        guard state != .closed else { return }
        let wasIdle = state == .idle
        state = .closed
        assigned = nil
        incoming.clear(pool: context.pool)
        context.loop.timers.remove(timer)
        timer = .none
        countSent()
        pool.counters.subtract(.connectionsActive)
        if wasIdle { pool.forget(self) }
        closeNow()
    }
}
