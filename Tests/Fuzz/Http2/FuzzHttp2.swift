// Fuzzes both sides of HTTP/2: what follows the preface, in pieces, against an owner that answers
// every request, and the same as what an endpoint says.

import FuzzSupport
import WeirHTTP

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
nonisolated(unsafe) private let memory = GuardedMemory()
nonisolated(unsafe) private let workspace = H2Session.Workspace()

@c(LLVMFuzzerTestOneInput)
func fuzzHttp2(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    guard count <= 64 << 10 else { return 0 }
    let frames = Array(UnsafeBufferPointer(start: data, count: count))
    serve(preface + frames, bound: count)
    hear(frames)
    return 0
}

/// What an endpoint says means the same however it is cut.
private func hear(_ input: [UInt8]) {
    guard !input.isEmpty else { return }
    let whole = Asker(workspace)
    whole.receive(input, cuts: [input.count], into: memory)
    var choices = input.withUnsafeBytes { Choices($0) }
    let torn = Asker(workspace)
    torn.receive(input, cuts: choices.cuts(of: input.count), into: memory)
    guard whole.isSound, torn.isSound else { return }
    require(whole.heads == torn.heads, "the same answers, however the bytes are cut")
    require(max(whole.bodyBytes, torn.bodyBytes) <= input.count, "no more of bodies than came")
}

private func serve(_ input: [UInt8], bound count: Int) {
    let whole = Server(maxStreams: 8)
    whole.receive(input, cuts: [input.count])
    var choices = input.withUnsafeBytes { Choices($0) }
    let torn = Server(maxStreams: 8)
    torn.receive(input, cuts: choices.cuts(of: input.count))
    // Who asks for too much is judged after each piece.
    guard whole.isSound, torn.isSound else { return }
    require(whole.heads == torn.heads, "the same requests, however the bytes are cut")
    // Of a frame that turns out to be wrong, what came before that could be seen is handed on: of
    // bodies only their bound is known.
    require(max(whole.bodyBytes, torn.bodyBytes) <= count, "no more of bodies than came")
}

/// Answers each request with a short body, and keeps the books on what the session tells.
private final class Server: H2Owner {
    private var session: H2Session?
    private let maxStreams: Int
    private(set) var heads: [[UInt8]] = []
    private(set) var bodyBytes = 0
    private(set) var isSound = true
    private var open: Set<Int32> = []
    /// What is left to send of each answer.
    private var answers: [Int32: Int] = [:]
    private var sent = 0

    init(maxStreams: Int) {
        self.maxStreams = maxStreams
        var settings = H2Session.Settings()
        settings.maxStreams = maxStreams
        session = H2Session(server: self, settings, workspace)
        require(session != nil, "there is memory for a session")
    }

    func receive(_ input: [UInt8], cuts: [Int]) {
        guard let session else { return }
        var start = 0
        for end in cuts {
            let piece = input.withUnsafeBytes { bytes in
                UnsafeRawBufferPointer(
                    memory.place(UnsafeRawBufferPointer(rebasing: bytes[start..<end])))
            }
            let verdict = session.receive(piece, second: 0)
            start = end
            require(open.count <= maxStreams, "no more streams than are allowed")
            // All is sent after the last piece, so that it cannot change what the pieces mean.
            if verdict != .sound {
                isSound = false
                return session.terminate(.enhanceYourCalm)
            }
        }
        for _ in 0..<64 where session.send() { for id in open { session.resume(id) } }
        require(sent < 8 << 20, "an answer to \(input.count) bytes has an end")
    }

    // MARK: What the session tells

    func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        require(open.insert(id).inserted, "a stream has one head")
        heads.append(withoutKey(text))
        var head = RequestHead(maxFields: 200)
        let limits = HeadLimits(maxBytes: 1 << 20, maxFields: 200, maxTargetBytes: 1 << 16)
        switch H1Parser.parseRequest(text, seen: 0, limits: limits, into: &head) {
        case .needsMore: finding("broken: a head is whole")
        case .malformed: break
        case .complete: require(head.length == text.count, "one head, and nothing behind it")
        }
        session?.attach(UnsafeMutableRawPointer(bitPattern: Int(id)), to: id)
        workspace.fields.removeAll()
        "200".utf8.withContiguousStorageIfAvailable {
            workspace.fields.add(.status, UnsafeRawBufferPointer($0))
        }
        answers[id] = 10
        _ = session?.respond(id, hasBody: true)
    }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        if attached == nil { heads.append([problem.rawValue]) }
        session?.reset(id, .protocolError)
    }

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {
        require(attached == nil || open.contains(id), "a body belongs to an open stream")
        bodyBytes += bytes.count
        session?.consume(id, bytes.count)
    }

    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {
        require(attached == nil || open.contains(id), "an end belongs to an open stream")
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        if attached != nil { require(open.remove(id) != nil, "a stream closes once") }
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {}
    func pongArrived() {}
    // Who leaves and asks for nothing is not read any more, which the cuts decide.
    func goingAway() { isSound = false }
    func outputEnded(_ id: Int32, _ attached: H2Attachment) {}

    // MARK: What it asks

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        let count = min(limit, answers[id(attached)] ?? 0)
        return H2Body(count: count, isLast: count == answers[id(attached)] ?? 0)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] { [] }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool {
        sent += bytes.count
        return true
    }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        let left = answers[id(attached)] ?? 0
        require(length <= left, "no more of a body than there is")
        answers[id(attached)] = left - length
        sent += head.count + length
        return true
    }

    /// The head up to the key of a tunnel's handshake, which is another each time.
    private func withoutKey(_ text: UnsafeRawBufferPointer) -> [UInt8] {
        let mark = Array("\r\nsec-websocket-key".utf8)
        let bytes = Array(text)
        let end = bytes.indices.first { bytes[$0...].starts(with: mark) }
        return Array(bytes[..<(end ?? bytes.count)])
    }

    private func id(_ attached: H2Attachment) -> Int32 { Int32(Int(bitPattern: attached)) }
}
