// One probe of one endpoint: a connection, and for HTTP a request and the first line of its answer.

import Glibc
import WeirNet
import WeirPolicy
import WeirTime

/// A probe under way on the control thread's loop. Calls back exactly once.
final class HealthProbe: EventSource {
    /// Bytes of an answer that are read before it is given up as none.
    private static let maxBytes = 4096

    private let loop: EventLoop
    private let settings: HealthCheckSettings
    private let host: String
    private let onEnd: (Bool) -> Void
    private var timer = TimerID.none
    private var isSent = false
    private var input: [UInt8] = []

    /// Begins to connect.
    ///
    /// - Parameter onEnd: called once, from the loop, with whether the endpoint is well.
    init(
        loop: EventLoop, address: SocketAddress, settings: HealthCheckSettings,
        onEnd: @escaping (Bool) -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.settings = settings
        self.onEnd = onEnd
        host = address.description
        super.init(fd: try Socket.connect(to: address))
        try loop.add(self)
        timer = loop.timers.add(self)
        loop.timers.arm(timer, at: loop.now + settings.timeout)
    }

    /// Ends the probe without a word.
    func cancel() {
        loop.timers.remove(timer)
        timer = .none
        loop.remove(self)
    }

    private func end(_ isWell: Bool) {
        guard fd >= 0 else { return }
        cancel()
        onEnd(isWell)
    }

    override func timerFired() { end(false) }

    override func ready(_ events: Events) {
        if !isSent {
            guard !events.isDisjoint(with: [.writable, .hungUp]) else { return }
            guard Socket.pendingError(fd) == nil, !events.contains(.hungUp) else {
                return end(false)
            }
            guard case .http(let path, _) = settings.kind else { return end(true) }
            send(path)
        }
        if fd >= 0 { receive() }
    }

    private func send(_ path: String) {
        isSent = true
        let request =
            "GET \(path) HTTP/1.1\r\nhost: \(host)\r\nuser-agent: weir-health-check\r\n"
            + "connection: close\r\n\r\n"
        let bytes = Array(request.utf8)
        let result = bytes.withUnsafeBytes { buffer in
            buffer.baseAddress.map { Socket.send(fd, $0, count: buffer.count) }
        }
        // A fresh socket takes a few hundred bytes, or something is wrong with it.
        if case .bytes(let count) = result, count == bytes.count { return }
        end(false)
    }

    private func receive() {
        var memory = [UInt8](repeating: 0, count: 1024)
        while fd >= 0 {
            let result = memory.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { Socket.receive(fd, into: $0, count: buffer.count) }
            }
            switch result {
            case .bytes(let count):
                input += memory[..<count]
                if let status = Self.status(input) { return end(isWell(status)) }
                if input.count > Self.maxBytes { return end(false) }
            case .wouldBlock: return
            default: return end(false)
            }
        }
    }

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
