// A stream of a client's HTTP/2 connection: what an exchange reads from and writes to.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTime

/// One request and its answer on an HTTP/2 connection. Used again for another stream, of whichever
/// connection of the worker, once this one is over.
///
/// It outlives its exchange: what the exchange has sent waits here for the client's windows.
final class H2Stream: Linked {
    /// How late a timer may be.
    private static let promptness = Interval.milliseconds(5)

    private(set) var id: Int32 = 0
    // Not counted: a connection outlives its streams.
    private var connection: Borrowed<H2Downstream>
    private let pool: Borrowed<BufferPool>
    private(set) var exchange: Exchange?
    var next: Borrowed<H2Stream>?
    var previous: Borrowed<H2Stream>?

    /// The client has sent all of its request.
    private(set) var isInputEnded = false
    /// What becomes of the request has not been asked yet.
    private(set) var isWaiting = false
    private var isTunnel = false
    /// Bytes of the request for which the windows are still to be opened.
    private var unpaid = 0
    /// The stream is over for the session: what is sent is dropped.
    private(set) var isOver = false
    /// An answer has begun.
    private var hasAnswered = false
    /// All of the answer has left.
    private var hasLeft = false

    /// The answer's body.
    private var output = H2Output()
    /// It is among those that were written to in this turn.
    var isWritten = false
    private var bytesReceived: UInt64 = 0
    /// Bytes that the request's body is to have.
    private var wholeInput = UInt64.max
    private var window = ProgressWindow()
    /// What the connection had taken when that began, and how many ended with too little since
    /// enough was taken.
    private var takenAtStart: UInt64 = 0
    private var slowWindows = 0
    /// The request is a call whose messages come when there are any.
    private var isCall = false
    /// The client was told to go on with its request.
    private var hasContinued = false

    init(on connection: H2Downstream) {
        self.connection = Borrowed(connection)
        pool = Borrowed(connection.context.pool)
    }

    // MARK: The stream's life

    /// Begins another stream.
    func open(_ id: Int32, on connection: H2Downstream, isEnd: Bool) {
        self.id = id
        self.connection = Borrowed(connection)
        isInputEnded = isEnd
        isWaiting = false
        isTunnel = false
        unpaid = 0
        isOver = false
        hasAnswered = false
        hasLeft = false
        isWritten = false
        output.begin(hasBody: true, length: -1)
        bytesReceived = 0
        wholeInput = .max
        window = ProgressWindow()
        slowWindows = 0
        hasContinued = false
        isCall = false
    }

    /// Gives the stream its exchange; what becomes of it is decided with `proceed`.
    func begin(_ exchange: Exchange, on connection: H2Downstream, startedAt: Instant) {
        self.exchange = exchange
        isWaiting = true
        exchange.begin(.h2(Borrowed(self)), on: connection, startedAt: startedAt)
    }

    /// Sends the request on its way.
    func proceed() {
        guard isWaiting else { return }
        isWaiting = false
        if hasBody, let exchange {
            watchReceiving()
            if case .length(let length) = exchange.head.framing { wholeInput = UInt64(length) }
        }
        exchange?.findRoute()
        if hasBody, let exchange, let cluster = exchange.cluster, exchange.isCall(to: cluster) {
            isCall = true
            watchReceiving()
        }
    }

    /// There is more of the request to come; what follows a tunnel's head is none of it.
    private var hasBody: Bool {
        guard !isInputEnded, let exchange else { return false }
        return !exchange.head.wantsUpgrade
    }

    /// Does so before its turn, since more of it has come.
    private func proceedAtOnce() {
        guard isWaiting else { return }
        connection.use { _ = $0.arrived.remove(self) }
        proceed()
    }

    /// The request is refused for what it turns out to be.
    func refuse(_ problem: Malformed) {
        connection.use { if isWaiting { _ = $0.arrived.remove(self) } else { $0.countSpoiled() } }
        isWaiting = false
        exchange?.refuseMalformed(problem)
    }

    /// The session has given the stream up: nothing can be sent on it.
    func lose() { isOver = true }

    /// The stream is done with.
    func close() {
        isOver = true
        isWaiting = false
        isWritten = false
        connection.use { $0.held.bytes -= pool.use { output.clear(pool: $0) } }
        let ended = exchange
        exchange = nil
        ended?.downstreamGone()
        if unpaid > 0 { connection.use { $0.pay(id, unpaid) } }
    }

    // MARK: The request

