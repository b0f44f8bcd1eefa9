// One connection: reads requests in turn, lets them be served, and sends the answers.

import Glibc
import WeirHTTP
import WeirNet
import WeirTime

/// A client's connection.
///
/// ```
/// head ─▶ body ─▶ waiting (station, delay) ─▶ streaming ─▶ head …
///                                                 └─▶ finishing ─▶ lingering ─▶ closed
/// ```
final class Client: EventSource {
    enum Phase { case head, body, waiting, streaming, finishing, lingering }

    /// How a connection ends once everything is sent.
    enum Ending { case gentle, abrupt, reset }

    private static let firstBuffer = 4 << 10
    private static let mostUnsent = 64 << 10
    private static let lingering = Interval.seconds(1)

    let worker: Worker
    let origin: Origin
    var phase = Phase.head
    var request = Request()
    var action = Action.any
    /// The origin's, with what the query overrides.
    var settings = Settings()
    var out = Outbox()
    var stream: BodyStream?
    /// Set when the connection ends with the answer.
    var ending: Ending?
    /// The answer was given before the body was read.
    var isAnswered = false

    private let station: Station
    private var inbox = Inbox(capacity: firstBuffer)
    private var framing = BodyFraming.none
    private var decoder = ChunkedDecoder()
    private var seen = 0
    private var mayRead = true
    private var isInFlight = false
    private var isPumping = false
    private var isPaused = false
    private lazy var pause = Pause(self)

    /// A wait of the connection itself: a delay, a rate, the time between two events.
    private final class Pause: Waiter {
        private unowned let client: Client
        init(_ client: Client) { self.client = client }
        override func waitEnded() { client.pauseEnded() }
    }

    init(fd: Int32, worker: Worker, origin: Origin, station: Station) {
        self.worker = worker
        self.origin = origin
        self.station = station
        super.init(fd: fd)
    }

    func opened() {
        origin.connections.add(1)
        origin.open.add(1)
    }

    override func ready(_ events: Events) {
        if !events.isDisjoint(with: .hungUp) { return closeNow() }
        if !events.isDisjoint(with: [.readable, .peerEnded]) { mayRead = true }
        pump()
    }

    override func resume() { pump() }

    /// Goes on as far as it can without waiting.
    func pump() {
        guard !isPumping else { return }
        isPumping = true
        defer { isPumping = false }
        for _ in 0..<256 {
            guard fd >= 0, advance() else { return }
        }
        // A pipelining client gets no more than its turn.
        worker.loop.defer(self)
    }

    /// One step; `false` when there is nothing more to do until something happens.
    private func advance() -> Bool {
        switch phase {
        case .head: return out.count < Self.mostUnsent || flush() ? readHead() : false
        case .body: return readBody()
        case .waiting:
            _ = flush()
            return false
        case .streaming:
            guard !isPaused else {
                _ = flush()
                return false
            }
            guard produce() else { return false }
            answerEnded()
            return true
        case .finishing:
            guard flush() else { return false }
            end()
            return true
        case .lingering: return discard()
        }
    }

    /// Sends what is there; `false` when it would block, or the connection is lost.
    func flush() -> Bool {
        guard !out.isEmpty else { return true }
        switch out.flush(to: fd) {
        case .done: return true
        case .blocked: return false
        case .failed:
            closeNow()
            return false
        }
    }

    /// Sleeps: `pump` makes no further progress on the answer until then.
    func sleep(_ interval: Interval) {
        isPaused = true
        worker.timeline.call(pause, in: interval)
    }

    private func pauseEnded() {
        isPaused = false
        guard fd >= 0 else { return }
        switch phase {
        case .waiting: answer()
        case .lingering: return closeNow()
        default: break
        }
        pump()
    }
}

// MARK: Reading

extension Client {
    /// Reads once into the inbox; `false` when nothing came.
    private func fill() -> Bool {
        guard mayRead else { return false }
        // Who has pipelined requests gets their answers before it is asked for more.
        guard flush() || fd >= 0 else { return false }
        let (transfer, wasShort) = inbox.receive(from: fd)
        if wasShort { mayRead = false }
        switch transfer {
        case .bytes: return true
        case .wouldBlock: return false
        case .endOfStream, .failed:
            closeNow()
            return false
        }
    }

    private func readHead() -> Bool {
        let bytes = UnsafeRawBufferPointer(inbox.bytes)
        let step =
            bytes.isEmpty
            ? .needsMore
            : H1Parser.parseRequest(
                bytes, seen: seen, limits: Worker.headLimits, into: &worker.head)
        switch step {
        case .needsMore:
            seen = bytes.count
            guard fill() else {
                if fd >= 0 { _ = flush() }
                return false
            }
        case .malformed(let problem):
            origin.malformed.add(1)
            refuse(problem)
        case .complete:
            seen = 0
            request = Request(worker.head, bytes: bytes)
            framing = worker.head.framing
            inbox.use(worker.head.length)
            begin()
        }
        return true
    }

