// A stream socket in a loop: gathers what is to be sent into one call, queues what does not fit.

import Glibc

/// What all connections of a worker share: its read buffer, its buffers and the pending output.
package final class StreamContext {
    /// Bytes of the shared read buffer.
    package static let readBufferSize = 256 << 10
    private static let scratchSize = 512 << 10
    private static let maxPieces = 64

    package let loop: EventLoop
    package let pool: BufferPool
    /// Where reads land; valid until the next read of any connection of this worker.
    package let readBuffer: UnsafeMutableRawPointer
    /// Moves large bodies; `nil` where the process had no descriptors left for it.
    fileprivate let pipe = SplicePipe()
    /// For those who speak TLS; made when the first of them comes.
    private(set) var port: TLSPort?

    // What the connection `gathering` will send with its next flush: borrowed pieces, and
    // scratch memory for heads and chunk headers.
    private var gathering: Unmanaged<Connection>?
    fileprivate let pieces: UnsafeMutablePointer<iovec>
    fileprivate var pieceCount = 0
    fileprivate var pieceBytes = 0
    fileprivate let scratch: UnsafeMutableRawPointer
    fileprivate var scratchUsed = 0

    package init(loop: EventLoop, pool: BufferPool) {
        self.loop = loop
        self.pool = pool
        readBuffer = .allocate(byteCount: Self.readBufferSize, alignment: 64)
        pieces = .allocate(capacity: Self.maxPieces)
        scratch = .allocate(byteCount: Self.scratchSize, alignment: 64)
    }

    deinit {
        readBuffer.deallocate()
        pieces.deallocate()
        scratch.deallocate()
    }

    /// The port of this worker's TLS sessions.
    func tlsPort() throws(TLSFailure) -> TLSPort {
        if let port { return port }
        let fresh = try TLSPort()
        port = fresh
        return fresh
    }

    /// Sends what is gathered. Must be called before borrowed bytes become invalid, so at the
    /// end of each handler that gathered any.
    package func flush() { gathering?._withUnsafeGuaranteedRef { _ = $0.flush() } }

    // Compared as pointers, without a count: this is asked for each piece that is gathered.
    fileprivate func isGathering(_ connection: Connection) -> Bool {
        gathering?.toOpaque() == Unmanaged.passUnretained(connection).toOpaque()
    }

    fileprivate func beginGathering(_ connection: Connection) {
        gathering = .passUnretained(connection)
    }

    fileprivate func endGathering() {
        gathering = nil
        pieceCount = 0
        pieceBytes = 0
        scratchUsed = 0
    }

    fileprivate var scratchLeft: Int { Self.scratchSize - scratchUsed }
    fileprivate var hasRoom: Bool { pieceCount < Self.maxPieces }
}

/// How far sending has come.
package enum SendState: Equatable {
    /// All is with the kernel.
    case sent
    /// Bytes are queued; `sendQueueDrained` will be called.
    case queued
    /// The connection is broken, or its peer reads so little that the queue's bound is reached.
    case broken
}

/// A non-blocking stream socket with bounded output.
open class Connection: EventSource {
    package final let context: StreamContext
    final var outgoing = ByteQueue()
    /// What is sent and received goes through it; `nil` where it goes as it is.
    package final internal(set) var tls: TLSSession?
    /// A byte of a handshake has come.
    package final var hasBegunHandshake = false
    /// Sending has failed; nothing more is sent.
    package final internal(set) var isBroken = false
    /// Nothing more is sent once the queue is empty.
    final var isEnding = false
    /// Reading has not yet met the end of what the kernel holds.
    package final var isReadable = false
    /// The peer has ended its sending side.
    package final var hasPeerEnded = false
    /// The last read filled its buffer, so the next one may be larger.
    private final var readsAreLarge = false
    /// Bytes sent and received since the connection was made, as the network sees them.
    package final internal(set) var bytesSent: UInt64 = 0
    package final private(set) var bytesReceived: UInt64 = 0

    package init(fd: Int32, context: StreamContext) {
        self.context = context
        super.init(fd: fd)
    }

    /// Takes over the socket of a connection that has nothing to send, and what is spoken on it.
    /// The loop is to be told of the new one.
    package init(replacing other: Connection) {
        context = other.context
        if context.isGathering(other) { _ = other.flush() }
        super.init(fd: other.context.loop.release(other))
        tls = other.tls
        other.tls = nil
        isReadable = other.isReadable
        hasPeerEnded = other.hasPeerEnded
        bytesSent = other.bytesSent
        bytesReceived = other.bytesReceived
    }

    // MARK: To be overridden

    /// The socket has not taken all: some of it is queued, or more than before.
    open func sendQueueFilled() {}

