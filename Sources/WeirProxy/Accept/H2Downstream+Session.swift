// What an HTTP/2 session tells its connection: each thing is its stream's.

import WeirHTTP
import WeirNet
import WeirTelemetry

extension H2Downstream: H2Owner {
    private func stream(_ attached: H2Attachment?) -> Borrowed<H2Stream>? {
        attached.map { Borrowed(opaque: $0) }
    }

    func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        let limits = listener.headLimits
        let exchange = proxy.takeExchange(fields: limits.maxFields)
        let step = exchange.parse(text, seen: 0, limits: limits)
        guard case .complete = step else {
            proxy.recycle(exchange)
            // All that there is was given.
            guard case .malformed(let problem) = step else { return refuse(id, .startLine) }
            return refuse(id, problem)
        }
        openStream(id, isEnd: isEnd).use { stream in
            stream.begin(exchange, on: self, startedAt: now)
            exchange.keepHead(text, bodyFollows: !isEnd && !exchange.head.wantsUpgrade)
            arrived.push(stream)
        }
    }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        if let known = stream(attached) { return known.use { $0.refuse(problem) } }
        refuse(id, problem)
    }

    /// Answers a request whose head says nothing that could be relied on.
    private func refuse(_ id: Int32, _ problem: Malformed, isLost: Bool = false) {
        let exchange = proxy.takeExchange(fields: listener.settings.headFields)
        exchange.head.discard()
        openStream(id, isEnd: isLost).use {
            $0.begin(exchange, on: self, startedAt: now)
            if isLost { $0.lose() }
            $0.refuse(problem)
            guard isLost else { return }
            session?.use { $0.attach(nil, to: id) }
            drop($0)
        }
    }

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {
        bodyBytes += bytes.count
        if let stream = stream(attached) {
            stream.use { $0.take(bytes) }
        } else {
            pay(id, bytes.count)
        }
    }

    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {
        stream(attached)?.use { $0.endInput(trailers: trailers) }
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        guard let stream = stream(attached) else { return }
        stream.use { stream in
            // Also where the session has reset it for what the client has sent.
            let isReset = isPeers || code != 0
            if !isReset || stream.isAnswered {
                session?.use { $0.countAnswer() }
            } else if !stream.isOver, !stream.isOverdue, isPeers || stream.isWaiting {
                // One that was sent on and proves to be none is charged where it is refused.
                session?.use { $0.countReset() }
            }
            if code != 0, !isPeers, !stream.isOver {
                // The session has found something wrong behind the head: a body unlike its length.
                stream.lose()
                stream.refuse(.contentLength)
            }
            drop(stream)
        }
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        if let known = stream(attached) {
            return known.use {
                $0.lose()
                $0.refuse(problem)
            }
        }
        // Its stream is gone already: what is left is to say so in the books.
        refuse(id, problem, isLost: true)
    }

    func pongArrived() { sayGoodbye() }

    func goingAway() {}

    func outputEnded(_ id: Int32, _ attached: H2Attachment) {
        stream(attached)?.use { $0.outputEnded() }
    }

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        stream(attached)?.use { $0.toSend(atMost: limit) } ?? H2Body(count: 0, isLast: false)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] {
        stream(attached)?.use { $0.takeTrailers() } ?? []
    }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool { putFrames(bytes, body: 0) { _ in } }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        guard let stream = stream(attached) else { return false }
        return putFrames(head, body: length) { out in stream.use { $0.copy(length, into: &out) } }
    }
}
