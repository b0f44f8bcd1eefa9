// What exactly an endpoint reads for a request, and a client for a response.

import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
private let forwarded = [
    "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: a",
    "via: 1.1 weir",
]
private var trusting: ListenerSettings {
    var settings = ListenerSettings()
    settings.trusted = [.init(address: IPAddress(v4: 0x7F00_0000), bits: 96 + 8)]
    return settings
}

/// The head that the endpoint reads for a request.
private func sent(
    _ request: String, _ settings: ListenerSettings = ListenerSettings(),
    _ change: (inout Blueprint) -> Void = { _ in }
) throws -> String {
    let stand = try Stand(settings, change: change)
    let client = try stand.client()
    client.send(request)
    let origin = try stand.accept()
    let head = try stand.readHead(origin)
    origin.send(ok)
    _ = try stand.readHead(client)
    try stand.close(exchanges: 1)
    return head
}

/// All that the client reads for a response, up to `end`.
private func answered(
    _ response: String, to request: String = "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    upTo end: String = "\r\n\r\n", _ change: (inout Blueprint) -> Void = { _ in }
) throws -> String {
    let stand = try Stand(change: change)
    let client = try stand.client()
    client.send(request)
    let origin = try stand.accept()
    _ = try stand.readHead(origin)
    origin.send(response)
    origin.endSending()
    let answer = try stand.read(client, upTo: end)
    try stand.close(exchanges: 1)
    return answer
}