    /// The queue has become empty after `queued`.
    open func sendQueueDrained() {}

    /// The turn is over in which the connection asked to be told so.
    open func turnEnded() {}

    /// There may be bytes to read, or an end of stream.
    open func readReady() {}

    /// The connection is gone: reset, or closed both ways. `readReady` was called before.
    open func hungUp() {}

    /// The peers have agreed on keys; called once, where there is TLS.
    open func secured() {}

    open override func ready(_ events: Events) {
        // A hung-up socket may still hold what its peer sent last.
        if !events.isDisjoint(with: [.peerEnded, .hungUp]) { hasPeerEnded = true }
        if events.contains(.writable), !outgoing.isEmpty { drainQueue() }
        guard fd >= 0 else { return }
        if hasPeerEnded || events.contains(.readable) {
            isReadable = true
            // Who has asked for another turn has it when the others had theirs.
            if !isQueued {
                readReady()
                context.flush()
            }
        }
        if fd >= 0, !events.isDisjoint(with: .hungUp) { hungUp() }
    }

    // MARK: Reading

    private static let readsPerTurn = 4

    /// Whether a connection that has read `reads` times in this turn may go on; else it asks for
    /// another one.
    ///
    /// - Parameter isBulk: what it reads can wait, in a turn that has taken long, from the start.
    package final func mayRead(after reads: Int, isBulk: Bool = false) -> Bool {
        if reads == 0 { return !isBulk || !context.loop.isLate || context.loop.isResuming }
        return reads < Self.readsPerTurn && !context.loop.isOverdue
    }

    /// Reads once into the context's read buffer, at most `limit` bytes, or of TLS a few KiB and
    /// what records they complete. A short read means that the kernel has no more, which saves the
    /// read that would say so.
    package final func receive(atMost limit: Int = StreamContext.readBufferSize) -> Transfer {
        if let tls { return receive(through: tls, atMost: limit) }
        return receive(into: context.readBuffer, atMost: limit)
    }

    /// Reads what the socket holds, as it is.
    @inline(__always)
    final func receive(into buffer: UnsafeMutableRawPointer, atMost limit: Int) -> Transfer {
        let count = min(
            limit, readsAreLarge ? StreamContext.readBufferSize : StreamContext.readBufferSize / 4)
        let result = Socket.receive(fd, into: buffer, count: count)
        switch result {
        case .bytes(let n):
            bytesReceived &+= UInt64(n)
            readsAreLarge = n == count
            if n < count, !hasPeerEnded { isReadable = false }
        case .wouldBlock, .failed, .endOfStream:
            isReadable = false
        }
        return result
    }

    /// Bytes can be moved to `other` without reading them.
    package final func canMove(to other: Connection) -> Bool {
        context.pipe != nil && tls == nil && other.tls == nil && other.outgoing.isEmpty
            && !other.isBroken
    }

    /// Moves up to `limit` bytes from this socket to another one, which must have nothing queued,
    /// without copying them. What the other one does not take is queued for it.
    package final func move(to other: Connection, atMost limit: Int) -> Transfer {
        guard let pipe = context.pipe else { return .wouldBlock }
        other.flush()
        guard other.sendState == .sent else { return .wouldBlock }
        let taken = pipe.fill(from: fd, atMost: min(limit, StreamContext.readBufferSize))
        guard case .bytes(let count) = taken else {
            isReadable = false
            return taken
        }
        bytesReceived &+= UInt64(count)
        let sent = pipe.empty(into: other.fd, count)
        other.bytesSent &+= UInt64(sent.moved)
        if sent.hasFailed { other.isBroken = true }
        if sent.moved < count {
            let rest = pipe.read(count - sent.moved, into: context.readBuffer)
            other.queue(rest)
        }
        return taken
    }

    // MARK: Sending

    /// Bytes that wait in the queue.
    public final var queuedBytes: Int { outgoing.count }

    /// Memory to write a head or a chunk header into; follow with `commit`.
    package final func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer {
        startGathering()
        if context.scratchLeft < count || !context.hasRoom {
            _ = flush()
            startGathering()
        }
        let size = max(0, min(count, context.scratchLeft))
        return UnsafeMutableRawBufferPointer(
            start: context.scratch + context.scratchUsed, count: size)
    }

    /// Gathers the first `count` bytes of what `reserve` gave.
    package final func commit(_ count: Int) {
        let start = context.scratch + context.scratchUsed
        context.scratchUsed += count
        addPiece(start, count)
    }

