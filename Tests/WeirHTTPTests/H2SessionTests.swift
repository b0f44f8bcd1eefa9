// Two sessions that speak with each other, in pieces and with pauses: each head must arrive as it
// was sent, on its own stream.

import Testing

@testable import WeirHTTP

/// One side; what it sends waits in `sent` for the other.
private class Side: H2Owner {
    let workspace = H2Session.Workspace()
    var session: H2Session?
    var chance: SeededNumbers
    var sent: [UInt8] = []
    /// Streams of which there is a body to send, with trailers or without.
    var bodies: [Int32: (count: Int, trailers: String?)] = [:]
    /// How often of ten there is no room.
    let stubbornness: Int

    init(seed: UInt64, stubbornness: Int) {
        chance = SeededNumbers(seed: seed)
        self.stubbornness = stubbornness
    }

    /// Fields whose values tell the stream and the turn, some of which need several frames.
    func fields(_ text: String) -> [(String, String)] {
        let length = Bool.random(using: &chance) ? 20 : Int.random(in: 0..<40_000, using: &chance)
        return [("x-what", text), ("x-long", String(repeating: "l", count: length))]
    }

    func gather(_ first: [(H2Fields.Known, String)], _ fields: [(String, String)]) {
        workspace.fields.removeAll()
        for (name, value) in first { workspace.fields.add(name, value) }
        for (name, value) in fields { workspace.fields.add(name, value) }
    }

    func take(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { session?.receive($0, second: 0) } == .sound
    }

    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool) {
        bodies[id] = nil
    }

    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        Issue.record("a head is refused: \(problem)")
    }

    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed) {
        Issue.record("a message is broken: \(problem)")
    }

    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer) {
        session?.consume(id, bytes.count)
    }

    func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool) {}
    func responseArrived(
        _ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool
    ) {}
    func expectsTrailers(_ attached: H2Attachment) -> Bool { false }
    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {}
    func goingAway() {}

    func id(_ attached: H2Attachment) -> Int32 { Int32(Int(bitPattern: attached)) }

    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body {
        guard let body = bodies[id(attached)] else { return H2Body(count: 0, isLast: false) }
        let count = min(limit, body.count)
        return H2Body(
            count: count, isLast: count == body.count, hasTrailers: body.trailers != nil)
    }

    func trailersToSend(_ attached: H2Attachment) -> [UInt8] {
        Array((bodies[id(attached)]?.trailers ?? "").utf8)
    }

    func put(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard Int.random(in: 0..<10, using: &chance) >= stubbornness else { return false }
        sent += bytes
        return true
    }

    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool {
        guard put(head) else { return false }
        sent += [UInt8](repeating: 7, count: length)
        bodies[id(attached)]?.count -= length
        return true
    }
}

/// Answers each request with what it asked: interim heads, a head, a body, trailers.
private final class Answering: Side {
    private var waiting: [(Int32, String)] = []

    override func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool) {
        session?.attach(UnsafeMutableRawPointer(bitPattern: Int(id)), to: id)
        let line = String(decoding: text, as: UTF8.self).prefix { $0 != "\r\n" }
        waiting.append((id, String(line.split(separator: " ")[1])))
    }

    override func streamClosed(
        _ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool
    ) {
        super.streamClosed(id, attached, code: code, isPeers: isPeers)
        waiting.removeAll { $0.0 == id }
    }

    /// Answers some of the requests, in any order.
    func answer() {
        waiting.shuffle(using: &chance)
        while let (id, path) = waiting.popLast() {
            answer(id, path)
            if Int.random(in: 0..<4, using: &chance) == 0 { break }
        }
    }

    private func answer(_ id: Int32, _ path: String) {
        for number in 0..<Int.random(in: 0..<3, using: &chance) {
            gather([(.status, "103")], fields("\(path) interim \(number)"))
            #expect(session?.inform(id) == true)
        }
        gather([(.status, "200")], fields("\(path) head"))
        let hasBody = Bool.random(using: &chance)
        if hasBody {
            let trailers = Bool.random(using: &chance) ? "x-what: \(path) trailers\r\n" : nil
            bodies[id] = (Int.random(in: 0..<50_000, using: &chance), trailers)
        }
        #expect(session?.respond(id, hasBody: hasBody) == true)
        if Int.random(in: 0..<10, using: &chance) == 0 { session?.reset(id, .cancel) }
    }
}

