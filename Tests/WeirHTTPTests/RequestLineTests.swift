// The first line of a request: method, target, version.

import Testing
import WeirHTTP

@Suite struct RequestLineTests {
    @Test func `reads method, target and version into offsets`() throws {
        let read = try #require(
            readRequest("GET /a/b?c=d&e HTTP/1.1\r\nHost: example.com:8080\r\n\r\nrest").head)
        #expect(read.method == .get)
        #expect(read.methodName == "GET")
        #expect(read.target == "/a/b?c=d&e")
        #expect(read.path == "/a/b")
        #expect(read.query == "c=d&e")
        #expect(read.authority == "example.com:8080")
        #expect(read.host == "example.com")
        #expect(read.minorVersion == 1)
        #expect(read.framing == .none)
        #expect(read.isPersistent)
        #expect(read.length == 51)
    }

    @Test(arguments: [
        ("GET", Method.get), ("HEAD", .head), ("POST", .post), ("PUT", .put),
        ("DELETE", .delete), ("TRACE", .trace), ("PATCH", .patch), ("OPTIONS", .options),
        ("get", .other), ("GETS", .other), ("PURGE", .other), ("M-SEARCH", .other),
        ("!#$%&'*+-.^_`|~09azAZ", .other), (String(repeating: "M", count: 32), .other),
    ])
    func `knows methods by their exact name`(name: String, method: WeirHTTP.Method) {
        let read = readRequest("\(name) / HTTP/1.1\r\nHost: a\r\n\r\n").head
        #expect(read?.method == method)
        #expect(read?.methodName == name)
    }

    @Test(arguments: [
        ("G@T / HTTP/1.1\r\n", Malformed.method),
        ("GET\t/ HTTP/1.1\r\n", .method),
        ("GET", nil),
        ("GET\r\n", .method),
        ("G\u{e9}T / HTTP/1.1\r\n", .method),
        ("\(String(repeating: "M", count: 33)) / HTTP/1.1\r\n", .method),
        (String(repeating: "M", count: 33), .method),
        (" GET / HTTP/1.1\r\n", .startLine),
        ("\u{16}\u{3}\u{1}", .startLine),
        ("(", .startLine),
        ("\0", .startLine),
    ])
    func `refuses what is no method`(text: String, fault: Malformed?) {
        #expect(readRequest(text).fault == fault)
    }

    @Test(arguments: [
        ("GET  / HTTP/1.1\r\n", Malformed.startLine),
        ("GET /  HTTP/1.1\r\n", .startLine),
        ("GET / HTTP/1.1 \r\n", .startLine),
        ("GET /a b HTTP/1.1\r\n", .startLine),
        ("GET /\tHTTP/1.1\r\n", .target),
        ("GET /\r\n", .startLine),
        ("GET /\n", .startLine),
        ("GET / \r\n", .startLine),
        ("GET / HTTP\r\n", .startLine),
        ("GET / http/1.1\r\n", .startLine),
        ("GET / HTTP/1.1\n", .lineEnding),
        ("GET / HTTP/1.1\rX", .lineEnding),
        ("GET / HTTP/1.10\r\n", .startLine),
        ("GET / HTTP/11.1\r\n", .startLine),
        ("GET / HTTP/1,1\r\n", .startLine),
        ("GET / HTTP/1.x\r\n", .startLine),
        ("GET / HTTPS/1.1\r\n", .startLine),
        ("GET / HTTP/1.2\r\n", .version),
        ("GET / HTTP/2.0\r\n", .version),
        ("GET / HTTP/0.9\r\n", .version),
        ("GET / HTTP/3.0\r\n", .version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .version),
        ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", .target),
        ("GET /\0 HTTP/1.1\r\n", .target),
        ("GET /\u{7f} HTTP/1.1\r\n", .target),
        ("GET /\u{e9} HTTP/1.1\r\n", .target),
        ("GET /a#b HTTP/1.1\r\n", .target),
        ("GET /?#b HTTP/1.1\r\n", .target),
    ])
    func `refuses a broken request line`(text: String, fault: Malformed) {
        #expect(readRequest(text).fault == fault)
    }

    @Test func `every byte that a target may not hold is refused in every place`() {
        for byte in UInt8.min...UInt8.max {
            let isAllowed = byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: "#")
            for padding in [0, 7, 15, 16, 31, 40] {
                var bytes = [UInt8]("GET /?".utf8)
                bytes += [UInt8](repeating: UInt8(ascii: "a"), count: padding) + [byte]
                bytes += [UInt8]("zzzzzzzzzzzzzzzzzzzz HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
                #expect((readRequest(bytes).head != nil) == isAllowed, "byte \(byte) at \(padding)")
            }
        }
    }

    @Test func `one empty line before a request is skipped and counted`() throws {
        let read = try #require(readRequest("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").head)
        #expect(read.length == 29)
        #expect(read.methodName == "GET")
        #expect(readRequest("\r\n") == .needsMore)
        #expect(readRequest("\r") == .needsMore)
    }

    @Test(arguments: ["\r\n\r\nGET / HTTP/1.1\r\n", "\r\n ", "\r\n\n"])
    func `a second empty line is refused`(text: String) {
        #expect(readRequest(text).fault != nil)
    }

    @Test(arguments: ["\nGET / HTTP/1.1\r\n", "\rGET / HTTP/1.1\r\n"])
    func `an empty line needs both its bytes`(text: String) {
        #expect(readRequest(text).fault == .lineEnding)
    }

    @Test func `a target may be as long as the limit and no longer`() {
        let limits = HeadLimits(maxBytes: 4096, maxFields: 10, maxTargetBytes: 64)
        let longest = "/" + String(repeating: "a", count: 63)
        #expect(
            readRequest("GET \(longest) HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits).head != nil)
        #expect(
            readRequest("GET \(longest)a HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits).fault
                == .targetTooLong)
        // Not only when the line is complete, and also when the bytes trickle in.
        #expect(readRequest("GET \(longest)a", limits: limits).fault == .targetTooLong)
        let endless = "GET /" + String(repeating: "a", count: 200)
        #expect(
            readRequest(endless, limits: limits, cuts: Array(1..<endless.utf8.count)).fault
                == .targetTooLong)
        #expect(Malformed.targetTooLong.statusCode == 414)
    }
}
