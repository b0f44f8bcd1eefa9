// One probe of one endpoint: a connection, and for HTTP a request and the first line of its answer.

import Glibc
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTime

/// A probe under way on the control thread's loop. Calls back exactly once.
final class HealthProbe: Connection {
    /// Bytes of an answer that are read before it is given up as none.
    private static let maxBytes = 4096

    /// How an endpoint is spoken to.
    struct Manner {
        /// What HTTP probes speak TLS with; `nil` where they do not.
        var security: TLSClientSession?
        /// The header that connections begin with; it says that weir speaks for itself.
        var greeting: ProxyHeader.Version?
        /// What HTTP probes speak HTTP/2 with; `nil` where they do not.
        var workspace: H2Session.Workspace?
    }

    private let settings: HealthCheckSettings
    private let manner: Manner
    private var question: HealthQuestion?
    private let host: String
    private let onEnd: (Bool) -> Void
    private var timer = TimerID.none
    private var isConnected = false
    private var input: [UInt8] = []

    /// Begins to connect.
    ///
    /// - Parameter onEnd: called once, from the loop, with whether the endpoint is well.
    init(
        context: StreamContext, address: SocketAddress, settings: HealthCheckSettings,
        manner: Manner, onEnd: @escaping (Bool) -> Void
    ) throws(SystemError) {
        self.settings = settings
        self.manner = manner
        self.onEnd = onEnd
        host = address.ip == nil ? "localhost" : address.description
        super.init(fd: try Socket.connect(to: address), context: context)
        try context.loop.add(self)
        timer = context.loop.timers.add(self)
        context.loop.timers.arm(timer, at: context.loop.now + settings.timeout)
    }

    /// Ends the probe without a word.
    func cancel() {
        context.loop.timers.remove(timer)
        timer = .none
        closeNow()
    }

    private func end(_ isWell: Bool) {
        guard fd >= 0 else { return }
        cancel()
        onEnd(isWell)
    }

    override func timerFired() { end(false) }

    override func ready(_ events: Events) {
        if isConnected { return super.ready(events) }
        guard !events.isDisjoint(with: [.writable, .hungUp]) else { return }
        guard Socket.pendingError(fd) == nil, !events.contains(.hungUp) else { return end(false) }
        isConnected = true
        guard case .http = settings.kind else { return end(true) }
        if let greeting = manner.greeting {
            send(ProxyHeader.write(greeting, source: nil, target: nil))
        }
        if let security = manner.security {
            do {
                try secure(as: security, offering: manner.workspace == nil ? nil : "h2")
            } catch {
                end(false)
            }
        } else {
            ask()
        }
        // Some endpoints speak first.
        if fd >= 0, !events.isDisjoint(with: [.readable, .peerEnded]) { super.ready(events) }
    }

    override func secured() {
        if manner.workspace != nil, let tls, !FieldValue.equals(tls.agreedProtocol, "h2") {
            return end(false)
        }
        ask()
    }

    private func ask() {
        guard case .http(let path, _) = settings.kind else { return }
        if let workspace = manner.workspace { return ask(path, workspace) }
        let request =
            "GET \(path) HTTP/1.1\r\nhost: \(host)\r\nuser-agent: weir-health-check\r\n"
            + "connection: close\r\n\r\n"
        // A fresh socket takes a few hundred bytes, or something is wrong with it.
        if send(Array(request.utf8)) != .sent { end(false) }
    }

    private func ask(_ path: String, _ workspace: H2Session.Workspace) {
        let question = HealthQuestion(workspace) { [unowned self] in send(Array($0)) == .sent }
        self.question = question
        let isAsked = question.ask(path: path, host: host, isSecure: manner.security != nil)
        if !isAsked { end(false) }
    }

    override func readReady() {
        while fd >= 0, isReadable {
            switch receive() {
            case .bytes(let count):
                let bytes = UnsafeRawBufferPointer(start: context.readBuffer, count: count)
                if let question {
                    let isSound = question.take(bytes)
                    if let status = question.status { return end(isWell(status)) }
                    if !isSound { return end(false) }
                    continue
                }
                input += bytes
                if let status = Self.status(input) { return end(isWell(status)) }
                if input.count > Self.maxBytes { return end(false) }
            case .wouldBlock: return
            case .endOfStream, .failed: return end(false)
            }
        }
    }

    override func resume() { if fd >= 0 { readReady() } }

    override func hungUp() { end(false) }

    private func isWell(_ status: Int) -> Bool {
        guard case .http(_, let statuses) = settings.kind else { return true }
        return statuses.contains(status)
    }

    /// The status of an answer whose first line is complete; 0 where that line is no status line.
    static func status(_ input: [UInt8]) -> Int? {
        guard let end = input.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let line = input[..<end]
        guard line.count >= 12, line.starts(with: "HTTP/1.".utf8), line[8] == 0x20 else { return 0 }
        var status = 0
        for byte in line[9..<12] {
            guard (0x30...0x39).contains(byte) else { return 0 }
            status = status * 10 + Int(byte - 0x30)
        }
        return status
    }
}