@Suite struct `The head that an endpoint reads` {
    @Test func `is the client's, without what concerned only the client's side`() throws {
        let head = try sent(
            "GET /x?y HTTP/1.1\r\nHost: a\r\nAccept: b\r\nConnection: close, x-own, keep-alive\r\n"
                + "X-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
                + "TE: gzip, trailers\r\nX-Kept: 2\r\nX-Kept: 3\r\nx_forwarded_for: 6.6.6.6\r\n"
                + "Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\n\r\n")
        #expect(
            head.headLines == [
                "GET /x?y HTTP/1.1", "host: a", "Accept: b", "X-Kept: 2", "X-Kept: 3",
            ]
                + forwarded + ["te: trailers", "connection: te"])
        #expect(head.contains("\r\nx-request-id: "))
    }

    @Test func `tells what a stranger said about itself from what weir knows`() throws {
        let request =
            "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n"
            + "x-forwarded-proto: https\r\nx-forwarded-host: z\r\nforwarded: for=6.6.6.6\r\n"
            + "x-request-id: abc-1\r\n\r\n"
        let strange = try sent(request)
        #expect(strange.headLines == ["GET / HTTP/1.1", "host: a"] + forwarded)
        #expect(!strange.contains("abc-1"))
        let trusted = try sent(request, trusting)
        #expect(
            trusted.headLines == [
                "GET / HTTP/1.1", "host: a", "x-forwarded-proto: https", "x-forwarded-host: z",
                "forwarded: for=6.6.6.6", "x-forwarded-for: 6.6.6.6, 7.7.7.7, 127.0.0.1",
                "via: 1.1 weir",
            ])
        #expect(trusted.contains("\r\nx-request-id: abc-1\r\n"))
    }

    @Test(arguments: [
        ("GET", "", []),
        ("POST", "", ["content-length: 0"]),
        ("DELETE", "", []),
        ("POST", "content-length: 0\r\n", ["content-length: 0"]),
        ("PUT", "transfer-encoding: chunked\r\n", ["transfer-encoding: chunked"]),
    ])
    func `frames its body anew`(method: String, fields: String, framing: [String]) throws {
        let head = try sent("\(method) / HTTP/1.1\r\nhost: a\r\n\(fields)\r\n") {
            $0.requestBuffer = 0
        }
        #expect(head.headLines == ["\(method) / HTTP/1.1", "host: a"] + forwarded + framing)
    }

    @Test func `of an HTTP 1_0 client is made HTTP 1_1`() throws {
        let lines = try sent("GET / HTTP/1.0\r\nx: y\r\n\r\n").headLines
        #expect(lines[0] == "GET / HTTP/1.1")
        #expect(lines[1].hasPrefix("host: 127.0.0.1:"))
        #expect(
            lines[2...] == [
                "x: y", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "via: 1.0 weir",
            ])
    }

    @Test(arguments: [
        ("/api", "/", "/api", "/"), ("/api", "/", "/api/", "/"), ("/api", "/", "/api/x", "/x"),
        ("/api", "/v2", "/api", "/v2"), ("/api", "/v2", "/api/", "/v2/"),
        ("/api", "/v2", "/api/x", "/v2/x"), ("/api", "/v2/", "/api/x", "/v2/x"),
        ("/api/", "/v2", "/api/x", "/v2/x"), ("/api/", "/", "/api/x", "/x"),
        ("/api/", "/v2/", "/api/x", "/v2/x"), ("/api/", "/v2", "/api/", "/v2"),
        ("/", "/v2", "/x", "/v2/x"), ("/", "/v2/", "/", "/v2/"),
        ("/api", "/v2", "/%61pi/x?/api", "/v2/x?/api"), ("/api", "/", "/api//x", "//x"),
    ])
    func `has its prefix rewritten`(
        prefix: String, rewrite: String, path: String, expected: String
    ) throws {
        let head = try sent("GET \(path) HTTP/1.1\r\nhost: a\r\n\r\n") {
            $0.prefix = prefix
            $0.prefixRewrite = rewrite
        }
        #expect(head.headLines[0] == "GET \(expected) HTTP/1.1")
    }

    @Test func `follows the cluster on the host`() throws {
        let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        let fixed = try sent(request) { $0.hostHeader = .fixed(Text("api.internal:81")) }
        #expect(fixed.headLines[1] == "host: api.internal:81")
        #expect(fixed.contains("x-forwarded-host: a\r\n"))
        let endpoint = try sent(request) { $0.hostHeader = .endpoint }
        #expect(endpoint.headLines[1].hasPrefix("host: 127.0.0.1:"))
    }

    @Test func `is edited by its route, weir's own fields included`() throws {
        let head = try sent("GET / HTTP/1.1\r\nhost: a\r\nX-Drop: 1\r\nX-Set: 1\r\n\r\n") {
            $0.requestEdits = FieldEdits(
                remove: ["x-drop", "via", "x-forwarded-host"],
                set: [("x-set", "2"), ("x-request-id", "mine"), ("x-forwarded-for", "none")])
        }
        #expect(
            head.headLines == [
                "GET / HTTP/1.1", "host: a", "x-forwarded-proto: http", "x-set: 2",
                "x-forwarded-for: none",
            ])
        #expect(head.components(ofEach: "x-request-id: ") == 1)
    }

    @Test func `is never cut, however large`() throws {
        var settings = trusting
        settings.headBytes = 64 << 10
        settings.headFields = 1000
        settings.targetBytes = 32 << 10
        var fields = (0..<990).map { "x-\($0):\($0)\r\n" }
        fields += ["x-forwarded-for:6.6.6.6\r\n", "x-forwarded-for:7.7.7.7\r\n", "te:trailers\r\n"]
        let host = String(repeating: "h", count: 9000)
        let path = "/" + String(repeating: "%61", count: 5000)
        let rewrite = "/" + String(repeating: "r", count: 2000)
        let fixed = String(repeating: "f", count: 60_000)
        let line = String(repeating: "v", count: 6000)
        let head = try sent(
            "GET \(path)?\(host) HTTP/1.1\r\nhost: \(host)\r\n\(fields.joined())\r\n", settings
        ) {
            $0.prefix = "/"
            $0.prefixRewrite = rewrite
            $0.hostHeader = .fixed(Text(fixed))
            $0.requestEdits = FieldEdits(set: [("x-long", line)])
        }
        let decoded = String(repeating: "a", count: 5000)
        #expect(head.hasPrefix("GET \(rewrite)/\(decoded)?\(host) HTTP/1.1\r\nhost: \(fixed)\r\n"))
        for index in 0..<990 { #expect(head.contains("\r\nx-\(index):\(index)\r\n")) }
        #expect(head.contains("\r\nx-forwarded-host: \(host)\r\n"))
        #expect(head.contains("\r\nx-forwarded-for: 6.6.6.6, 7.7.7.7, 127.0.0.1\r\n"))
        #expect(head.contains("\r\nx-long: \(line)\r\n"))
        #expect(head.hasSuffix("te: trailers\r\nconnection: te\r\n\r\n"))
    }

    @Test func `is refused rather than cut when it cannot be sent whole`() throws {
        var settings = ListenerSettings()
        settings.headBytes = 1 << 20
        let stand = try Stand(settings)
        let client = try stand.client()
        let value = String(repeating: "v", count: 600 << 10)
        client.send("GET / HTTP/1.1\r\nhost: a\r\nx: \(value)\r\n\r\n")
        let origin = try stand.accept()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 431 "))
        try stand.expectEnd(origin)
        #expect(origin.received.isEmpty)
        try stand.close(exchanges: 1)
    }
}

