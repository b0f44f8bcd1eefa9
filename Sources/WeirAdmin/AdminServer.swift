// The admin listener: a small HTTP/1.1 server on the control thread's loop, bounded everywhere.

import Glibc
import WeirHTTP
package import WeirNet
package import WeirTime

/// Serves the admin endpoints. Lives on the thread of its loop.
package final class AdminServer {
    static let maxConnections = 64
    static let maxBodyBytes = 1 << 20
    static let headLimits = HeadLimits(maxBytes: 16 << 10, maxFields: 64, maxTargetBytes: 4096)

    let loop: EventLoop
    let requestTimeout: Interval
    let responseTimeout: Interval
    var gate: AdminGate
    /// Reused from request to request: only one is parsed at a time.
    var head = RequestHead(maxFields: AdminServer.headLimits.maxFields)
    private let routes: [AdminRoute]
    private let address: SocketAddress
    private var listener: AdminListener?
    private var connections: [ObjectIdentifier: AdminConnection] = [:]

    /// - Parameters:
    ///   - token: what changes must carry as a bearer token; `nil` asks for none.
    ///   - requestTimeout: a request must be complete this long after the connection or the last
    ///     answer, however many bytes of it have come.
    ///   - responseTimeout: an answer must have been read this long after it began.
    package init(
        loop: EventLoop, address: SocketAddress, token: [UInt8]?, routes: [AdminRoute],
        requestTimeout: Interval = .seconds(10), responseTimeout: Interval = .seconds(30)
    ) {
        self.loop = loop
        self.address = address
        self.routes = routes
        self.requestTimeout = requestTimeout
        self.responseTimeout = responseTimeout
        gate = AdminGate(address: address, token: token)
    }

    /// Takes another token, which counts from the next request on.
    package func setToken(_ token: [UInt8]?) { gate.token = token }

    /// Opens the listener.
    package func start() throws(SystemError) {
        let fd: Int32
        if case .unix(let path) = address {
            try Socket.removeStale(path)
            // Only the owner may connect; set before the file exists, so there is no gap.
            let mask = umask(0o177)
            defer { _ = umask(mask) }
            fd = try Socket.listen(on: address, exclusively: true)
        } else {
            fd = try Socket.listen(on: address, exclusively: true)
        }
        let listener = AdminListener(server: self)
        try listener.watch(fd)
        self.listener = listener
    }

    /// Where the listener is bound; `nil` before `start`.
    package var localAddress: SocketAddress? {
        listener.flatMap { Socket.localAddress($0.descriptor) }
    }

    /// Closes the listener and all connections, and removes the file of a unix socket.
    package func stop() {
        guard let listener else { return }
        self.listener = nil
        listener.close()
        for connection in Array(connections.values) { connection.stop() }
        if case .unix(let path) = address { _ = unlink(path) }
    }

    // MARK: Connections

    var hasRoom: Bool { connections.count < Self.maxConnections }

    func adopt(_ fd: Int32) {
        let connection = AdminConnection(fd: fd, server: self)
        guard (try? loop.add(connection)) != nil else { return }
        connections[ObjectIdentifier(connection)] = connection
        connection.start()
    }

    func forget(_ connection: AdminConnection) {
        connections[ObjectIdentifier(connection)] = nil
        listener?.refillReserve()
    }

    // MARK: Requests

    /// Answers a request that the gate has let pass.
    func answer(_ request: AdminRequest) -> (response: AdminResponse, allow: String?) {
        let matching = routes.filter { $0.matches(request.path) }
        if matching.isEmpty { return (.text(404, "not found\n"), nil) }
        let method = request.method == .head ? Method.get : request.method
        if let route = matching.first(where: { $0.method == method }) {
            return (route.handler(request), nil)
        }
        let allow = matching.map { $0.method == .get ? "GET, HEAD" : "\($0.method)".uppercased() }
        return (.text(405, "method not allowed\n"), allow.joined(separator: ", "))
    }
}
