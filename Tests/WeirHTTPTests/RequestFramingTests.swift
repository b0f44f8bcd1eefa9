// Where a request's body ends, and what of its connection is for this hop only.

import Testing
import WeirHTTP

@Suite struct RequestFramingTests {
    @Test(arguments: [
        ("0", BodyFraming.none), ("1", .length(1)), ("0005", .length(5)),
        ("9223372036854775807", .length(.max)), ("  7\t", .length(7)),
    ])
    func `reads a length`(value: String, framing: BodyFraming) {
        #expect(readRequest(request("Content-Length: \(value)")).head?.framing == framing)
    }

    @Test(arguments: [
        "", "+1", "-1", "1,1", "1, 1", "1 1", "0x1", "1a", "a", "1.0", "1e3", "9223372036854775808",
        "99999999999999999999", "00000000000000000001", "18446744073709551616", "\"1\"", "1;",
    ])
    func `refuses a length that is not digits alone`(value: String) {
        #expect(readRequest(request("Content-Length: \(value)")).fault == .contentLength)
        #expect(readResponse(response("Content-Length: \(value)")).fault == .contentLength)
    }

    @Test func `refuses a second length, also an equal one`() {
        for second in ["5", "6", "0"] {
            let lines = ["Content-Length: 5", "content-length: \(second)"]
            #expect(readRequest(request(lines[0], lines[1])).fault == .contentLength)
            #expect(readRequest(request(lines[1], lines[0])).fault == .contentLength)
        }
    }

    @Test(arguments: ["chunked", "CHUNKED", "Chunked", "  chunked  "])
    func `reads chunked`(value: String) {
        #expect(readRequest(request("Transfer-Encoding: \(value)")).head?.framing == .chunked)
    }

    @Test(arguments: [
        ("gzip, chunked", Malformed.unknownCoding), ("identity", .unknownCoding),
        ("gzip", .unknownCoding), ("xchunked", .unknownCoding), ("chunked;a=b", .unknownCoding),
        ("\"chunked\"", .unknownCoding), ("chunked chunked", .unknownCoding),
        ("chunke", .unknownCoding), ("chunkedd", .unknownCoding),
        ("chunked, chunked", .transferEncoding), ("chunked, gzip", .transferEncoding),
        ("chunked,", .transferEncoding), (", chunked", .transferEncoding), ("", .transferEncoding),
        (",", .transferEncoding), ("chunked, identity, chunked", .transferEncoding),
    ])
    func `refuses every other coding`(value: String, fault: Malformed) {
        #expect(readRequest(request("Transfer-Encoding: \(value)")).fault == fault)
        #expect(readResponse(response("Transfer-Encoding: \(value)")).fault == fault)
        #expect(Malformed.unknownCoding.statusCode == 501)
    }

    @Test func `refuses two statements about the body`() {
        let coding = "Transfer-Encoding: chunked"
        #expect(readRequest(request(coding, coding)).fault == .transferEncoding)
        #expect(readRequest(request(coding, "Content-Length: 0")).fault == .lengthAndEncoding)
        #expect(readRequest(request("Content-Length: 5", coding)).fault == .lengthAndEncoding)
        #expect(readRequest(request(coding, version: "1.0")).fault == .transferEncoding)
    }