    /// A part of the request's body.
    func take(_ bytes: UnsafeRawBufferPointer) {
        if !isTunnel, let exchange, exchange.head.wantsUpgrade {
            // Whether there will be a tunnel is not known yet.
            refuse(.upgrade)
        }
        proceedAtOnce()
        bytesReceived &+= UInt64(bytes.count)
        guard let exchange else { return connection.use { $0.pay(id, bytes.count) } }
        if isTunnel {
            exchange.tunnelToUpstream(bytes)
        } else {
            exchange.requestBody(bytes)
        }
        unpaid += bytes.count
        if self.exchange == nil || exchange.acceptsRequestBody { pay() }
    }

    /// The answer has been sent in full. Where the request has not come in full, its rest is not
    /// wanted any more (RFC 9113 section 8.1); where only its end is missing, that is waited for,
    /// since some clients would take the reset for a failure.
    func outputEnded() {
        hasLeft = true
        window.endSending()
        if !isInputEnded, bytesReceived < wholeInput { resetUnread() }
    }

    /// The client has had something for its request.
    var isAnswered: Bool { hasLeft || output.bytesTaken > 0 }

    /// Its client has said how long it waits, and does no longer: weir would have ended it in this
    /// moment, too.
    var isOverdue: Bool {
        guard let exchange, exchange.ticket.deadline < .distantFuture else { return false }
        let left = exchange.ticket.deadline - connection.object.now
        let wait = exchange.ticket.deadline - exchange.record.headAt
        return left <= min(Self.promptness, Interval(nanoseconds: wait.nanoseconds / 8))
    }

    private func resetUnread() {
        isOver = true
        connection.use { $0.reset(id, .noError) }
    }

    /// The request is complete.
    func endInput(trailers: [UInt8]) {
        proceedAtOnce()
        isInputEnded = true
        window.endReceiving()
        if isTunnel {
            exchange?.tunnelEndFromDownstream()
        } else {
            exchange?.requestEnd(trailers: trailers)
        }
    }

    /// More of the request's body is welcome.
    func resumeReading() {
        if hasBody { watchReceiving() }
        pay()
    }

    private func pay() {
        guard unpaid > 0 else { return }
        connection.use { $0.pay(id, unpaid) }
        unpaid = 0
    }

    // MARK: The answer

    /// Where the fields of a head are gathered.
    var fields: H2Fields { connection.use { $0.workspace.fields } }

    /// Sends the gathered fields as the answer's head.
    ///
    /// - Parameter length: what the body will have, where that is known; see `H2Output`.
    func respond(hasBody: Bool, length: Int64 = -1) {
        hasAnswered = true
        output.begin(hasBody: hasBody, length: length)
        guard !isOver else { return }
        connection.use {
            $0.respond(id, hasBody: hasBody)
            if hasBody { output.room = $0.room(of: id, atMost: H2Output.enough) }
        }
    }

    /// An interim answer may be sent now: however many come at once, one waits in a stream.
    ///
    /// - Parameter isContinue: the client waits for it. What only informs is not kept for one that
    ///   does not read.
    func takesInterim(isContinue: Bool) -> Bool {
        if isWritten { connection.use { $0.pump() } }
        guard !isOver else { return false }
        let isFree = !isWritten && connection.use { $0.queuedBytes == 0 }
        guard isFree || isContinue && !hasContinued else { return false }
        if isContinue { hasContinued = true }
        return true
    }

    /// Sends the gathered fields as an interim answer's head.
    func inform() {
        connection.use {
            $0.inform(id)
            $0.willSettle(self)
        }
    }

    /// Sends a part of the answer's body, or of what a tunnel carries.
    func send(_ bytes: UnsafeRawBufferPointer) {
        guard !isOver else { return }
        let isAdded = pool.use { output.add(bytes, pool: $0) }
        // A part that is missing must not go unnoticed; the exchange is told after this handler.
        guard isAdded || output.isLost else { return }
        connection.use {
            if isAdded { $0.held.bytes += bytes.count }
            $0.hasWritten(self)
            // With its last bytes the stream would end, before the exchange has heard of the end.
            if output.count >= H2Output.enough, !output.isEnded, !output.isLost { $0.pump() }
            output.holdUp(isFull: $0.isFull)
        }
    }

    /// Ends the answer; `false` where it has been ended, or a part of it is missing.
    @discardableResult
    func end(trailers: [UInt8]) -> Bool {
        guard !isOver, output.end(trailers: trailers) else { return false }
        connection.use { $0.hasWritten(self) }
        return true
    }

    /// The client has not taken all that was sent.
    var isBehind: Bool { output.isHeldUp }

    /// Bytes of the answer's body so far.
    var bytesSent: UInt64 { output.bytesTaken &+ UInt64(output.count) }

    /// The client takes nothing of an answer's body now.
    var isShut: Bool { connection.use { $0.room(of: id, atMost: 1) <= 0 } }

    /// Both sides speak another protocol from now on.
    func beginTunnel() {
        isTunnel = true
        if isInputEnded { exchange?.tunnelEndFromDownstream() }
    }