@Suite struct `The head that a client reads` {
    @Test func `is the endpoint's, without what concerned only its side`() throws {
        let answer = try answered(
            "HTTP/1.1 200 Fine\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: x-own\r\n"
                + "X-Own: 1\r\nServer: s\r\nKeep-Alive: 5\r\nX-Request-Id: theirs\r\n"
                + "Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n")
        #expect(
            answer.headLines == [
                "HTTP/1.1 200 Fine", "Date: Thu, 01 Jan 1970 00:00:00 GMT", "Server: s",
                "Set-Cookie: a", "Set-Cookie: b", "via: 1.1 weir", "content-length: 0",
            ])
        #expect(!answer.contains("theirs"))
    }

    @Test(arguments: [
        ("content-length: 2\r\n\r\nhi", "content-length: 2", "hi"),
        (
            "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "transfer-encoding: chunked",
            "2\r\nhi\r\n0\r\n\r\n"
        ),
        ("\r\nhi", "transfer-encoding: chunked", "2\r\nhi\r\n0\r\n\r\n"),
    ])
    func `frames its body anew`(rest: String, framing: String, body: String) throws {
        let answer = try answered("HTTP/1.1 200 OK\r\n" + rest, upTo: body)
        let lines = answer.headLines
        #expect(lines[..<3] == ["HTTP/1.1 200 OK", "via: 1.1 weir", framing])
        #expect(answer.hasSuffix("\r\n\r\n" + body))
        #expect(answer.contains("\r\ndate: "))
    }

    @Test func `keeps an HTTP 1_0 connection only where asked and possible`() throws {
        let request = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
        let length = try answered(ok, to: request)
        #expect(length.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(length.contains("connection: keep-alive\r\n"))
        let plain = try answered(ok, to: "GET / HTTP/1.0\r\n\r\n")
        #expect(plain.contains("connection: close\r\n"))
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        let open = try answered(chunked, to: request)
        #expect(open.contains("connection: close\r\n"))
        #expect(!open.contains("transfer-encoding"))
    }

    @Test func `is edited by its route, weir's own fields included`() throws {
        let edits = FieldEdits(
            remove: ["via", "server"],
            set: [("date", "never"), ("x-request-id", "mine"), ("content-type", "a/b")])
        let answer = try answered(
            "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: c/d\r\ncontent-length: 0\r\n\r\n"
        ) { $0.responseEdits = edits }
        #expect(answer.headLines == ["HTTP/1.1 200 OK", "content-type: a/b", "content-length: 0"])
        #expect(answer.components(ofEach: "date: ") == 1)
        #expect(answer.components(ofEach: "x-request-id: ") == 1)
    }

    @Test func `of weir itself is edited as well`() throws {
        let long = String(repeating: "t", count: 3000)
        let stand = try Stand {
            $0.action = .respond(
                status: 200, body: Text(String(repeating: "b", count: 65535)),
                contentType: Text(long))
        }
        let client = try stand.client()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let head = try stand.readHead(client)
        #expect(head.contains("content-type: \(long)\r\ncontent-length: 65535\r\n"))
        try stand.turn(until: "the body") { client.received.count == 65535 }
        try stand.adopt {
            $0.action = .respond(status: 200, body: Text("hi"), contentType: Text("a/b"))
            $0.responseEdits = FieldEdits(set: [("content-type", "c/d")])
        }
        _ = client.take(65535)
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let edited = try stand.readHead(client)
        #expect(edited.components(ofEach: "content-type: ") == 1)
        #expect(edited.contains("content-type: c/d\r\n"))
        try stand.close(exchanges: 2)
    }

    @Test func `is never cut, however large`() throws {
        let fields = (0..<190).map { "x-\($0):\(String(repeating: "v", count: 320))\r\n" }
        let line = String(repeating: "w", count: 9000)
        let answer = try answered(
            "HTTP/1.1 200 OK\r\n\(fields.joined())content-length:0\r\n\r\n"
        ) { $0.responseEdits = FieldEdits(set: [("x-long", line)]) }
        for field in fields { #expect(answer.contains(field)) }
        #expect(answer.contains("\r\nx-long: \(line)\r\n"))
        #expect(answer.hasSuffix("\r\ncontent-length: 0\r\n\r\n"))
    }

    @Test func `ends the connection rather than be cut when it cannot be sent whole`() throws {
        let stand = try Stand {
            $0.responseEdits = FieldEdits(
                set: [("x-long", String(repeating: "w", count: 520 << 10))])
        }
        let client = try stand.client()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        try stand.expectEnd(client)
        #expect(client.received.isEmpty, "the refusal would carry the same lines")
        #expect(stand.refusals(.upstreamProtocol) == 1)
        try stand.close(exchanges: 1)
    }
}

extension String {
    /// How often `part` occurs.
    fileprivate func components(ofEach part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
