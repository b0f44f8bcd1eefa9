// Status lines, and where a response's body ends.

import Testing
import WeirHTTP

@Suite struct ResponseTests {
    @Test func `reads version, status and reason`() throws {
        let read = try #require(readResponse("HTTP/1.1 404 Not  Found\r\nX: 1\r\n\r\nrest").head)
        #expect(read.status == 404)
        #expect(read.reason == "Not  Found")
        #expect(read.minorVersion == 1)
        #expect(read.fields.map(\.name) == ["X"])
        #expect(read.length == 33)
    }

    @Test(arguments: [
        ("200", ""), ("200 ", ""), ("200  ", " "), ("200 \u{e9}\t", "\u{e9}\t"), ("599 x", "x"),
        ("100 Continue", "Continue"),
    ])
    func `a reason may be empty`(status: String, reason: String) {
        #expect(readResponse(response(status: status)).head?.reason == reason)
    }

    @Test(arguments: [
        ("HTTP/1.1 099 x\r\n", Malformed.status), ("HTTP/1.1 600 x\r\n", .status),
        ("HTTP/1.1 999 x\r\n", .status), ("HTTP/1.1 20 x\r\n", .status),
        ("HTTP/1.1 2000 x\r\n", .status), ("HTTP/1.1 20x\r\n", .status),
        ("HTTP/1.1  200 x\r\n", .status), ("HTTP/1.1 \r\n", .status),
        ("HTTP/1.1 -20 x\r\n", .status), ("HTTP/1.1 200\tx\r\n", .status),
        ("HTTP/1.1\r\n", .startLine), ("HTTP/1.1\t200 x\r\n", .startLine),
        ("HTTP/1.1 200 a\u{1}\r\n", .startLine), ("HTTP/1.1 200 a\0\r\n", .startLine),
        ("http/1.1 200 x\r\n", .startLine), ("HTTP/1 200 OK\r\n", .startLine),
        ("\r\nHTTP/1.1 200 OK\r\n", .startLine), ("GET / HTTP/1.1\r\n", .startLine),
        ("HTTP/2.0 200 x\r\n", .version), ("HTTP/1.2 200 x\r\n", .version),
        ("HTTP/1.1 200 x\n", .lineEnding), ("HTTP/1.1 200\n", .lineEnding),
        ("HTTP/1.1 200 x\rY", .lineEnding), ("hello\r\n", .startLine),
    ])
    func `refuses a broken status line`(text: String, fault: Malformed) {
        #expect(readResponse(text).fault == fault)
    }

    @Test func `every status from 100 to 599 is one`() {
        for status in 0...999 {
            let digits = String(repeating: "0", count: 3 - "\(status)".count) + "\(status)"
            let read = readResponse(response("X: y", status: "\(digits) x"))
            #expect(read.head?.status == (100...599 ~= status ? status : nil))
        }
    }

    @Test func `a body ends where the framing says, or with the connection`() throws {
        let sized = try #require(readResponse(response("Content-Length: 5")).head)
        #expect(sized.framing == .length(5))
        #expect(sized.declaredLength == 5)
        #expect(sized.isPersistent)
        let empty = try #require(readResponse(response("Content-Length: 0")).head)
        #expect(empty.framing == .none)
        #expect(empty.declaredLength == 0)
        #expect(empty.isPersistent)
        let chunked = try #require(readResponse(response("Transfer-Encoding: Chunked")).head)
        #expect(chunked.framing == .chunked)
        #expect(chunked.declaredLength == -1)
        let open = try #require(readResponse(response("Connection: keep-alive")).head)
        #expect(open.framing == .untilClose)
        #expect(!open.isPersistent)
    }

    @Test func `no body follows an answer to HEAD, 1xx, 204 and 304`() throws {
        for (status, method) in [
            ("200 x", Method.head), ("304 x", .get), ("404 x", .head), ("304 x", .head),
        ] {
            let sized = readResponse(response("Content-Length: 9", status: status), to: method)
            #expect(sized.head?.framing == BodyFraming.none)
            #expect(sized.head?.declaredLength == 9)
            #expect(sized.head?.isPersistent == true)
            let coded = readResponse(
                response("Transfer-Encoding: chunked", status: status), to: method)
            #expect(coded.head?.framing == BodyFraming.none)
            let bare = readResponse(response("X: y", status: status), to: method)
            #expect(bare.head?.framing == BodyFraming.none)
            #expect(bare.head?.isPersistent == true)
        }
        for status in ["100 x", "101 x", "103 x", "199 x", "204 x"] {
            let bare = readResponse(response("X: y", status: status))
            #expect(bare.head?.framing == BodyFraming.none)
            let zero = readResponse(response("Content-Length: 0", status: status))
            #expect(zero.head?.framing == BodyFraming.none)
            let sized = readResponse(response("Content-Length: 5", status: status))
            #expect(sized.fault == .contentLength)
            let coded = readResponse(response("Transfer-Encoding: chunked", status: status))
            #expect(coded.fault == .transferEncoding)
        }
    }

    @Test func `refuses contradictions, also where no body follows`() {
        for method in [Method.get, .head] {
            let both = response("Content-Length: 5", "Transfer-Encoding: chunked")
            #expect(readResponse(both, to: method).fault == .lengthAndEncoding)
            let twice = response("Content-Length: 5", "Content-Length: 5")
            #expect(readResponse(twice, to: method).fault == .contentLength)
            let old = response("Transfer-Encoding: chunked", version: "1.0")
            #expect(readResponse(old, to: method).fault == .transferEncoding)
        }
    }

    @Test(arguments: [
        ("1.1", "keep-alive", true), ("1.1", "close", false), ("1.1", "x", true),
        ("1.0", "keep-alive", true), ("1.0", "x", false), ("1.0", "close", false),
    ])
    func `knows whether the endpoint keeps the connection`(
        version: String, option: String, persists: Bool
    ) {
        let text = response("Content-Length: 1", "Connection: \(option)", version: version)
        #expect(readResponse(text).head?.isPersistent == persists)
    }

    @Test func `an interim response is one that another follows`() {
        for (status, isInterim) in [(100, true), (101, false), (103, true), (200, false)] {
            var head = ResponseHead(maxFields: 1)
            let bytes = [UInt8](response(status: "\(status) x").utf8)
            let step = bytes.withUnsafeBytes {
                H1Parser.parseResponse(
                    $0, seen: 0, method: .get, limits: ordinaryLimits, into: &head)
            }
            #expect(step == .complete)
            #expect(head.isInterim == isInterim)
        }
    }

    @Test func `fields that mean something in a request only are passed on`() throws {
        let read = try #require(
            readResponse(response("Host: a b", "Expect: x", "Host: c", "Content-Length: 0")).head)
        #expect(read.fields.count == 4)
        #expect(read.fields.allSatisfy { !$0.isHopByHop })
    }

    @Test func `an origin may name Transfer-Encoding in Connection, but no other such field`() {
        #expect(
            readResponse(
                response("Connection: Transfer-Encoding", "Transfer-Encoding: chunked")
            ).head?.framing == .chunked)
        #expect(readResponse(response("Connection: Set-Cookie")).fault == .connectionField)
    }
}
