// What a probe asks an endpoint of HTTP/2: one request, and the status of its answer.

import WeirHTTP

/// An HTTP/2 session of one request, without the connection.
final class HealthQuestion: H2Owner {
    /// Sends bytes; `false` where the connection takes no more.
    private let onSend: (UnsafeRawBufferPointer) -> Bool
    private let workspace: H2Session.Workspace
    private var session: H2Session?
    /// The answer's status, once it is known; 0 where there will be none.
    private(set) var status: Int?

    init(_ workspace: H2Session.Workspace, onSend: @escaping (UnsafeRawBufferPointer) -> Bool) {
        self.workspace = workspace
        self.onSend = onSend
        session = H2Session(client: self, H2Session.Settings(), workspace)
    }

    /// Sends the request; `false` where that is not possible.
    func ask(path: String, host: String, isSecure: Bool) -> Bool {
        guard let session else { return false }
        let scheme: StaticString = isSecure ? "https" : "http"
        let method: StaticString = "GET"
        let agent: StaticString = "weir-health-check"
        let fields = workspace.fields
        return Array(path.utf8).withUnsafeBytes { path in
            Array(host.utf8).withUnsafeBytes { host in
                fields.removeAll()
                fields.add(.method, method.bytes)
                fields.add(.scheme, scheme.bytes)
                fields.add(.authority, host)
                fields.add(.path, path)
                fields.add(.userAgent, agent.bytes)
                let me = Unmanaged.passUnretained(self).toOpaque()
                return session.request(me, hasBody: false) > 0 && session.send()
            }
        }
    }

    /// Takes what the connection has read; `false` where it is no HTTP/2.
    func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let session else { return false }
        return session.receive(bytes, second: 0) == .sound && session.send() && !session.isOver
    }

    // MARK: For the session

    func responseArrived(_ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        let found = HealthProbe.status(Array(text))
        if let found, found >= 200 || found == 0 { status = status ?? found }
    }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        status = status ?? 0
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        status = status ?? 0
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        status = status ?? 0
    }

    func goingAway() {}

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {}

    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {}

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        H2Body(count: 0, isLast: true)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] { [] }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool { onSend(bytes) }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        false
    }
}
