// The endpoint's side of an attempt, whichever version of HTTP it speaks.

import WeirHTTP
import WeirNet

/// A connection of HTTP/1, or a stream of HTTP/2: where an exchange sends its request, and what it
/// asks for more of the answer.
///
/// An enum, so that each call is a branch and not a call through a table.
enum Upstream: Equatable {
    case h1(Borrowed<H1Upstream>)
    case h2(Borrowed<H2Call>)

    static func == (a: Upstream, b: Upstream) -> Bool {
        switch (a, b) {
        case (.h1(let a), .h1(let b)): a.isSame(as: b)
        case (.h2(let a), .h2(let b)): a.isSame(as: b)
        default: false
        }
    }

    // MARK: The request

    /// Gives the connection to an exchange; before it is connected, `upstreamConnected` follows.
    @inline(__always)
    func assign(_ exchange: Exchange) {
        switch self {
        case .h1(let connection): connection.use { $0.assign(exchange) }
        case .h2(let call): call.use { $0.assign(exchange) }
        }
    }

    /// Sends the head of an exchange's request; `false`, with nothing sent, when it is larger than
    /// any that weir can send.
    @inline(__always)
    func sendHead(_ exchange: Exchange, route: RoutePlan, cluster: Cluster) -> Bool {
        switch self {
        case .h1(let connection):
            connection.use {
                H1RequestHead.write(exchange, route: route, cluster: cluster, to: $0)
            }
        case .h2(let call):
            call.use { H2RequestHead.write(exchange, route: route, cluster: cluster, to: $0) }
        }
    }

    /// Sends a part of the request's body, valid until the handler returns or until `flush`.
    @inline(__always)
    func sendBody(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .h1(let connection): connection.use { $0.writer.write(bytes, to: $0) }
        case .h2(let call): call.use { $0.send(bytes) }
        }
    }

    /// Sends the end of the request's body.
    @inline(__always)
    func endBody(trailers: [UInt8]) {
        switch self {
        case .h1(let connection): connection.use { $0.writer.end(trailers: trailers, to: $0) }
        case .h2(let call): call.use { $0.end(trailers: trailers) }
        }
    }

    /// Sends what a tunnel carries, valid until the handler returns.
    func sendRaw(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .h1(let connection): connection.use { $0.gather(bytes) }
        case .h2(let call): call.use { $0.send(bytes) }
        }
    }

    /// Sends what was gathered before.
    @inline(__always)
    func flush() {
        if case .h1(let connection) = self { connection.use { _ = $0.flush() } }
    }

    /// The endpoint has not taken all that was sent.
    @inline(__always)
    var isBehind: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.queuedBytes > 0 }
        case .h2(let call): call.use { $0.isBehind }
        }
    }

    /// Bytes of the request that the endpoint has taken.
    var bytesAcknowledged: UInt64 {
        switch self {
        case .h1(let connection): connection.use { $0.bytesAcknowledged }
        case .h2(let call): call.use { $0.bytesTaken }
        }
    }

    // MARK: The answer

    /// The client has taken what was sent: reading may go on.
    func resumeReading() {
        switch self {
        case .h1(let connection): connection.use { $0.resumeReading() }
        case .h2(let call): call.use { $0.resumeReading() }
        }
    }

    /// A byte of the answer has come.
    var hasAnswered: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.hasAnswered }
        case .h2(let call): call.use { $0.hasAnswered }
        }
    }

    /// A kept connection has ended without an answer: the endpoint may have closed it just as it
    /// was used, unaware of the request.
    var isStale: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.isReused && !$0.hasAnswered }
        case .h2(let call): call.use { $0.isStale }
        }
    }

    /// Where the answer ends is said by the protocol, or by TLS: anyone could have cut it off.
    var isEndVouched: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.tls != nil }
        case .h2: true
        }
    }

    /// A tunnel that ends now has ended in order.
    var hasOrderlyEnd: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.tls?.hasOrderlyEnd ?? true }
        case .h2: true
        }
    }

    // MARK: The end

    /// Both sides speak another protocol from now on.
    func beginTunnel() {
        switch self {
        case .h1(let connection): connection.use { $0.beginTunnel() }
        case .h2(let call): call.use { $0.beginTunnel() }
        }
    }

    /// The client sends no more through the tunnel.
    func endSending() {
        switch self {
        case .h1(let connection):
            connection.use {
                $0.flush()
                // Rule: the upstream's own end is taken up when it is read, after all that came
                // before it.
                $0.endSending()
            }
        case .h2(let call): call.use { $0.end(trailers: []) }
        }
    }

    /// The exchange is done with its answer.
    @inline(__always)
    func release(isRequestComplete: Bool) {
        switch self {
        case .h1(let connection):
            connection.use { $0.release(isRequestComplete: isRequestComplete) }
        case .h2(let call): call.use { $0.release() }
        }
    }

    /// Gives the attempt up since there was no answer in the time that the client has set, or the
    /// route.
    func giveUp(isClients: Bool) {
        switch self {
        case .h1(let connection): connection.object.close()
        case .h2(let call): call.object.giveUp(isClients: isClients)
        }
    }

    /// Gives the attempt up, without a word to the exchange.
    func close() {
        switch self {
        case .h1(let connection): connection.object.close()
        case .h2(let call): call.object.cancel()
        }
    }
}
