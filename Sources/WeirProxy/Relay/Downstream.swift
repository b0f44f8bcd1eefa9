// The client's side of an exchange, whichever version of HTTP it speaks.

import WeirHTTP
import WeirNet

/// A connection of HTTP/1, or a stream of HTTP/2: where an exchange sends its answer, and what it
/// asks for more of the request.
///
/// An enum, so that each call is a branch and not a call through a table.
enum Downstream {
    case h1(Borrowed<H1Downstream>)
    case h2(Borrowed<H2Stream>)

    // MARK: The request

    /// More of the request's body is welcome.
    func resumeReading() {
        switch self {
        case .h1(let connection): connection.use { $0.resumeReading() }
        case .h2(let stream): stream.use { $0.resumeReading() }
        }
    }

    /// What is left of the request's body may be read and dropped, for the sake of the connection.
    var canDiscardBody: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.canDiscardBody }
        // A stream may end without its rest.
        case .h2(let stream): stream.use { $0.isInputEnded }
        }
    }

    // MARK: The response

    /// Sends the head of a final response; `head` is the index into `message`. `false`, with
    /// nothing sent, when it is larger than any that weir can send.
    @inline(__always)
    func sendHead(
        _ exchange: Exchange, _ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer,
        route: RoutePlan, mayPersist: Bool
    ) -> Bool {
        switch self {
        case .h1(let connection):
            connection.use {
                H1ResponseHead.write(
                    exchange, head, message, route: route, mayPersist: mayPersist, to: $0)
            }
        case .h2(let stream):
            stream.use { H2ResponseHead.write(exchange, head, message, route: route, to: $0) }
        }
    }

    /// Sends the head of an interim response.
    func sendInterim(_ head: borrowing ResponseHead, _ message: UnsafeRawBufferPointer) {
        switch self {
        case .h1(let connection):
            connection.use { H1ResponseHead.writeInterim(head, message, to: $0) }
        case .h2(let stream):
            stream.use { H2ResponseHead.writeInterim(head, message, to: $0) }
        }
    }

    /// Sends an answer of weir's own, whole; `false` as with `sendHead`.
    func send(_ reply: LocalReply, _ exchange: Exchange, mayPersist: Bool) -> Bool {
        switch self {
        case .h1(let connection):
            connection.use { reply.write(exchange, mayPersist: mayPersist, to: $0) }
        case .h2(let stream):
            stream.use { reply.write(exchange, to: $0) }
        }
    }

    /// Sends a part of the response's body, valid until the handler returns.
    @inline(__always)
    func sendBody(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .h1(let connection):
            connection.use {
                $0.writer.write(bytes, to: $0)
                $0.flush()
            }
        case .h2(let stream): stream.use { $0.send(bytes) }
        }
    }

    /// Sends the end of the response's body.
    @inline(__always)
    func endBody(trailers: [UInt8]) {
        switch self {
        case .h1(let connection): connection.use { $0.writer.end(trailers: trailers, to: $0) }
        case .h2(let stream): stream.use { _ = $0.end(trailers: trailers) }
        }
    }

    /// Sends what a tunnel carries, valid until the handler returns.
    func sendRaw(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .h1(let connection):
            connection.use {
                $0.gather(bytes)
                $0.flush()
            }
        case .h2(let stream): stream.use { $0.send(bytes) }
        }
    }

    /// Where a body may be moved without looking at it: it goes out as it comes in.
    var bodySink: H1Downstream? {
        guard case .h1(let connection) = self, connection.use({ $0.writer.mode == .length }) else {
            return nil
        }
        return connection.object
    }

    /// Ends an answer of HTTP/2 that is cut off with trailers of weir's own; `false` where they
    /// cannot be sent.
    func cutOff(trailers: () -> [UInt8]) -> Bool {
        guard case .h2(let stream) = self else { return false }
        return stream.use { $0.end(trailers: trailers()) }
    }

    /// The client has not taken all that was sent.
    @inline(__always)
    var isBehind: Bool {
        switch self {
        case .h1(let connection): connection.use { $0.queuedBytes > 0 }
        case .h2(let stream): stream.use { $0.isBehind }
        }
    }

    /// The client takes nothing at all now: what is read for it has to be held.
    var isShut: Bool {
        if case .h2(let stream) = self { stream.use { $0.isShut } } else { false }
    }

    // MARK: The end

    /// Both sides speak another protocol from now on.
    func beginTunnel() {
        switch self {
        case .h1(let connection): connection.use { $0.beginTunnel() }
        case .h2(let stream): stream.use { $0.beginTunnel() }
        }
    }

    /// Sends what was gathered before.
    func flush() {
        if case .h1(let connection) = self { connection.use { _ = $0.flush() } }
    }

    /// The answer cannot be completed: the client must not take it for complete.
    func abort() {
        switch self {
        case .h1(let connection): connection.object.abort()
        case .h2(let stream): stream.object.abort()
        }
    }

    /// The answer is complete, and the exchange no longer needs this side.
    @inline(__always)
    func exchangeEnded(mayPersist: Bool) {
        switch self {
        case .h1(let connection): connection.use { $0.exchangeEnded(mayPersist: mayPersist) }
        case .h2(let stream): stream.use { $0.exchangeEnded() }
        }
    }

    // MARK: For the log

    /// Bytes sent, or about to be: on the connection so far, or of the stream's answer.
    var bytesSent: UInt64 {
        switch self {
        case .h1(let connection):
            connection.use { $0.bytesSent &+ UInt64($0.queuedBytes) }
        case .h2(let stream): stream.use { $0.bytesSent }
        }
    }

    /// The version that the client speaks.
    var isH2: Bool { if case .h2 = self { true } else { false } }
}