    @Test func `framing is the same for every method`() {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
            let head = readRequest(request("Content-Length: 3", method: method)).head
            #expect(head?.framing == .length(3), "\(method)")
        }
    }

    @Test(
        arguments: [
            (nil, "1.1", true), (nil, "1.0", false), ("close", "1.1", false),
            ("Close", "1.1", false),
            ("keep-alive", "1.0", true), ("Keep-Alive", "1.0", true), ("keep-alive", "1.1", true),
            ("keep-alive, close", "1.1", false), ("close, keep-alive", "1.0", false),
            (" , close ,", "1.1", false), ("x-close", "1.1", true), ("closed", "1.1", true),
            ("", "1.1", true), ("x, keep-alive", "1.0", true),
        ] as [(String?, String, Bool)])
    func `knows whether the connection goes on`(
        option: String?, version: String, persists: Bool
    ) {
        let text =
            option.map { request("Connection: \($0)", version: version) }
            ?? request(version: version)
        #expect(readRequest(text).head?.isPersistent == persists)
    }

    @Test func `several Connection fields count together`() {
        #expect(
            readRequest(request("Connection: keep-alive", "Connection: close")).head?.isPersistent
                == false)
    }

    @Test func `marks what is for this hop only`() throws {
        let read = try #require(
            readRequest(
                request(
                    "Connection: X-Drop, close, TE, x-also, Trailer", "Keep-Alive: 5",
                    "Proxy-Connection: close", "TE: trailers", "Upgrade: x",
                    "Proxy-Authenticate: x", "Proxy-Authorization: x",
                    "Transfer-Encoding: chunked", "x-dROP: 1", "X-Also: 2", "X-Drop2: 3",
                    "Trailer: X", "Accept: y", "X_Forwarded_For: 1", "content_length: 3",
                    "X_Other: 1", "Cookie: z", "Authorization: a")
            ).head)
        #expect(
            read.fields.filter { !$0.isHopByHop }.map(\.name) == [
                "Host", "X-Drop2", "Accept", "X_Other", "Cookie", "Authorization",
            ])
        #expect(read.framing == .chunked)
        #expect(read.acceptsTrailers)
        let usual = try #require(readRequest(request("Trailer: X", "Content-Length: 1")).head)
        #expect(usual.fields.allSatisfy { !$0.isHopByHop })
    }

    @Test(arguments: [
        "Host", "content-length", "Transfer-Encoding", "Content-Type", "Expect", "Authorization",
        "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
        "X-Request-Id", "Via", "Cache-Control", "close, Host", "keep-alive,Cookie", "a b", "a;b",
        "\"close\"", "clo se", "\u{e9}", "close/1",
    ])
    func `refuses to drop what is meant for the origin`(option: String) {
        #expect(readRequest(request("Connection: \(option)")).fault == .connectionField)
    }

    @Test func `Connection may name sixteen fields and no more`() {
        let names = (1...16).map { "x\($0)" }.joined(separator: ",")
        #expect(readRequest(request("Connection: \(names)")).head != nil)
        #expect(
            readRequest(request("Connection: \(names)", "Connection: y")).fault == .connectionField)
    }

    @Test func `waits for a body only where one is announced`() {
        let expect = "Expect: 100-continue"
        #expect(
            readRequest(request(expect, "Content-Length: 5")).head?.expectsContinue == true)
        #expect(
            readRequest(request("expect: 100-CONTINUE", "Transfer-Encoding: chunked")).head?
                .expectsContinue == true)
        #expect(readRequest(request(expect)).head?.expectsContinue == false)
        #expect(
            readRequest(request(expect, "Content-Length: 5", version: "1.0")).head?
                .expectsContinue == false)
    }

    @Test(arguments: ["", "100", "101-continue", "100-continue, x", "200-ok"])
    func `refuses other expectations`(value: String) {
        #expect(
            readRequest(request("Expect: \(value)", "Content-Length: 5")).fault == .expectation)
        #expect(Malformed.expectation.statusCode == 417)
    }

    @Test(arguments: [
        (["Connection: upgrade", "Upgrade: websocket"], true),
        (["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"], true),
        (["Upgrade: websocket", "Connection: x", "Connection: UPGRADE"], true),
        (["Connection: upgrade", "Upgrade: websocket", "Content-Length: 0"], true),
        (["Upgrade: websocket"], false), (["Connection: upgrade"], false),
        (["Connection: upgrade", "Upgrade:"], false),
        (["Connection: upgrade", "Upgrade: websocket", "Content-Length: 1"], false),
        (["Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"], false),
        (["Connection: upgrade", "Upgrade: h2c"], false),
        (["Connection: upgrade", "Upgrade: H2C"], false),
        (["Connection: upgrade", "Upgrade: websocket, h2c"], false),
        (["Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"], false),
        (["Connection: upgrade", "Upgrade: h2c-14"], false),
    ])
    func `tunnels only a bodiless upgrade, and never to clear-text HTTP 2`(
        lines: [String], wants: Bool
    ) {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\(lines.joined(separator: "\r\n"))\r\n\r\n"
        #expect(readRequest(text).head?.wantsUpgrade == wants)
        let old = text.replacing("HTTP/1.1", with: "HTTP/1.0")
        #expect(readRequest(old).head?.wantsUpgrade != true)
    }

    @Test(arguments: ["web socket", "a;b", "\"x\"", "a=b"])
    func `refuses an upgrade to what is no protocol name`(value: String) {
        #expect(readRequest(request("Upgrade: \(value)")).fault == .upgrade)
    }
}
