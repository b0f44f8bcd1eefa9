// What an HTTP/2 session tells its endpoint's connection: each thing is its call's.

import WeirHTTP
import WeirNet

extension H2Upstream: H2Owner {
    private func call(_ attached: H2Attachment?) -> Borrowed<H2Call>? {
        attached.map { Borrowed(opaque: $0) }
    }

    func responseArrived(_ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        call(attached)?.use { $0.headArrived(text, isEnd: isEnd) }
    }

    func expectsTrailers(_ attached: H2Attachment) -> Bool {
        call(attached)?.use { $0.hasHead } ?? false
    }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        call(attached)?.use { $0.fail(.malformed) }
    }

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {
        // Calls share the connection's window: none of them may use it up.
        receivedBody(bytes.count)
        if let call = call(attached) { call.use { $0.take(bytes) } } else { pay(id, bytes.count) }
    }

    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {
        call(attached)?.use { $0.endInput(trailers: trailers) }
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        guard let call = call(attached) else { return }
        call.use {
            switch code {
            // Beyond the last that a GOAWAY names, or else there is too much for the endpoint.
            case H2Code.refusedStream.rawValue: $0.close(state == .open ? .refused : .unsent)
            // The session has reset it, for what the endpoint has sent.
            case H2Code.protocolError.rawValue where !isPeers: $0.close(.malformed)
            default: $0.close(.reset)
            }
            remove($0)
        }
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        call(attached)?.use { $0.fail(.malformed) }
    }

    func settingsArrived() { opened() }

    func goingAway() { leave() }

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        call(attached)?.use { $0.toSend(atMost: limit) } ?? H2Body(count: 0, isLast: false)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] {
        call(attached)?.use { $0.takeTrailers() } ?? []
    }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool { putFrames(bytes, body: 0) { _ in } }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        guard let call = call(attached) else { return false }
        return putFrames(head, body: length) { out in call.use { $0.copy(length, into: &out) } }
    }
}