    /// The answer cannot be completed.
    func abort() { abort(hasAnswered ? .internalError : .cancel) }

    private func abort(_ code: H2Code) {
        exchange = nil
        guard !isOver else { return }
        isOver = true
        connection.use { $0.reset(id, code) }
    }

    /// The exchange has done what it could.
    func exchangeEnded() {
        exchange = nil
        if isInputEnded { window.endReceiving() } else { watchReceiving() }
        pay()
        if isTunnel { end(trailers: []) }
    }

    // MARK: For the session

    /// How much of the body there is to send now.
    func toSend(atMost limit: Int) -> H2Body { output.toSend(atMost: limit) }

    /// The trailers that follow the body; they are asked for once.
    func takeTrailers() -> [UInt8] { output.takeTrailers() }

    /// Copies the body's next bytes.
    func copy(_ count: Int, into out: inout ByteWriter) {
        pool.use { output.copy(count, into: &out, pool: $0) }
        connection.use {
            $0.held.bytes -= count
            if output.isHeldUp { $0.willSettle(self) }
        }
    }

    /// All that the windows allow has been handed out. Whether an endpoint may be asked for more.
    func settle() -> Bool {
        isWritten = false
        if output.isLost {
            if let exchange { exchange.refuse(.resourceExhausted) } else { abort() }
            return false
        }
        if !output.isEnded {
            output.room = connection.use { $0.room(of: id, atMost: H2Output.enough) }
        }
        let isFree = output.settle()
        // Its end waits as well, where the client's window is full to the last byte.
        let isUnfinished = output.isEnded && hasAnswered && !hasLeft
        if output.isHeldUp || isUnfinished {
            watchSending()
        } else {
            window.endSending()
            slowWindows = 0
        }
        return isFree
    }

    /// The client has taken all that it was behind with.
    func drained() { exchange?.downstreamDrained() }

    // MARK: The client's pace

    private func watchReceiving() {
        connection.use {
            let until = $0.now + receivingPace.window
            window.beginReceiving(bytesReceived, until: until)
            $0.checkPace(at: until)
        }
    }

    /// How much of the request must come in what time. Messages of calls may be far apart, but
    /// nobody holds an endpoint up by silence: once it has answered, the exchange sees to that.
    private var receivingPace: (window: Interval, least: UInt64) {
        if isCall, let exchange, let route = exchange.route {
            return (route.idleTimeout, exchange.hasResponseBegun ? 0 : 1)
        }
        let settings = connection.object.listener.settings
        return (settings.bodyTimeout, settings.bodyBytesPerWindow)
    }

    private func watchSending() {
        connection.use {
            let until = $0.now + $0.listener.settings.sendTimeout
            guard window.beginSending(output.bytesTaken, until: until) else { return }
            takenAtStart = $0.bytesAcknowledged
            $0.checkPace(at: until)
        }
    }

    /// Cuts the stream off if its client is too slow; when to look again, `nil` where it was.
    func checkPace() -> Instant? {
        guard !isOver else { return .distantFuture }
        let connection = connection.object
        let now = connection.now
        let settings = connection.listener.settings
        if now >= window.sendingEnds {
            if takesTooLittle(least: settings.sendBytesPerWindow) {
                cutOff()
                return nil
            }
            window.endSending()
            watchSending()
        }
        if now >= window.receivingEnds {
            if exchange == nil, output.isEnded, output.count == 0 {
                resetUnread()
                return nil
            }
            let pace = receivingPace
            if let exchange, exchange.acceptsRequestBody, !exchange.awaitsContinue, !isTunnel,
                window.isTooSlowReceiving(bytesReceived, least: pace.least)
            {
                exchange.refuse(.clientTooSlow)
                return nil
            }
            window.beginReceiving(bytesReceived, until: now + pace.window)
        }
        return min(window.sendingEnds, window.receivingEnds)
    }

    /// The client has taken too little of the answer in the window that is over.
    private func takesTooLittle(least: UInt64) -> Bool {
        guard window.isTooSlowSending(output.bytesTaken, least: least) else {
            slowWindows = 0
            return false
        }
        let connection = connection.object
        let isStuck = connection.bytesAcknowledged &- takenAtStart < least
        // Where the connection goes on, the stream may just be waiting for its turn.
        guard isStuck || connection.window(of: id) == 0 else { return false }
        slowWindows += 1
        return isStuck && connection.queuedBytes > 0
            || slowWindows >= connection.patience(with: id)
    }

    /// Ends the stream for its client's pace.
    func cutOff() {
        let ended = exchange
        // Before the exchange does so, in words that would put the blame elsewhere.
        abort(.enhanceYourCalm)
        ended?.downstreamTooSlow()
    }
}
