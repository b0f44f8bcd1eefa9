// Heads as HPACK has them, read by nghttp2.

import CNghttp2
import Testing

@testable import WeirHTTP

private struct Field: Equatable, CustomStringConvertible {
    var name: String
    var value: String
    /// Nobody may keep it.
    var isSecret = false

    var description: String { "\(name): \(value)\(isSecret ? " (secret)" : "")" }
}

/// The fields of a block, which is whole.
private func read(_ block: [UInt8]) throws -> [Field] {
    var made: OpaquePointer?
    try #require(nghttp2_hd_inflate_new(&made) == 0)
    let inflater = try #require(made)
    defer { nghttp2_hd_inflate_del(inflater) }
    var fields: [Field] = []
    var at = 0
    while true {
        var pair = nghttp2_nv()
        var flags: Int32 = 0
        let taken = block.withUnsafeBufferPointer {
            nghttp2_hd_inflate_hd2(
                inflater, &pair, &flags, $0.baseAddress.map { $0 + at }, block.count - at, 1)
        }
        try #require(taken >= 0, "nghttp2 says \(taken) at \(at) of \(block)")
        at += taken
        if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
            fields.append(
                Field(
                    name: text(pair.name, pair.namelen), value: text(pair.value, pair.valuelen),
                    isSecret: pair.flags & UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) != 0))
        }
        if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 { break }
        try #require(taken > 0 || flags != 0)
    }
    #expect(nghttp2_hd_inflate_get_num_table_entries(inflater) == 61, "nothing is kept")
    return fields
}

private func text(_ start: UnsafeMutablePointer<UInt8>?, _ count: Int) -> String {
    String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
}

private func withBytes<Result>(
    _ text: String, _ body: (UnsafeRawBufferPointer) throws -> Result
) rethrows -> Result { try Array(text.utf8).withUnsafeBytes(body) }

extension H2Fields {
    func add(_ name: String, _ value: String) {
        withBytes(name) { name in withBytes(value) { add(name, $0) } }
    }

    func add(_ name: Known, _ value: String) { withBytes(value) { add(name, $0) } }

    fileprivate var bytes: [UInt8] { Array(block) }
}

/// All of RFC 7541's appendix A that have a name of their own, with the number of the first.
private let numbered: [(Int, String)] = zip(
    15...,
    [
        "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept",
        "access-control-allow-origin", "age", "allow", "authorization", "cache-control",
        "content-disposition", "content-encoding", "content-language", "content-length",
        "content-location", "content-range", "content-type", "cookie", "date", "etag", "expect",
        "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "last-modified", "link", "location", "max-forwards",
        "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after",
        "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent",
        "vary", "via", "www-authenticate",
    ]
).map { ($0, $1) }

private let secrets: Set = ["authorization", "cookie", "proxy-authorization", "set-cookie"]

