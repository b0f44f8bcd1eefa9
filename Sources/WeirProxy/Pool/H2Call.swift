// A stream of an endpoint's HTTP/2 connection: one attempt's request and its answer.

import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirTime

/// One call on an HTTP/2 connection. Used again for another one, once this one is over.
///
///     waiting (for the connection) --> sent --> answered --> over
final class H2Call: Linked {
    /// The stream's number; 0 before the request is sent.
    private(set) var id: Int32 = 0
    // Not counted: a connection outlives its calls.
    private var connection: Borrowed<H2Upstream>
    private let pool: Borrowed<BufferPool>
    /// It lets go of the call before it ends.
    private var assigned: Borrowed<Exchange>?
    var next: Borrowed<H2Call>?
    var previous: Borrowed<H2Call>?

    /// Bytes of an answer that may come unasked. A call begins with few, since they are held for a
    /// client that does not read, and gets more while its client does.
    static let firstWindow = 8 << 10
    private static let mostWindow = 256 << 10

    /// A byte of the answer has come.
    private(set) var hasAnswered = false
    /// The connection had answered before.
    private var isReused = false
    /// The call has ended with its connection.
    private var isCutOff = false
    /// The final head has come; what follows it as a head are trailers.
    private(set) var hasHead = false
    private var begunAt = Instant.distantPast
    /// The endpoint is asked for a tunnel, and has consented.
    private var isTunnelWanted = false
    private var isTunnel = false
    /// The stream is over for the session: what is sent is dropped.
    private var isOver = false
    /// Bytes of the answer for which the windows are still to be opened.
    private var unpaid = 0
    private var inputWindow = firstWindow
    /// Bytes that the client took at once, since the window was last widened.
    private var takenAtOnce = 0
    /// Bytes of the answer that are still to come; less than none where nobody knows.
    private var missing: Int64 = -1
    private var interimHeads = 0
    private var output = H2Output()
    /// It is among those that were written to in this turn.
    var isWritten = false

    init(on connection: H2Upstream) {
        self.connection = Borrowed(connection)
        pool = Borrowed(connection.context.pool)
    }

    /// Begins another call.
    func open(on connection: H2Upstream, isReused: Bool) {
        self.connection = Borrowed(connection)
        self.isReused = isReused
        id = 0
        assigned = nil
        hasAnswered = false
        hasHead = false
        isTunnelWanted = false
        isTunnel = false
        isOver = false
        isWritten = false
        isCutOff = false
        unpaid = 0
        inputWindow = Self.firstWindow
        takenAtOnce = 0
        missing = -1
        interimHeads = 0
        output.begin(hasBody: true, length: -1)
    }

    func assign(_ exchange: Exchange) { assigned = Borrowed(exchange) }

    private var me: Upstream { .h2(Borrowed(self)) }

    /// The request has not been sent, since the connection was not ready for it.
    func isWaiting(for connection: H2Upstream) -> Bool {
        id == 0 && assigned != nil && self.connection.isSame(as: Borrowed(connection))
    }

    /// Somebody waits for the answer.
    var isAwaited: Bool { assigned != nil }

    /// The connection is ready for the request.
    func connected() { assigned?.use { $0.upstreamConnected(me) } }

    // MARK: The request

    /// Where the fields of a head are gathered.
    var fields: H2Fields { connection.use { $0.workspace.fields } }

    /// Sends the gathered fields as the request's head. `false` where there is no memory, or the
    /// connection takes no more.
    func request(hasBody: Bool, isTunnel: Bool) -> Bool {
        isTunnelWanted = isTunnel
        output.begin(hasBody: hasBody, length: -1)
        id = connection.use { $0.request(self, hasBody: hasBody) }
        begunAt = connection.use { $0.context.loop.now }
        guard id > 0 else { return false }
        if hasBody { output.room = connection.use { $0.room(of: id, atMost: H2Output.enough) } }
        return true
    }

    /// Sends a part of the request's body, or of what a tunnel carries.
    func send(_ bytes: UnsafeRawBufferPointer) {
        guard !isOver, pool.use({ output.add(bytes, pool: $0) }) || output.isLost else { return }
        connection.use {
            $0.hasWritten(self, output.isLost ? 0 : bytes.count, output.count)
            output.holdUp(isFull: $0.isFull)
        }
    }

    /// Ends the request.
    func end(trailers: [UInt8]) {
        guard !isOver, output.end(trailers: trailers) else { return }
        connection.use { $0.hasWritten(self, 0, output.count) }
    }

    /// What the endpoint is called where nothing else is known.
    var endpointAuthority: Text { connection.use { $0.pool.authority } }

    var isBehind: Bool { output.isHeldUp }
    var bytesTaken: UInt64 { output.bytesTaken }

    func beginTunnel() { isTunnel = true }

    /// The endpoint can be asked for tunnels.
    var takesTunnels: Bool { connection.use { $0.takesTunnels } }

    // MARK: The answer

    /// More of the answer is welcome.
    func resumeReading() {
        guard unpaid > 0 else { return }
        connection.use { $0.pay(id, unpaid) }
        unpaid = 0
    }

    func headArrived(_ text: UnsafeRawBufferPointer, isEnd: Bool) {
        guard let assigned else { return }
        hasAnswered = true
        // Behind the version and a space.
        guard isTunnelWanted, text.part(9, 1).first == UInt8(ascii: "2") else {
            return take(head: text, isEnd: isEnd)
        }
        assigned.use {
            H2Tunnel.withConsent(to: $0, text) { take(head: $0, isEnd: false) }
        }
        if isEnd { endInput(trailers: []) }
    }

