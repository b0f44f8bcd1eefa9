// What a stream of HTTP/2 has to send, and how much of it may wait.

import WeirHTTP
import WeirNet

/// Bytes of one message's body that wait for the peer's windows, and its end.
struct H2Output: ~Copyable {
    /// Bytes that wait before the other side is asked for no more.
    static let enough = 64 << 10

    private(set) var pending = ByteQueue()
    private(set) var trailers: [UInt8] = []
    private(set) var isEnded = true
    /// Bytes of the body that are still to come; less than none where nobody knows.
    private var missing: Int64 = -1
    /// What waits is as much as may; the other side is heard of again once all of it is gone.
    private(set) var isHeldUp = false
    /// Bytes that may wait: no more than the peer takes now, since the rest would be held for it.
    var room = 0
    /// There was no memory for a part of it.
    private(set) var isLost = false
    private(set) var bytesTaken: UInt64 = 0

    /// Bytes that wait.
    var count: Int { pending.count }

    /// Begins a message.
    ///
    /// - Parameter length: what the body will have, where that is known: its last bytes then say
    ///   that they are. A frame of its own would have to wait where they fill the peer's window.
    mutating func begin(hasBody: Bool, length: Int64) {
        isEnded = !hasBody
        missing = length
        isHeldUp = false
        isLost = false
        bytesTaken = 0
    }

    /// Takes a part of the body; `false` where it is not wanted, or there is no memory for it.
    mutating func add(_ bytes: UnsafeRawBufferPointer, pool: BufferPool) -> Bool {
        guard !isEnded, !isLost, bytes.count > 0 else { return false }
        isLost = !pending.append(bytes, pool: pool)
        guard !isLost, missing >= 0 else { return !isLost }
        missing -= Int64(bytes.count)
        if missing <= 0 { isEnded = true }
        return true
    }

    /// Takes the end; `false` where it has been taken.
    mutating func end(trailers: [UInt8]) -> Bool {
        guard !isEnded, !isLost else { return false }
        isEnded = true
        if !trailers.isEmpty { self.trailers = trailers }
        return true
    }

    /// After the session has been offered what waits.
    ///
    /// - Parameter isFull: since the room was asked for, others have used it up.
    mutating func holdUp(isFull: Bool) {
        if pending.count > 0, isFull || pending.count >= room { isHeldUp = true }
    }

    /// How much there is to send now.
    func toSend(atMost limit: Int) -> H2Body {
        if isLost { return H2Body(count: 0, isLast: false) }
        let count = min(limit, pending.count)
        return H2Body(
            count: count, isLast: isEnded && count == pending.count, hasTrailers: !trailers.isEmpty)
    }

    /// The trailers that follow the body; they are asked for once.
    mutating func takeTrailers() -> [UInt8] {
        defer { trailers = [] }
        return trailers
    }

    /// Hands the next bytes out.
    mutating func copy(_ count: Int, into out: inout ByteWriter, pool: BufferPool) {
        out.append(UnsafeRawBufferPointer(pending.bytes).part(0, min(count, pending.count)))
        pending.consume(count, pool: pool)
        bytesTaken &+= UInt64(count)
    }

    /// All that the windows allow has been handed out. Whether more may be asked for again.
    mutating func settle() -> Bool {
        let wasHeldUp = isHeldUp
        isHeldUp = !pending.isEmpty
        return wasHeldUp && !isHeldUp
    }

    /// Drops what waits; how much that was.
    mutating func clear(pool: BufferPool) -> Int {
        let count = pending.count
        pending.clear(pool: pool)
        if !trailers.isEmpty { trailers = [] }
        isEnded = true
        return count
    }
}

/// What waits in all the streams of a connection, which has a bound of its own.
struct H2Held {
    private static let most = 1 << 20

    var bytes = 0

    var isFull: Bool { bytes >= Self.most }

    /// Bytes of a stream's body that are worth having now, up to `most`: what the peer takes, as
    /// far as other streams do not wait for the same.
    func room(of id: Int32, atMost most: Int, in session: H2Session) -> Int {
        min(most, session.window(of: id), min(session.window, Self.most) - bytes)
    }
}

extension Connection {
    /// Gathers frames of a session, with as much of a body as `copy` adds; `false` where some wait
    /// already.
    @inline(__always)
    func putFrames(
        _ bytes: UnsafeRawBufferPointer, body length: Int, _ copy: (inout ByteWriter) -> Void
    ) -> Bool {
        guard queuedBytes == 0, !isBroken else { return false }
        var out = ByteWriter(reserve(bytes.count + length))
        out.append(bytes)
        copy(&out)
        commit(out.count)
        return true
    }
}
