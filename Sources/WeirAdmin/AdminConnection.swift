// One connection to the admin listener: reads a request, answers it, and again.

import WeirHTTP
import WeirNet
import WeirTime

/// A client of the admin listener.
final class AdminConnection: EventSource {
    private enum Phase {
        /// Requests are read and answered.
        case open
        /// The answer that is being sent is the last.
        case closing
        /// All is sent. What the client still sends is thrown away: closing with bytes unread would
        /// reset the connection and could take the answer from it.
        case draining
    }

    private static let readBytes = 16 << 10
    /// Answers and reads that a client may have in one turn of the loop.
    private static let stepsPerTurn = 16

    private let server: AdminServer
    private var timer = TimerID.none
    private var phase = Phase.open
    /// A handler is at work.
    private var isAnswering = false
    /// The server has stopped: what is being answered is the last.
    private var isStopping = false
    private var input: [UInt8] = []
    /// How much of the input the head parser has seen.
    private var seen = 0
    private var hasContinued = false
    private var output: [UInt8] = []
    private var sent = 0

    init(fd: Int32, server: AdminServer) {
        self.server = server
        super.init(fd: fd)
    }

    func start() {
        timer = server.loop.timers.add(self)
        arm(server.requestTimeout)
    }

    private func arm(_ timeout: Interval) {
        server.loop.timers.arm(timer, at: server.loop.now + timeout)
    }

    override func ready(_ events: Events) { pump() }

    override func resume() { pump() }

    override func timerFired() { close() }

    /// Closes the connection, after the answer where it is one of its own handlers that asks.
    func stop() {
        isStopping = true
        if !isAnswering { close() }
    }

    func close() {
        guard fd >= 0 else { return }
        server.loop.timers.remove(timer)
        timer = .none
        server.loop.remove(self)
        server.forget(self)
    }

    // MARK: Moving bytes

    /// Does what can be done now. Nothing is read while an answer waits to be sent, so a client
    /// that does not read cannot make this connection grow.
    private func pump() {
        for _ in 0..<Self.stepsPerTurn {
            guard flush() else { return }
            if phase == .closing {
                Socket.shutdownSending(fd)
                phase = .draining
                input.removeAll()
                arm(server.requestTimeout)
            }
            if phase == .open, answerNext() { continue }
            guard receive() else { return }
        }
        server.loop.defer(self)
    }

    /// Sends what waits; `false` when some of it has to wait for the client.
    private func flush() -> Bool {
        while sent < output.count {
            let result = output.withUnsafeBytes { bytes in
                bytes.baseAddress.map { Socket.send(fd, $0 + sent, count: bytes.count - sent) }
            }
            switch result {
            case .bytes(let count): sent += count
            case .wouldBlock: return false
            default:
                close()
                return false
            }
        }
        if sent > 0 {
            output.removeAll()
            sent = 0
            arm(server.requestTimeout)
        }
        return true
    }

    /// Reads once; `false` when nothing more is to be done now.
    private func receive() -> Bool {
        let result = withUnsafeTemporaryAllocation(
            byteCount: Self.readBytes, alignment: 8
        ) { buffer -> Transfer in
            guard let base = buffer.baseAddress else { return .wouldBlock }
            let result = Socket.receive(fd, into: base, count: buffer.count)
            if case .bytes(let count) = result, phase == .open {
                input.append(contentsOf: buffer[..<count])
            }
            return result
        }
        switch result {
        case .bytes: return true
        case .wouldBlock: return false
        default:
            close()
            return false
        }
    }

    // MARK: Requests