    private func take(head text: UnsafeRawBufferPointer, isEnd: Bool) {
        guard let assigned else { return }
        assigned.use { exchange in
            connection.use { connection in
                let proxy = connection.proxy
                let step = H1Parser.parseResponse(
                    text, seen: 0, method: exchange.head.method, limits: H2Upstream.headLimits,
                    into: &proxy.responseHead)
                guard case .complete = step else { return fail(.malformed) }
                if proxy.responseHead.isInterim {
                    interimHeads += 1
                    guard interimHeads <= H1Upstream.mostInterimHeads else {
                        return fail(.malformed)
                    }
                    return exchange.upstreamInterim(text)
                }
                hasHead = true
                // An end that comes with the head is the head's: so do gRPC's failures.
                if isEnd { proxy.responseHead.framing = .none }
                // A call's status may follow messages of which there are none.
                if !isEnd, proxy.responseHead.declaredLength == 0, exchange.isAnswerOfGRPC(text) {
                    proxy.responseHead.framing = .length(0)
                }
                let isComplete: Bool
                switch proxy.responseHead.framing {
                case .none: isComplete = proxy.responseHead.status != 101
                case .length(let length):
                    // What follows a refused CONNECT is not counted by the session.
                    missing = length
                    isComplete = false
                case .chunked, .untilClose: isComplete = false
                }
                exchange.upstreamHead(text, pool: connection.pool, from: me)
                if isComplete, self.assigned != nil { exchange.upstreamEnd(trailers: [], from: me) }
            }
        }
    }

    func take(_ bytes: UnsafeRawBufferPointer) {
        if missing >= 0 {
            missing -= Int64(bytes.count)
            if missing < 0 { return fail(.malformed) }
        }
        unpaid += bytes.count
        assigned?.use { exchange in
            if isTunnel {
                exchange.tunnelToDownstream(bytes)
            } else {
                exchange.upstreamBody(bytes)
            }
        }
        guard assigned?.use({ $0.acceptsResponseBody }) ?? true else { return takenAtOnce = 0 }
        resumeReading()
        takenAtOnce += bytes.count
        if takenAtOnce >= inputWindow, inputWindow < Self.mostWindow {
            takenAtOnce = 0
            inputWindow *= 2
            connection.use { $0.setWindow(of: id, inputWindow) }
        }
    }

    func endInput(trailers: [UInt8]) {
        if missing > 0 { return fail(.malformed) }
        assigned?.use {
            if isTunnel {
                $0.tunnelEndFromUpstream()
            } else {
                $0.upstreamEnd(trailers: trailers, from: me)
            }
        }
    }

    // MARK: The end

    /// The exchange has its answer. What it has not sent of the request is not wanted.
    func release() {
        assigned = nil
        resumeReading()
        if !connection.use({ $0.hasEnded(id) }) { reset(.noError) }
    }

    /// The exchange gives the attempt up.
    func cancel() {
        assigned = nil
        // It may just be told that its connection is over.
        guard !isOver else { return }
        guard id == 0 else { return reset(.cancel) }
        isOver = true
        connection.use { $0.remove(self) }
    }

    /// The exchange has waited for the answer for as long as it may.
    func giveUp(isClients: Bool) {
        let hasBegun = id > 0
        cancel()
        if hasBegun { connection.use { $0.gaveUp(onCallSince: begunAt, isClients: isClients) } }
    }

    /// The endpoint may have ended the connection just as the call was made, unaware of it.
    var isStale: Bool { isCutOff && isReused && !hasAnswered }

    private func reset(_ code: H2Code) {
        guard !isOver else { return }
        isOver = true
        connection.use { $0.reset(id, code) }
    }

    /// The stream, or its connection, has ended before the answer was complete.
    func fail(_ failure: AttemptFailure) {
        let exchange = assigned
        assigned = nil
        if id > 0 {
            switch failure {
            case .malformed: reset(.protocolError)
            case .exhausted: reset(.cancel)
            default: break
            }
        }
        exchange?.object.upstreamFailed(failure, connection: me)
    }

    /// The connection is over, and the stream with it.
    func connectionEnded(_ failure: AttemptFailure) {
        isCutOff = true
        close(failure)
    }

    /// The stream is over.
    func close(_ failure: AttemptFailure) {
        isOver = true
        connection.use { $0.held.bytes -= pool.use { output.clear(pool: $0) } }
        fail(failure)
        resumeReading()
    }

    // MARK: For the session

    func toSend(atMost limit: Int) -> H2Body { output.toSend(atMost: limit) }
    func takeTrailers() -> [UInt8] { output.takeTrailers() }

    func copy(_ count: Int, into out: inout ByteWriter) {
        pool.use { output.copy(count, into: &out, pool: $0) }
        connection.use {
            $0.held.bytes -= count
            if output.isHeldUp { $0.willSettle(self) }
        }
    }

    /// All that the windows allow has been handed out.
    func settle() {
        isWritten = false
        if output.isLost { return fail(.exhausted) }
        if !output.isEnded {
            output.room = connection.use { $0.room(of: id, atMost: H2Output.enough) }
        }
        if output.settle() { assigned?.use { $0.upstreamDrained() } }
    }
}
