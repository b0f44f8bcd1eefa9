// A head of HTTP/2 as text of HTTP/1.

import Testing

@testable import WeirHTTP

/// Lays a head out; what is wrong with it where it is refused.
private func text(
    _ fields: [(String, String)], _ kind: HeadText.Kind = .request, isEnd: Bool = true,
    limit: Int = 4096, pausingAfter pause: Int? = nil
) -> Result<String, Malformed> {
    var text = HeadText()
    text.begin(kind, limit: limit)
    for (index, field) in fields.enumerated() {
        if index == pause {
            let saved = text.save()
            text = HeadText()
            text.restore(saved)
        }
        Array(field.0.utf8).withUnsafeBytes { name in
            Array(field.1.utf8).withUnsafeBytes { text.take(name, $0) }
        }
    }
    return text.finish(isEnd: isEnd).map { String(decoding: $0, as: UTF8.self) }
}

private let get = [
    (":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y=1"),
]

/// The same with one field replaced, or added at the end.
private func get(_ name: String, _ value: String) -> [(String, String)] {
    get.filter { $0.0 != name } + [(name, value)]
}

@Suite("Heads of HTTP/2 as text")
struct HeadTextTests {
    @Test("a request has a line, its authority as host, its fields, and a framing for its body")
    func request() throws {
        let fields = get + [("accept", "*/*"), ("te", "trailers")]
        let head = "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nte: trailers\r\n"
        #expect(try text(fields).get() == head + "\r\n")
        #expect(try text(fields, isEnd: false).get() == head + "transfer-encoding: chunked\r\n\r\n")
        let sized = try text(fields + [("content-length", "5")], isEnd: false).get()
        #expect(sized == head + "content-length: 5\r\n\r\n")
    }

    @Test("pseudo fields come in any order")
    func order() throws {
        #expect(try text(get.reversed()).get() == text(get).get())
    }

    @Test("cookies become one field, wherever they stand", arguments: [nil, 5, 6, 7])
    func cookies(pause: Int?) throws {
        let fields = get + [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("x", "")]
        let head = "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nx: \r\n"
        #expect(
            try text(fields, pausingAfter: pause).get() == head + "cookie: a=1; b=2\r\n\r\n")
    }

    @Test("a host that says what the authority says is not written twice")
    func host() throws {
        #expect(try text(get + [("host", "A.test")]).get() == text(get).get())
        #expect(text(get + [("host", "b.test")]) == .failure(.hostInvalid))
        let bare = get.filter { $0.0 != ":authority" } + [("host", "b.test")]
        #expect(try text(bare).get() == "GET /x?y=1 HTTP/1.1\r\nhost: b.test\r\n\r\n")
    }

    @Test("a WebSocket is asked for as HTTP/1 does")
    func webSocket() throws {
        let connect = get(":method", "CONNECT") + [(":protocol", "websocket")]
        let head = try text(connect, isEnd: false).get()
        let start = "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\n"
        #expect(head.hasPrefix(start + "upgrade: websocket\r\nsec-websocket-key: "))
        #expect(head.hasSuffix("==\r\n\r\n") && head.utf8.count == start.utf8.count + 67)
        #expect(!head.contains("chunked"))
        #expect(text(get + [(":protocol", "websocket")]) == .failure(.startLine))
        let other = get(":method", "CONNECT") + [(":protocol", "connect-udp")]
        #expect(text(other) == .failure(.unknownProtocol))
    }

    private static let wrong: [([(String, String)], Malformed)] = {
        var cases: [([(String, String)], Malformed)] = []
        for (name, value, problem) in replaced { cases.append((get(name, value), problem)) }
        for (name, value, problem) in added { cases.append((get + [(name, value)], problem)) }
        return cases
    }()

    private static let replaced: [(String, String, Malformed)] = [
        (":path", "/x y", .target), (":path", "/x\r\nx: y", .target), (":path", "x", .target),
        (":path", "http://b.test/", .target), (":method", "GET /y HTTP/1.1", .method),
        (":method", "A\nB", .method), (":scheme", "ftp", .target),
        (":authority", "a\r\nb", .target),
    ]

    private static let added: [(String, String, Malformed)] = [
        ("x", "a\nb", .fieldValue), ("x", "a\0b", .fieldValue), ("x y", "a", .fieldName),
        ("x:", "a", .fieldName), ("", "a", .fieldName), ("connection", "close", .connectionField),
        ("transfer-encoding", "chunked", .connectionField), ("upgrade", "h2c", .connectionField),
        (":path", "/y", .startLine), (":status", "200", .startLine),
    ]

    @Test("no byte gets where its place in the text forbids it", arguments: wrong)
    func refused(fields: [(String, String)], problem: Malformed) {
        #expect(text(fields) == .failure(problem))
        #expect(text(fields, pausingAfter: fields.count - 1) == .failure(problem))
    }

    @Test("a pseudo field behind another is refused")
    func late() {
        #expect(text([("x", "y")]) == .failure(.method))
        let late = [(":method", "GET"), ("x", "y"), (":path", "/")]
        #expect(text(late) != text(get))
    }

    @Test("a head is bounded by its names and values and four a field")
    func bound() {
        let size = get.map { $0.0.utf8.count + $0.1.utf8.count + 4 }.reduce(0, +)
        #expect(text(get, limit: size) != .failure(.headTooLarge))
        #expect(text(get, limit: size - 1) == .failure(.headTooLarge))
        let crumbs = Array(repeating: ("cookie", String(repeating: "a", count: 60)), count: 2000)
        #expect(text(get + crumbs, limit: 1 << 20) == .failure(.headTooLarge))
    }

    @Test("a response has its status")
    func response() throws {
        let fields = [(":status", "204"), ("x", "y")]
        #expect(try text(fields, .response).get() == "HTTP/1.1 204 \r\nx: y\r\n\r\n")
        #expect(text([(":method", "GET")], .response) == .failure(.startLine))
    }

    @Test("trailers lose what belongs in a head")
    func trailers() throws {
        let kept = try text([("x-sum", "1"), ("content-length", "5")], .trailers).get()
        let lines = Array(kept.utf8).withUnsafeBytes { HeadText.trailers($0) }
        #expect(lines == Array("x-sum: 1\r\n".utf8))
        #expect(text([(":path", "/")], .trailers) == .failure(.startLine))
    }
}

