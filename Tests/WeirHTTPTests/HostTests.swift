// Who is meant: `Host`, the authority of a target, and what neither may be.

import Testing
import WeirHTTP

@Suite struct HostTests {
    private func read(host: String) -> Verdict<ReadRequest> {
        readRequest("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n")
    }

    @Test(arguments: [
        ("a", "a"), ("example.com", "example.com"), ("example.com:80", "example.com"),
        ("EXAMPLE.com:65535", "EXAMPLE.com"), ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]", "[::1]"), ("[2001:db8::1]:8443", "[2001:db8::1]"),
        ("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]"), ("a_b-c.d~e", "a_b-c.d~e"),
        ("a!$&'()*+;=b", "a!$&'()*+;=b"), ("a:00080", "a"),
        (
            "a-name-of-more-than-sixteen-bytes.example.com:8080",
            "a-name-of-more-than-sixteen-bytes.example.com"
        ),
    ])
    func `reads host and port`(value: String, host: String) {
        let head = read(host: value).head
        #expect(head?.authority == value)
        #expect(head?.host == host)
    }

    @Test(arguments: [
        "", ":80", "a:", "a:65536", "a:123456", "a:8a", "a:-1", "a:80:80", "a b", "a,b", "a/b",
        "u@a", "a?b", "a#b", "a%2eb", "a\\b", "\"a\"", "<a>", "::1", "[::1", "[]", "[::1]x",
        "[::1]:", "[1:2]", "[g::1]", "[::1%25eth0]", "[v1.a:b:c]", "[1:2:3:4:5:6:7:8:9]", "a\u{e9}",
        "[::]]", "a\tb", "http://a",
    ])
    func `refuses a host that servers could read differently`(value: String) {
        #expect(read(host: value).fault == .hostInvalid)
        #expect(
            readRequest("GET / HTTP/1.0\r\nHost: \(value)\r\n\r\n").fault == .hostInvalid)
    }

    @Test func `HTTP 1_1 needs a host, HTTP 1_0 does not`() {
        #expect(readRequest("GET / HTTP/1.1\r\n\r\n").fault == .hostMissing)
        #expect(readRequest("GET http://a/ HTTP/1.1\r\n\r\n").fault == .hostMissing)
        let old = readRequest("GET / HTTP/1.0\r\n\r\n").head
        #expect(old?.authority == "")
        #expect(old?.host == "")
    }

    @Test(arguments: ["Host: a", "host: a", "HOST: b", "Host:"])
    func `a second host is refused, also an equal one`(line: String) {
        #expect(readRequest(request(line)).fault == .hostRepeated)
        #expect(readRequest(request(line, version: "1.0")).fault == .hostRepeated)
        #expect(
            readRequest("GET http://a/ HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n").fault
                == .hostRepeated)
    }

    @Test func `an absolute target beats the field, which must be well-formed all the same`() {
        let head = readRequest("GET http://b:1/ HTTP/1.1\r\nHost: a\r\n\r\n").head
        #expect(head?.authority == "b:1")
        #expect(head?.host == "b")
        #expect(
            readRequest("GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n").head?.host == "b")
        #expect(
            readRequest("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n").fault == .hostInvalid)
    }

    @Test func `nothing of an earlier request shows through`() {
        var head = RequestHead(maxFields: 10)
        let first = [UInt8](
            "POST http://b/p?q HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 1\r\n\r\n"
                .utf8)
        let second = [UInt8]("GET * HTTP/1.0\r\n\r\n".utf8)
        let third = [UInt8]("OPTIONS * HTTP/1.0\r\n\r\n".utf8)
        for (bytes, step) in [
            (first, ParseStep.complete), (second, .malformed(.target)), (third, .complete),
        ] {
            let read = bytes.withUnsafeBytes {
                H1Parser.parseRequest($0, seen: 0, limits: ordinaryLimits, into: &head)
            }
            #expect(read == step)
        }
        #expect(head.authority.isEmpty && head.host.isEmpty)
        #expect(head.path.isEmpty && head.query.isEmpty)
        #expect(head.fields.count == 0)
        #expect(head.framing == .none)
        #expect(!head.acceptsTrailers && !head.isPersistent && !head.wantsUpgrade)
        #expect(head.minorVersion == 0)
    }
}
