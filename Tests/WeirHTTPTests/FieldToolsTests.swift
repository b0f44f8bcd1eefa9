// Known names, values, lists.

import Testing
import WeirHTTP

let knownNames: [(String, KnownField)] = [
    ("host", .host), ("connection", .connection), ("keep-alive", .keepAlive),
    ("proxy-connection", .proxyConnection), ("te", .te), ("trailer", .trailer),
    ("transfer-encoding", .transferEncoding), ("upgrade", .upgrade),
    ("content-length", .contentLength), ("content-type", .contentType), ("expect", .expect),
    ("date", .date), ("server", .server), ("via", .via), ("forwarded", .forwarded),
    ("x-request-deadline", .xRequestDeadline), ("x-weir-attempt", .xWeirAttempt),
    ("x-forwarded-for", .xForwardedFor), ("x-forwarded-proto", .xForwardedProto),
    ("x-forwarded-host", .xForwardedHost), ("x-request-id", .xRequestID),
    ("user-agent", .userAgent), ("authorization", .authorization),
    ("proxy-authenticate", .proxyAuthenticate), ("proxy-authorization", .proxyAuthorization),
    ("cookie", .cookie), ("set-cookie", .setCookie), ("location", .location), ("accept", .accept),
    ("cache-control", .cacheControl), ("retry-after", .retryAfter),
    ("x-forwarded-client-cert", .xForwardedClientCert),
]

private func recognise(_ name: [UInt8]) -> KnownField {
    name.withUnsafeBytes { bytes in
        bytes.baseAddress.map { FieldName.recognise($0, length: name.count) } ?? .other
    }
}

@Suite struct FieldNameTests {
    @Test(arguments: knownNames)
    func `knows a name in every letter case`(name: String, known: KnownField) {
        var numbers = SeededNumbers(seed: 3)
        #expect(recognise([UInt8](name.utf8)) == known)
        #expect(recognise([UInt8](name.uppercased().utf8)) == known)
        for _ in 0..<50 {
            let mixed = name.map { Bool.random(using: &numbers) ? $0.uppercased() : "\($0)" }
            #expect(recognise([UInt8](mixed.joined().utf8)) == known)
        }
    }

    @Test func `the table has every known field`() {
        var rawValue: UInt8 = 1
        while let field = KnownField(rawValue: rawValue) {
            #expect(knownNames.contains { $0.1 == field })
            rawValue += 1
        }
        #expect(Int(rawValue) == knownNames.count + 1)
    }

    @Test(arguments: knownNames.map(\.0))
    func `a name with one byte changed, left out or added is another name`(name: String) {
        let bytes = [UInt8](name.utf8)
        let tokens = [UInt8]("!#$%&'*+-.^_`|~0189azAZ".utf8)
        for index in bytes.indices {
            for token in tokens {
                var changed = bytes
                changed[index] = token
                let isSame = String(decoding: changed, as: UTF8.self).lowercased() == name
                #expect(isSame || recognise(changed) == .other, "\(changed)")
            }
            var shorter = bytes
            shorter.remove(at: index)
            #expect(recognise(shorter) == .other)
        }
        #expect(recognise(bytes + [UInt8(ascii: "s")]) == .other)
        #expect(recognise([UInt8(ascii: "x")] + bytes) == .other)
    }
}

@Suite struct FieldValueTests {
    private func equals(_ text: String, _ wanted: StaticString) -> Bool {
        [UInt8](text.utf8).withUnsafeBytes { FieldValue.equals($0, wanted) }
    }

    private func contains(_ list: String, _ token: StaticString) -> Bool {
        [UInt8](list.utf8).withUnsafeBytes { FieldValue.contains($0, token: token) }
    }

    @Test func `compares without regard to letter case, and to that only`() {
        #expect(equals("Chunked", "chunked"))
        #expect(equals("", ""))
        #expect(!equals("chunke", "chunked"))
        #expect(!equals("chunkedd", "chunked"))
        // Bytes that differ from a literal's by the case bit alone but are no letters.
        #expect(!equals("a\rb", "a-b"))
        #expect(!equals("@", "`"))
        #expect(!equals("[", "{"))
        #expect(!equals("\u{10}", "0"))
        let left = [UInt8]("X-A@".utf8)
        let right = [UInt8]("x-a@".utf8)
        let third = [UInt8]("x-a`".utf8)
        left.withUnsafeBytes { left in
            right.withUnsafeBytes { #expect(FieldValue.equals(left, $0)) }
            third.withUnsafeBytes { #expect(!FieldValue.equals(left, $0)) }
        }
    }

    @Test func `finds a token in a list, but no part of one`() {
        #expect(contains("a, Trailers ,b", "trailers"))
        #expect(contains("trailers", "trailers"))
        #expect(contains(",,\ttrailers\t", "trailers"))
        #expect(!contains("xtrailers, trailersx, trailers;q=1", "trailers"))
        #expect(!contains("", "trailers"))
        #expect(!contains(" , ,", "trailers"))
    }

    @Test func `trims blanks and finds prefixes`() {
        [UInt8](" \t a b\t ".utf8).withUnsafeBytes {
            #expect(Array(FieldValue.trimmed($0)) == Array("a b".utf8))
        }
        [UInt8](" \t ".utf8).withUnsafeBytes { #expect(FieldValue.trimmed($0).isEmpty) }
        [UInt8]("HTTP://x".utf8).withUnsafeBytes {
            #expect(FieldValue.hasPrefix($0, "http://"))
            #expect(!FieldValue.hasPrefix($0, "https://"))
        }
    }
}