    /// Answers the request at the start of the input; `false` when it is not complete.
    private func answerNext() -> Bool {
        guard !input.isEmpty else { return false }
        let step = input.withUnsafeBytes { bytes in
            H1Parser.parseRequest(
                bytes, seen: seen, limits: AdminServer.headLimits, into: &server.head)
        }
        switch step {
        case .needsMore:
            seen = input.count
            return false
        case .malformed(let fault):
            refuse(.text(fault.statusCode, "bad request\n"))
            return true
        case .complete:
            break
        }
        switch server.head.framing {
        case .none:
            respond(bodyLength: 0)
            return true
        case .length(let length) where length <= AdminServer.maxBodyBytes:
            return answerWithBody(Int(length))
        case .length:
            refuse(.text(413, "the body is larger than \(AdminServer.maxBodyBytes) bytes\n"))
        case .chunked, .untilClose:
            refuse(.text(411, "send a Content-Length\n"))
        }
        return true
    }

    private func answerWithBody(_ length: Int) -> Bool {
        let total = server.head.length + length
        if input.count >= total {
            respond(bodyLength: length)
            return true
        }
        // The head is parsed again when more has come: a few kilobytes, on a cold path.
        seen = 0
        if server.head.expectsContinue, !hasContinued {
            hasContinued = true
            output += "HTTP/1.1 100 Continue\r\n\r\n".utf8
            return true
        }
        return false
    }

    private func respond(bodyLength: Int) {
        let claims = readClaims()
        let end = server.head.length + bodyLength
        let answer: (response: AdminResponse, allow: String?)
        if let refusal = server.gate.refusal(claims.gate) {
            answer = (refusal, nil)
        } else {
            let request = AdminRequest(
                method: server.head.method, path: text(server.head.path),
                query: text(server.head.query), body: Array(input[server.head.length..<end]),
                acceptsJSON: claims.acceptsJSON,
                isAuthorised: server.gate.isAuthorised(claims.gate))
            isAnswering = true
            answer = server.answer(request)
            isAnswering = false
        }
        let isPersistent = server.head.isPersistent && server.head.minorVersion == 1
        write(
            answer.response, allow: answer.allow, isHead: server.head.method == .head,
            isLast: !isPersistent)
        input.removeFirst(end)
        seen = 0
        hasContinued = false
    }

    /// Answers a request whose end cannot be known, and ends the connection.
    private func refuse(_ response: AdminResponse) {
        write(response, allow: nil, isHead: false, isLast: true)
    }

    private func write(_ response: AdminResponse, allow: String?, isHead: Bool, isLast: Bool) {
        let isLast = isLast || isStopping
        var head = "HTTP/1.1 \(response.status) \(Self.reason(response.status))\r\n"
        head += "content-type: \(response.contentType)\r\n"
        head += "content-length: \(response.body.count)\r\n"
        head += "cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        if let allow { head += "allow: \(allow)\r\n" }
        if response.status == 401 { head += "www-authenticate: Bearer\r\n" }
        if isLast { head += "connection: close\r\n" }
        head += "\r\n"
        output += head.utf8
        if !isHead { output += response.body }
        if isLast { phase = .closing }
        arm(server.responseTimeout)
    }

    // MARK: Reading the head

    private func readClaims() -> (gate: AdminGate.Claims, acceptsJSON: Bool) {
        var claims = AdminGate.Claims()
        var acceptsJSON = false
        claims.method = server.head.method
        claims.host = text(server.head.host)
        for index in 0..<server.head.fields.count {
            let field = server.head.fields[index]
            let value = Stretch(start: field.valueStart, length: field.valueLength)
            switch text(Stretch(start: field.nameStart, length: UInt32(field.nameLength)))
                .lowercased()
            {
            case "authorization": claims.authorization = Array(slice(value))
            case "origin": claims.hasOrigin = true
            case "sec-fetch-site": claims.fetchSite = text(value)
            case "accept": acceptsJSON = text(value).lowercased().contains("application/json")
            default: break
            }
        }
        return (claims, acceptsJSON)
    }

    private func slice(_ stretch: Stretch) -> ArraySlice<UInt8> {
        input[Int(stretch.start)..<Int(stretch.end)]
    }

    private func text(_ stretch: Stretch) -> String {
        String(decoding: slice(stretch), as: UTF8.self)
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 411: "Length Required"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}
