// The client's side of HTTP/2: what an endpoint says, in pieces, to an owner that has asked it.

import FuzzSupport
import WeirHTTP

/// Makes a few requests, and keeps the books on what the session tells of their answers.
final class Asker: H2Owner {
    private enum Stage { case interim, body, ended, closed }

    private static let calls = 4

    private let workspace: H2Session.Workspace
    private var session: H2Session?
    private var stages = [Stage](repeating: .interim, count: calls)
    private(set) var heads: [[UInt8]] = []
    private(set) var bodyBytes = 0
    private(set) var isSound = true
    private var sent = 0

    init(_ workspace: H2Session.Workspace) {
        self.workspace = workspace
        session = H2Session(client: self, H2Session.Settings(), workspace)
        require(session != nil, "there is memory for a session")
        for number in 1...Self.calls { ask(number) }
        require(session?.send() == true, "requests can be sent")
    }

    private func ask(_ number: Int) {
        let pairs: [(H2Fields.Known, StaticString)] = [
            (.method, number == 1 ? "HEAD" : "GET"), (.scheme, "http"), (.path, "/"),
            (.authority, "a"),
        ]
        workspace.fields.removeAll()
        for (name, value) in pairs { workspace.fields.add(name, value.bytes) }
        guard let attached = UnsafeMutableRawPointer(bitPattern: number) else { return }
        let id = session?.request(attached, hasBody: false) ?? 0
        require(id > 0, "there are streams for a few requests")
    }

    func receive(
        _ input: [UInt8], cuts: [Int], into memory: borrowing GuardedMemory
    ) {
        guard let session else { return }
        var start = 0
        for end in cuts {
            let piece = input.withUnsafeBytes { bytes in
                UnsafeRawBufferPointer(
                    memory.place(UnsafeRawBufferPointer(rebasing: bytes[start..<end])))
            }
            let verdict = session.receive(piece, second: 0)
            start = end
            if verdict != .sound {
                isSound = false
                return session.terminate(.enhanceYourCalm)
            }
        }
        for _ in 0..<64 where session.send() {}
        require(sent < 1 << 20, "what is said to \(input.count) bytes has an end")
    }

    /// The call's number in the books.
    private func index(_ attached: H2Attachment) -> Int { Int(bitPattern: attached) - 1 }

    // MARK: What the session tells

    func responseArrived(_ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        let call = index(attached)
        require(stages[call] == .interim, "an answer has one final head")
        heads.append(Array(text))
        var head = ResponseHead(maxFields: 200)
        let limits = HeadLimits(maxBytes: 1 << 20, maxFields: 200, maxTargetBytes: 0)
        let step = H1Parser.parseResponse(
            text, seen: 0, method: call == 0 ? .head : .get, limits: limits, into: &head)
        switch step {
        case .needsMore: finding("broken: a head is whole")
        case .malformed: break
        case .complete:
            require(head.length == text.count, "one head, and nothing behind it")
            if !head.isInterim { stages[call] = .body }
        }
    }

    func expectsTrailers(_ attached: H2Attachment) -> Bool { stages[index(attached)] == .body }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        session?.reset(id, .protocolError)
    }

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {
        bodyBytes += bytes.count
        if let attached {
            require(stages[index(attached)] != .closed, "a body is an open stream's")
        }
        session?.consumeConnection(bytes.count)
        session?.consumeStream(id, bytes.count)
    }

    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {
        guard let attached else { return }
        require(stages[index(attached)] != .ended, "an answer ends once")
        stages[index(attached)] = .ended
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        guard let attached else { return }
        require(stages[index(attached)] != .closed, "a stream closes once")
        stages[index(attached)] = .closed
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {}
    // As of a client: what comes behind is read or not as the cuts have it.
    func goingAway() { isSound = false }

    // MARK: What it asks

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        H2Body(count: 0, isLast: true)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] { [] }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool {
        sent += bytes.count
        return true
    }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        finding("broken: requests without bodies have none")
    }
}