@Suite("Heads of HTTP/2 that are sent")
struct H2FieldsTests {
    @Test("a name that the static table has is its number, in whatever case", arguments: numbered)
    func numbers(number: Int, name: String) throws {
        for spelled in [name, name.uppercased()] {
            let fields = H2Fields()
            fields.add(spelled, "v")
            let kind: UInt8 = secrets.contains(name) ? 0x10 : 0
            #expect(
                fields.bytes
                    == [kind | 15, UInt8(number - 15), 1, UInt8(ascii: "v")])
            #expect(
                try read(fields.bytes)
                    == [Field(name: name, value: "v", isSecret: secrets.contains(name))])
        }
    }

    @Test(
        "a name that only looks like one is spelled",
        arguments: [
            "dat", "datf", "xate", "dxte", "date-", "via_", "eta", "set-cookies", "a", "ab",
        ])
    func others(name: String) throws {
        let fields = H2Fields()
        fields.add(name, "v")
        #expect(fields.bytes.prefix(2) == [0, UInt8(name.utf8.count)])
        #expect(try read(fields.bytes) == [Field(name: name, value: "v")])
    }

    @Test("what the static table has whole is one byte")
    func wholes() throws {
        let known: [(H2Fields.Known, String, String, Int)] = [
            (.method, ":method", "GET", 2), (.method, ":method", "POST", 3),
            (.path, ":path", "/", 4), (.scheme, ":scheme", "http", 6),
            (.scheme, ":scheme", "https", 7), (.status, ":status", "200", 8),
            (.status, ":status", "204", 9), (.status, ":status", "206", 10),
            (.status, ":status", "304", 11), (.status, ":status", "400", 12),
            (.status, ":status", "404", 13), (.status, ":status", "500", 14),
        ]
        for (name, spelled, value, number) in known {
            let fields = H2Fields()
            fields.add(name, value)
            #expect(fields.bytes == [0x80 | UInt8(number)])
            #expect(try read(fields.bytes) == [Field(name: spelled, value: value)])
        }
    }

    @Test("other values of known names are spelled behind the number")
    func known() throws {
        let known: [(H2Fields.Known, String, String)] = [
            (.method, ":method", "GETS"), (.method, ":method", "get"), (.path, ":path", "/x?y"),
            (.scheme, ":scheme", "HTTP"), (.status, ":status", "201"), (.status, ":status", "503"),
            (.authority, ":authority", "a.test:8080"), (.contentLength, "content-length", "5"),
            (.userAgent, "user-agent", "me"), (.via, "via", "1.1 weir"),
        ]
        let fields = H2Fields()
        for (name, _, value) in known { fields.add(name, value) }
        #expect(try read(fields.bytes) == known.map { Field(name: $1, value: $2) })
    }

    @Test("nghttp2 is told of a request whose answer has no body, or is a tunnel")
    func method() {
        let fields = H2Fields()
        for (method, told) in [("HEAD", "HEAD"), ("CONNECT", "CONNECT"), ("PUT", "GET")] {
            fields.add(.method, method)
            #expect("\(fields.method)" == told)
        }
        fields.removeAll()
        #expect("\(fields.method)" == "GET")
        #expect(fields.bytes.isEmpty)
    }

    @Test(
        "lengths of any size",
        arguments: [0, 1, 126, 127, 128, 254, 255, 16_383, 16_510, 16_511, 60_000])
    func lengths(length: Int) throws {
        let long = String(repeating: "x", count: length)
        let fields = H2Fields()
        fields.add("etag", long)
        fields.add("x-" + long, "v")
        fields.add("x-\(length)" as String, long)
        let expected = [("etag", long), ("x-" + long, "v"), ("x-\(length)", long)]
        #expect(try read(fields.bytes) == expected.map { Field(name: $0, value: $1) })
    }

    @Test("lines are fields, without the blanks around their values")
    func lines() throws {
        let fields = H2Fields()
        withBytes("Date: now\r\nX-One:  1 \r\nX-None:\r\n") { fields.add(lines: $0) }
        let expected = [("date", "now"), ("x-one", "1"), ("x-none", "")]
        #expect(try read(fields.bytes) == expected.map { Field(name: $0, value: $1) })
    }

    @Test("any fields at all", arguments: 0..<200)
    func any(seed: Int) throws {
        var chance = SeededNumbers(seed: UInt64(seed))
        let tchars = Array("!#$%&'*+-.^_`|~09azAZmM".unicodeScalars)
        let fields = H2Fields()
        var expected: [Field] = []
        for _ in 0..<Int.random(in: 0..<40, using: &chance) {
            var name = ""
            for _ in 0..<Int.random(in: 1..<30, using: &chance) {
                name.unicodeScalars.append(tchars.randomElement(using: &chance) ?? "a")
            }
            if Bool.random(using: &chance), let known = numbered.randomElement(using: &chance) {
                name = known.1
            }
            let value = String(
                repeating: "v", count: Int.random(in: 0..<300, using: &chance))
            fields.add(name, value)
            let lower = name.lowercased()
            expected.append(
                Field(name: lower, value: value, isSecret: secrets.contains(lower)))
        }
        #expect(try read(fields.bytes) == expected)
    }
}
