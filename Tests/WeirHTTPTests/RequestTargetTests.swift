// The four forms of a target, and paths that servers read in different ways.

import Testing
import WeirHTTP

@Suite struct RequestTargetTests {
    private func read(_ target: String, method: String = "GET") -> Verdict<ReadRequest> {
        readRequest("\(method) \(target) HTTP/1.1\r\nHost: from-host:1\r\n\r\n")
    }

    @Test(arguments: [
        ("http://example.com/p?q", "example.com", "example.com", "/p", "q"),
        ("HTTP://example.com", "example.com", "example.com", "", ""),
        ("https://example.com:444/", "example.com:444", "example.com", "/", ""),
        ("http://[::1]:80?x/../y", "[::1]:80", "[::1]", "", "x/../y"),
        ("hTTps://a//b", "a", "a", "//b", ""),
    ])
    func `an absolute target names the authority, Host does not`(
        target: String, authority: String, host: String, path: String, query: String
    ) throws {
        let head = try #require(read(target).head)
        #expect(head.form == .absolute)
        #expect(head.authority == authority)
        #expect(head.host == host)
        #expect(head.path == path)
        #expect(head.query == query)
    }

    @Test(arguments: [
        "ftp://a/", "http:/a", "http:///p", "http://", "http://user@a/", "http://a:b@c/",
        "http://a:99999/", "http://a:/", "http://a:8x/", "https://[::1/", "http://a%2fb/",
        "http://a,b/", "http:a", "example.com", "example.com:80", "*", "a/b", "?q", "javascript:x",
    ])
    func `refuses every other form`(target: String) {
        #expect(read(target).fault == .target)
    }

    @Test func `an authority is for CONNECT only, with its port`() throws {
        let head = try #require(read("example.com:443", method: "CONNECT").head)
        #expect(head.form == .authority)
        #expect(head.host == "example.com")
        #expect(head.authority == "example.com:443")
        for target in ["example.com", "/", "*", "http://a/", "a:443/", "u@a:1"] {
            #expect(read(target, method: "CONNECT").fault == .target, "\(target)")
        }
    }

    @Test func `an asterisk is for OPTIONS only`() throws {
        #expect(try #require(read("*", method: "OPTIONS").head).form == .asterisk)
        #expect(read("*", method: "GET").fault == .target)
        #expect(read("**", method: "OPTIONS").fault == .target)
        #expect(read("/x", method: "OPTIONS").head?.form == .origin)
    }

    @Test(arguments: [
        "/.", "/..", "/./", "/../", "/a/./b", "/a/../b", "/a/..", "/a/.", "/%2e", "/%2E%2e/x",
        "/.%2e/x", "/a/%2e%2E", "/..;/admin", "/..;x=1/admin", "/.;", "/a/..%3bx/b",
        "/a%2f..%2fb", "/a/..%2Fb", "/..%5cb", "/a%5c..", "/a%2f.", "/a\\b", "/\\", "/%00",
        "/a%00b",
        "/%", "/%4", "/%4g", "/%g4", "/a%", "/%%41", "/%u0041", "http://a/../b", "http://a/%2e",
        "//..", "/a/b/../../..", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/%2e%2e/b",
    ])
    func `refuses a path that another server may resolve differently`(target: String) {
        #expect(read(target).fault == .target)
    }

    @Test(arguments: [
        "/.a", "/a.", "/...", "/..a", "/a..", "/a..b/", "/.well-known/x", "/a.b/c.html", "/%20",
        "/%2e%2e%2e", "/a%2fb", "/a%5cb", "/;a=1/b;c", "/%41", "/?..", "/?a=/../b", "/a?b\\c",
        "/?%zz", "/?%00", "/;..", "/a;../b", "//", "/{a}|b", "/a?", "/%c3%a9", "/.%2ea",
    ])
    func `passes a path that means one thing`(target: String) {
        #expect(read(target).head?.target == target)
    }
}