/// Asks, and looks whether what comes belongs to what was asked.
private final class Asking: Side {
    private(set) var asked = 0
    private(set) var answered = 0
    private var paths: [Int32: String] = [:]
    private var heads: Set<Int32> = []

    func ask() {
        asked += 1
        let path = "/\(asked)"
        gather(
            [(.method, "POST"), (.scheme, "http"), (.authority, "a"), (.path, path)], fields(path))
        let hasBody = Bool.random(using: &chance)
        let next = Int32(asked * 2 - 1)
        guard let attached = UnsafeMutableRawPointer(bitPattern: Int(next)) else { return }
        #expect(session?.request(attached, hasBody: hasBody) == next)
        paths[next] = path
        if hasBody { bodies[next] = (Int.random(in: 0..<50_000, using: &chance), nil) }
        if Int.random(in: 0..<10, using: &chance) == 0 { session?.reset(next, .cancel) }
    }

    override func responseArrived(
        _ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool
    ) {
        let text = String(decoding: text, as: UTF8.self)
        let path = paths[id(attached)] ?? "none"
        if text.hasPrefix("HTTP/1.1 103") {
            #expect(!heads.contains(id(attached)))
            #expect(text.contains("x-what: \(path) interim "))
        } else {
            #expect(text.contains("x-what: \(path) head\r\n"))
            heads.insert(id(attached))
            answered += 1
        }
    }

    override func expectsTrailers(_ attached: H2Attachment) -> Bool { heads.contains(id(attached)) }

    override func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8]) {
        guard !trailers.isEmpty else { return }
        let text = String(decoding: trailers, as: UTF8.self)
        #expect(text == "x-what: \(paths[id] ?? "none") trailers\r\n")
    }
}

@Suite("Sessions of HTTP/2")
struct H2SessionTests {
    @Test("each head arrives on its stream, in whatever pieces it leaves", arguments: 0..<60)
    func heads(seed: Int) throws {
        var chance = SeededNumbers(seed: UInt64(seed))
        let stubbornness = [0, 3, 8][seed % 3]
        let client = Asking(seed: UInt64(seed) + 1000, stubbornness: stubbornness)
        let server = Answering(seed: UInt64(seed) + 2000, stubbornness: stubbornness)
        var settings = H2Session.Settings()
        // Most of the requests have to wait for others.
        settings.maxStreams = 5
        settings.maxHeadBytes = 128 << 10
        server.session = H2Session(server: server, settings, server.workspace)
        client.session = H2Session(client: client, settings, client.workspace)
        let (asking, answering) = try (#require(client.session), #require(server.session))
        for round in 0..<3000 {
            if round < 300, round % 10 == 0 { client.ask() }
            #expect(asking.send())
            try pass(from: client, to: server, &chance)
            server.answer()
            #expect(answering.send())
            try pass(from: server, to: client, &chance)
            if round == 200, seed % 4 == 0 { answering.refuseStreams() }
        }
        #expect(!asking.wantsToSend && !answering.wantsToSend)
        #expect(!asking.hasHeads && !answering.hasHeads, "no head waits for ever")
        #expect(client.asked == 30)
        #expect(client.answered > 5)
    }

    /// Hands over a part of what one has sent.
    private func pass(from: Side, to: Side, _ chance: inout SeededNumbers) throws {
        let count = Int.random(in: 0...from.sent.count, using: &chance)
        try #require(to.take(Array(from.sent.prefix(count))))
        from.sent.removeFirst(count)
    }
}