    /// Gathers bytes that stay valid until the next flush.
    package final func gather(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return }
        startGathering()
        if !context.hasRoom {
            _ = flush()
            startGathering()
        }
        addPiece(UnsafeMutableRawPointer(mutating: start), bytes.count)
    }

    /// Sends bytes at once, behind what is gathered already.
    @discardableResult
    package final func send(_ bytes: [UInt8]) -> SendState {
        bytes.withUnsafeBytes {
            gather($0)
            return flush()
        }
    }

    @inline(__always)
    private final func startGathering() {
        if context.isGathering(self) { return }
        context.flush()
        context.beginGathering(self)
    }

    @inline(__always)
    private final func addPiece(_ start: UnsafeMutableRawPointer, _ count: Int) {
        guard count > 0 else { return }
        let last = context.pieces + (context.pieceCount - 1)
        if context.pieceCount > 0, let base = last.pointee.iov_base,
            base + last.pointee.iov_len == start
        {
            last.pointee.iov_len += count
        } else {
            context.pieces[context.pieceCount] = iovec(iov_base: start, iov_len: count)
            context.pieceCount += 1
        }
        context.pieceBytes += count
    }

    /// Sends what is gathered, and queues what the socket does not take.
    @discardableResult
    package final func flush() -> SendState {
        guard context.isGathering(self) else { return sendState }
        let count = context.pieceCount
        let total = context.pieceBytes
        context.endGathering()
        guard total > 0, !isBroken, fd >= 0 else { return sendState }
        if let tls { return send(context.pieces, count: count, through: tls) }
        var sent = 0
        if outgoing.isEmpty {
            let result =
                count == 1
                ? Socket.send(fd, context.pieces[0].iov_base, count: context.pieces[0].iov_len)
                : Socket.send(fd, pieces: context.pieces, count: count)
            switch result {
            case .bytes(let n): sent = n
            case .wouldBlock: break
            case .failed(let error):
                fail(error)
                return .broken
            case .endOfStream: return sendState
            }
            bytesSent &+= UInt64(sent)
            if sent == total { return .sent }
        }
        queue(pieces: count, skipping: sent)
        return sendState
    }

    final var sendState: SendState {
        isBroken ? .broken : outgoing.isEmpty ? .sent : .queued
    }

    private final func queue(pieces count: Int, skipping sent: Int) {
        var skip = sent
        for index in 0..<count {
            let piece = context.pieces[index]
            if skip >= piece.iov_len {
                skip -= piece.iov_len
                continue
            }
            let rest = UnsafeRawBufferPointer(
                start: piece.iov_base + skip, count: piece.iov_len - skip)
            skip = 0
            queue(rest)
        }
    }

    /// Keeps what the socket has not taken; nothing more once a part of it was lost.
    final func queue(_ rest: UnsafeRawBufferPointer) {
        guard rest.count > 0, !isBroken else { return }
        guard outgoing.append(rest, pool: context.pool) else { return breakOff() }
        sendQueueFilled()
    }

    private final func drainQueue() {
        while !outgoing.isEmpty {
            let bytes = outgoing.bytes
            guard let start = bytes.baseAddress else { return }
            switch Socket.send(fd, start, count: bytes.count) {
            case .bytes(let n):
                bytesSent &+= UInt64(n)
                outgoing.consume(n, pool: context.pool)
                if n < bytes.count { return }
            case .wouldBlock:
                return
            case .failed(let error):
                fail(error)
                outgoing.clear(pool: context.pool)
                return
            case .endOfStream: return
            }
        }
        if isEnding { Socket.shutdownSending(fd) }
        sendQueueDrained()
        context.flush()
    }

    /// Bytes that the peer's kernel has acknowledged. What was merely handed to this kernel says
    /// nothing about a peer's pace: a send buffer of megabytes takes it in one gulp.
    package final var bytesAcknowledged: UInt64 {
        var unacknowledged: Int32 = 0
        guard ioctl(fd, UInt(TIOCOUTQ), &unacknowledged) == 0 else { return bytesSent }
        return bytesSent &- UInt64(max(0, unacknowledged))
    }

    // MARK: Ending

    /// Sending has failed. The loop reports a dead connection as `hungUp`, after what can still be
    /// read; one that failed for want of kernel memory is not dead, and must be ended.
    final func fail(_ error: SystemError) {
        isBroken = true
        if error.isExhaustion { breakOff() }
    }

    /// Gives up on a connection from within a handler that is still using it: the loop reports
    /// the shutdown as `hungUp` in its next turn.
    package final func breakOff() {
        isBroken = true
        _ = shutdown(fd, Int32(SHUT_RDWR))
    }

    /// Drops what is gathered and queued and closes the socket.
    package final func closeNow() {
        if context.isGathering(self) { context.endGathering() }
        outgoing.clear(pool: context.pool)
        context.loop.remove(self)
    }
}