    private func begin() {
        origin.requests.add(1)
        origin.inFlight.add(1)
        isInFlight = true
        ending = request.isPersistent ? nil : .gentle
        action = Action(path: request.path, query: request.query)
        if !action.isControl, request.path != "/healthz" {
            origin.clientRequests.add(1)
        }
        settings = origin.settings
        for (key, value) in request.query.pairs { _ = settings.set(key, to: value) }
        decoder.reset()
        phase = .body
        switch action {
        case .early:
            // Who waits for a 100 may send its body or not: the connection is of no further use.
            if request.expectsContinue || request.query.isSet("close") { ending = .gentle }
            isAnswered = true
            return answer()
        case .interim(let count):
            for _ in 0..<count { out.append("HTTP/1.1 100 Continue\r\n\r\n") }
        case .hints:
            out.append("HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
        default:
            if request.expectsContinue { out.append("HTTP/1.1 100 Continue\r\n\r\n") }
        }
    }

    private func readBody() -> Bool {
        switch framing {
        case .none, .untilClose:
            bodyEnded()
        case .length(let length):
            let part = inbox.bytes.prefix(Int(min(length, Int64(inbox.bytes.count))))
            if part.isEmpty { return readPastInbox(length) }
            take(UnsafeRawBufferPointer(rebasing: part), of: length)
            inbox.use(part.count)
        case .chunked:
            let bytes = inbox.bytes
            guard !bytes.isEmpty else { return fillOrFlush() }
            do throws(Malformed) {
                let progress = try decoder.decode(bytes)
                note(UnsafeRawBufferPointer(rebasing: bytes[..<progress.bodyLength]))
                inbox.use(progress.consumed)
                if progress.isComplete {
                    request.trailers = String(decoding: decoder.trailers, as: UTF8.self)
                    framing = .none
                } else if progress.consumed == 0 {
                    return fillOrFlush()
                }
            } catch {
                origin.malformed.add(1)
                refuse(error)
            }
        }
        return true
    }

    private func fillOrFlush() -> Bool {
        if fill() { return true }
        if fd >= 0 { _ = flush() }
        return false
    }

    /// Reads a long body into the worker's memory, which is larger and shared.
    private func readPastInbox(_ length: Int64) -> Bool {
        guard mayRead, let base = worker.scratch.baseAddress else { return fillOrFlush() }
        guard flush() || fd >= 0 else { return false }
        let room = Int(min(length, Int64(worker.scratch.count)))
        switch Socket.receive(fd, into: base, count: room) {
        case .bytes(let count):
            take(UnsafeRawBufferPointer(start: base, count: count), of: length)
            return true
        case .wouldBlock:
            mayRead = false
            return false
        case .endOfStream, .failed:
            closeNow()
            return false
        }
    }

    private func take(_ part: UnsafeRawBufferPointer, of length: Int64) {
        note(part)
        let rest = length - Int64(part.count)
        framing = rest > 0 ? .length(rest) : .none
    }

    private func note(_ part: UnsafeRawBufferPointer) {
        origin.bodyBytes.add(part.count)
        request.bodyLength += part.count
        switch action {
        case .upload, .echo: request.bodyChecksum.add(part)
        default: break
        }
    }

    private func bodyEnded() {
        if isAnswered { return finishRequest() }
        switch action {
        case .close: finish(.abrupt)
        case .reset: finish(.reset)
        case .statistics, .change: answer()
        case _ where settings.concurrency > 0 || settings.serviceTime > .zero:
            phase = .waiting
            station.enter(self)
        default: served()
        }
    }

    /// The station has served the request.
    func served() {
        guard fd >= 0 else { return }
        var wait = settings.delay + worker.chance.interval(upTo: settings.jitter)
        if case .delay(let text) = action { wait = wait + (Settings.interval(text) ?? .zero) }
        phase = .waiting
        if wait > .zero {
            sleep(wait)
        } else {
            answer()
        }
        pump()
    }
}

// MARK: Ending

extension Client {
    /// Nothing more is to be added to the answer.
    func answerEnded() {
        stream = nil
        if isAnswered, ending == nil {
            phase = .body
        } else {
            finishRequest()
        }
    }

    private func finishRequest() {
        origin.answers.add(1)
        noLongerInFlight()
        isAnswered = false
        phase = ending == nil ? .head : .finishing
    }

    /// Ends the connection in this way, once what is there has been sent.
    func finish(_ way: Ending) {
        ending = way
        stream = nil
        phase = .finishing
    }

    private func noLongerInFlight() {
        if isInFlight { origin.inFlight.add(-1) }
        isInFlight = false
    }

    private func end() {
        switch ending ?? .abrupt {
        case .reset:
            Socket.setLingerZero(fd)
            closeNow()
        case .abrupt: closeNow()
        case .gentle:
            // Unread input would turn a close into a reset that overtakes the answer.
            noLongerInFlight()
            phase = .lingering
            Socket.shutdownSending(fd)
            sleep(Self.lingering)
        }
    }

    private func discard() -> Bool {
        guard mayRead, let base = worker.scratch.baseAddress else { return false }
        switch Socket.receive(fd, into: base, count: worker.scratch.count) {
        case .bytes: return true
        case .wouldBlock:
            mayRead = false
            return false
        case .endOfStream, .failed:
            closeNow()
            return false
        }
    }

    func closeNow() {
        guard fd >= 0 else { return }
        noLongerInFlight()
        worker.timeline.cancel(pause)
        worker.loop.remove(self)
        origin.open.add(-1)
    }
}