@Suite("What tells a flood from use")
struct FrameBudgetTests {
    @Test("frames in vain use the credit up")
    func frames() {
        var budget = FrameBudget()
        budget.spend(frames: FrameBudget.mostFrames)
        #expect(!budget.isSpent)
        budget.spend(frames: 1)
        #expect(budget.isSpent)
        budget.earn(frames: 1)
        #expect(!budget.isSpent)
    }

    @Test("windows are opened on credit for what was sent, and else like other frames")
    func windows() {
        var budget = FrameBudget()
        budget.earn(bytes: 3000)
        for _ in 0..<2 + FrameBudget.mostFrames { budget.spendWindow() }
        #expect(!budget.isSpent)
        budget.spendWindow()
        #expect(budget.isSpent)
        budget.earn(frames: 1)
        budget.earn(bytes: .max / 2)
        budget.earn(bytes: .max / 2)
        for _ in 0..<1 << 16 { budget.spendWindow() }
        #expect(!budget.isSpent)
        for _ in 0...FrameBudget.mostFrames { budget.spendWindow() }
        #expect(budget.isSpent)
    }

    @Test("streams that are given up use the credit up, answers give it back")
    func resets() {
        var budget = FrameBudget()
        for _ in 0..<FrameBudget.mostResets { budget.spendReset() }
        #expect(!budget.isSpent)
        for _ in 0..<4 { budget.earnAnswer() }
        budget.spendReset()
        #expect(!budget.isSpent)
        budget.earnAnswer()
        budget.spendReset()
        #expect(budget.isSpent)
    }

    @Test("time gives credit back, but no more than there was")
    func time() {
        var budget = FrameBudget()
        budget.refill(now: 100)
        budget.spend(frames: FrameBudget.mostFrames + 1)
        budget.refill(now: 100)
        #expect(budget.isSpent)
        budget.refill(now: 101)
        #expect(!budget.isSpent)
        budget.refill(now: .max)
        budget.spend(frames: FrameBudget.mostFrames)
        #expect(!budget.isSpent)
        budget.spend(frames: 1)
        #expect(budget.isSpent)
    }
}
