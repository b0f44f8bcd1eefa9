// A connection whose bytes go through a session: the same calls, with records underneath.

import COpenSSL
import Glibc

extension Connection {
    /// Speaks TLS from now on, as the server.
    package final func secure(by server: TLSServer) throws(TLSFailure) {
        tls = try TLSSession(server, port: try context.tlsPort())
    }

    /// Speaks TLS from now on, as the client, and begins the handshake.
    ///
    /// - Parameter offered: what is to be spoken on top; `nil` says nothing of it.
    package final func secure(
        as client: TLSClientSession, offering offered: StaticString? = nil
    ) throws(TLSFailure) {
        let port = try context.tlsPort()
        let session = try TLSSession(client, offering: offered, port: port)
        tls = session
        let hasBegun = session.begin()
        sendRecords(of: port)
        guard hasBegun else { throw TLSFailure(session.failure ?? "no handshake") }
    }

    /// Bytes of a read at least: of a record's part there is nothing to be had.
    private static let leastRead = 4 << 10

    /// Receives records once; their plaintext lies in the context's read buffer then. Where there
    /// may be more, but nothing came of these, the connection is resumed.
    final func receive(through session: TLSSession, atMost limit: Int) -> Transfer {
        guard let port = context.port, !session.hasEnd else { return ended(session) }
        let wasEstablished = session.isEstablished
        let isClients = !wasEstablished && session.isServer
        // Each takes 0.1 to 1 ms: a flood of them takes most of a worker's time, but what is
        // established has its turn between any few. They wait in the order in which they came.
        if isClients, !context.loop.isResuming {
            context.loop.defer(self, isNew: true)
            return .wouldBlock
        }
        if isClients, !session.hasBegun {
            // Who has ended already can end no handshake.
            guard hasWholeRecord(port), !hasPeerEnded else {
                isReadable = false
                return hasPeerEnded ? .endOfStream : .wouldBlock
            }
        }
        let most = wasEstablished ? max(limit, Self.leastRead) : TLSPort.inputBytes
        let received = receive(into: port.input, atMost: min(most, TLSPort.inputBytes))
        guard case .bytes(let count) = received else { return received }
        let opened = session.open(
            count, into: context.readBuffer, room: StreamContext.readBufferSize)
        sendRecords(of: port)
        if !wasEstablished, session.isEstablished { secured() }
        guard fd >= 0 else { return .endOfStream }
        switch opened {
        case .bytes(let count):
            // The end that came with them is told by the next read.
            if session.hasEnd { isReadable = true }
            return .bytes(count)
        case .nothing:
            if isReadable { context.loop.defer(self, isNew: isClients) }
            return .wouldBlock
        case .ended, .failed: return ended(session)
        }
    }

    /// All of the first record has come. Before, OpenSSL is told nothing: for a part of it, it
    /// would take some 50 KB, and clients that stop half way are many when they mean harm.
    private final func hasWholeRecord(_ port: TLSPort) -> Bool {
        let headBytes = 5
        let count = recv(fd, port.input, TLSPort.inputBytes, Int32(MSG_PEEK))
        // What has failed is told by the read.
        guard count > 0 else { return true }
        hasBegunHandshake = true
        guard count >= headBytes else { return false }
        let head = port.input.assumingMemoryBound(to: UInt8.self)
        // What is no handshake, or longer than any, is refused as soon as it is seen.
        guard head[0] == 22, head[3] < 64 else { return true }
        return count >= headBytes + Int(head[3]) << 8 + Int(head[4])
    }

    private final func ended(_ session: TLSSession) -> Transfer {
        isReadable = false
        guard session.hasOrderlyEnd else {
            return .failed(SystemError(call: "TLS", code: EPROTO))
        }
        hasPeerEnded = true
        return .endOfStream
    }

    /// Seals what was gathered and sends the records.
    final func send(
        _ pieces: UnsafeMutablePointer<iovec>, count: Int, through session: TLSSession
    ) -> SendState {
        guard let port = context.port else { return .broken }
        let all = UnsafeBufferPointer(start: pieces, count: count)
        let isSealed = port.seal(all, session) { sendRecords(of: port) }
        sendRecords(of: port)
        if !isSealed { breakOff() }
        return sendState
    }

    /// Sends the records that a session has written, and queues what the socket does not take.
    private final func sendRecords(of port: TLSPort) {
        let records = port.output
        guard records.count > 0 else { return }
        defer { port.clearOutput() }
        guard !isBroken, fd >= 0, let start = records.baseAddress else { return }
        var sent = 0
        if outgoing.isEmpty {
            switch Socket.send(fd, start, count: records.count) {
            case .bytes(let count): sent = count
            case .wouldBlock, .endOfStream: break
            case .failed(let error): return fail(error)
            }
            bytesSent &+= UInt64(sent)
        }
        queue(UnsafeRawBufferPointer(rebasing: records[sent...]))
    }

    /// Tells the peer that no more is sent, behind what is queued: through TLS, where it is spoken,
    /// and by the socket.
    package final func endSending() {
        if let tls, let port = context.port {
            tls.sayGoodbye()
            sendRecords(of: port)
        }
        isEnding = !outgoing.isEmpty
        if !isEnding { Socket.shutdownSending(fd) }
    }
}
