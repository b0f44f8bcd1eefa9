// Bodies that are made while they are sent: any length, any rate, events over time.

import WeirHTTP
import WeirNet
import WeirTime

/// What is left of an answer's body.
struct BodyStream {
    enum Kind {
        /// The byte at offset i is `a` + i mod 26.
        case bytes(rate: Int?)
        case events(every: Interval)
    }

    var kind: Kind
    var isChunked: Bool
    var start: Instant
    /// Bytes, or events, made so far, and to be made in all.
    var made = 0
    var count: Int
}

extension Client {
    private static let chunkSize = 16 << 10
    private static let rateStep = Interval.milliseconds(10)

    /// Makes and sends as much as may be sent now; `true` when the stream is complete.
    func produce() -> Bool {
        guard let kind = stream?.kind else { return true }
        switch kind {
        case .events(let every): return produceEvents(every)
        case .bytes(let rate): return produceBytes(rate)
        }
    }

    private func produceEvents(_ every: Interval) -> Bool {
        guard var stream else { return true }
        while stream.made < stream.count {
            guard flush() else { return false }
            stream.made += 1
            let event = [UInt8]("id: \(stream.made)\ndata: {\"n\":\(stream.made)}\n\n".utf8)
            event.withUnsafeBytes {
                if stream.isChunked { out.append(chunk: $0) } else { out.append($0) }
            }
            self.stream = stream
            let isLast = stream.made == stream.count
            if isLast || every == .zero { continue }
            _ = flush()
            if fd >= 0 { sleep(every) }
            return false
        }
        if stream.isChunked { out.append("0\r\n\r\n") }
        return true
    }

    private func produceBytes(_ rate: Int?) -> Bool {
        guard var stream else { return true }
        while stream.made < stream.count {
            var room = stream.count - stream.made
            if let rate {
                let elapsed = (MonotonicClock.now() - stream.start).seconds
                room = min(room, Int(Double(rate) * elapsed) + 1 - stream.made)
            }
            guard room > 0 else {
                _ = flush()
                if fd >= 0 { sleep(Self.rateStep) }
                return false
            }
            let moved = stream.isChunked ? sendChunk(stream, room) : sendPiece(stream, room)
            guard let moved else { return false }
            stream.made += moved
            self.stream = stream
            if moved == 0 { return false }
        }
        if stream.isChunked { out.append("0\r\n\r\n") }
        return true
    }

    /// Part of the pattern, from where the body has come to.
    private func piece(_ stream: BodyStream, _ length: Int) -> UnsafeRawBufferPointer {
        let offset = stream.made % 26
        let end = min(offset + length, worker.pattern.count)
        return UnsafeRawBufferPointer(rebasing: worker.pattern[offset..<end])
    }

    /// `nil` when the connection is lost.
    private func sendPiece(_ stream: BodyStream, _ room: Int) -> Int? {
        var moved = 0
        let progress = out.flush(to: fd, and: piece(stream, room), moved: &moved)
        guard progress != .failed else {
            closeNow()
            return nil
        }
        return moved
    }

    private func sendChunk(_ stream: BodyStream, _ room: Int) -> Int? {
        if out.count >= 4 * Self.chunkSize {
            guard flush() else { return fd >= 0 ? 0 : nil }
        }
        let piece = piece(stream, min(room, Self.chunkSize))
        out.append(chunk: piece)
        return piece.count
    }
}
