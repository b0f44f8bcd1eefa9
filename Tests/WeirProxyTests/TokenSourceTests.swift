// Which claim of a token is believed, and when: whatever the signature says is given here.

import Testing
import WeirTime

@testable import WeirProxy

/// Accepts the signature "yes", for the algorithm "X".
private struct MadeUpVerifier: TokenVerifier {
    func holds(
        signed: UnsafeRawBufferPointer, signature: UnsafeRawBufferPointer,
        algorithm: UnsafeRawBufferPointer
    ) -> Bool {
        signature.elementsEqual("yes".utf8) && algorithm.elementsEqual("X".utf8)
            && signed.contains(UInt8(ascii: "."))
    }
}

private func encoded(_ bytes: some Sequence<UInt8>) -> String {
    let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".unicodeScalars)
    var text = ""
    var bits: UInt32 = 0
    var held: UInt32 = 0
    for byte in bytes {
        bits = bits << 8 | UInt32(byte)
        held += 8
        while held >= 6 {
            held -= 6
            text.unicodeScalars.append(alphabet[Int(bits >> held & 63)])
        }
    }
    if held > 0 { text.unicodeScalars.append(alphabet[Int(bits << (6 - held) & 63)]) }
    return text
}

private func token(
    _ payload: String, header: String = #"{"alg":"X"}"#, signature: String = "yes"
) -> String {
    "\(encoded(header.utf8)).\(encoded(payload.utf8)).\(encoded(signature.utf8))"
}

private func claim(
    _ value: String, isVerified: Bool = true, at unixSeconds: Int64 = 1_000_000,
    issuer: String? = nil, audiences: [String] = []
) -> String? {
    let source = TokenSource(
        header: Text("authorization"), claim: Text("sub"),
        verifier: isVerified ? MadeUpVerifier() : nil,
        issuer: issuer.map { Text($0) }, audiences: audiences.map { Text($0) })
    var found: String?
    _ = Array(value.utf8).withUnsafeBytes { bytes in
        source.withClaim(of: bytes, at: unixSeconds) { claim in
            found = claim.map { String(decoding: $0, as: UTF8.self) }
            return true
        }
    }
    return found
}

@Suite struct `The claim of a token` {
    @Test func `is a string or a number, with or without the scheme`() {
        #expect(claim(token(#"{"sub":"ann"}"#)) == "ann")
        #expect(claim("Bearer " + token(#"{"sub":"ann"}"#)) == "ann")
        #expect(claim("bearer " + token(#" { "x":{"sub":"eve"}, "sub" : 42 } "#)) == "42")
        #expect(claim(token(#"{"sub":1.5}"#)) == "1.5")
    }

    @Test(arguments: [
        #"{}"#, #"{"sub":null}"#, #"{"sub":["ann"]}"#, #"{"sub":"a","sub":"b"}"#,
        #"{"sub":["a"],"sub":"b"}"#, #"{"sub":"a\u0062"}"#, #"{"x":{"sub":"ann"}}"#,
        #"{"sub":"ann""#, #"{"sub":"ann"#, #"["sub","ann"]"#, "", "sub",
    ])
    func `is none where it could be read in another way`(payload: String) {
        #expect(claim(token(payload)) == nil)
        #expect(claim(token(payload), isVerified: false) == nil)
    }

    @Test func `is none without a signature that holds`() {
        let payload = #"{"sub":"ann"}"#
        #expect(claim(token(payload, signature: "no")) == nil)
        #expect(claim(token(payload, signature: "")) == nil)
        #expect(claim(token(payload, signature: "no"), isVerified: false) == "ann")
        #expect(claim(token(payload, header: #"{"alg":"none"}"#)) == nil)
        #expect(claim(token(payload, header: #"{"typ":"X"}"#)) == nil)
        #expect(claim(token(payload, header: #"{"alg":"none","alg":"X"}"#)) == nil)
        #expect(claim(token(payload, header: "")) == nil)
    }

    @Test func `is none where the token demands what is not understood`() {
        let payload = #"{"sub":"ann"}"#
        #expect(claim(token(payload, header: #"{"alg":"X","crit":["exp"]}"#)) == nil)
        #expect(claim(token(payload, header: #"{"alg":"X","crit":"b64","b64":false}"#)) == nil)
        #expect(claim(token(payload, header: #"{"alg":"X","x":{"crit":1}}"#)) == "ann")
    }

    @Test func `is none in what has not the form of a token`() {
        let good = token(#"{"sub":"ann"}"#)
        for value in ["", ".", "..", "...", "a.b", "Bearer ", good + ".", good + "=", good + " "] {
            #expect(claim(value) == nil, "\(value)")
        }
        // "eWVz" is "yes"; one more character is no encoding, and neither are bits left over.
        #expect(good.hasSuffix(".eWVz"))
        #expect(claim(good + "A") == nil)
        #expect(claim(token(#"{"sub":"ann" }"#)) == "ann")
        #expect(claim(token(#"{"sub":"ann"}  "#, header: #"{"alg":"X"} "#)) == "ann")
    }

    @Test func `has one encoding only`() {
        // 13 bytes leave four bits over.
        var parts = token(#"{"sub":"ann"}"#).split(separator: ".").map(String.init)
        #expect(parts[1].last == "Q")
        parts[1].removeLast()
        parts[1].append("R")
        #expect(claim(parts.joined(separator: "."), isVerified: false) == nil)
    }

    @Test func `is read up to a length`() {
        let room = String(repeating: "x", count: 6000)
        #expect(claim(token(#"{"x":"\#(room)","sub":"ann"}"#)) == "ann")
        #expect(claim(token(#"{"x":"\#(room)\#(room)","sub":"ann"}"#)) == nil)
    }

    @Test func `of chance never traps`() {
        let good = Array(token(#"{"sub":"ann","exp":2000000,"aud":["a","b"],"iss":"i"}"#).utf8)
        var chance = Chance(seed: 7519)
        for _ in 0..<20_000 {
            var value = good
            for _ in 0..<chance.below(4) {
                value[Int(chance.below(UInt32(value.count)))] = UInt8(chance.below(128))
            }
            value = Array(value.prefix(Int(chance.below(UInt32(value.count * 2)))))
            _ = claim(
                String(decoding: value, as: UTF8.self), issuer: "i", audiences: ["b"])
            _ = claim(String(decoding: value, as: UTF8.self), isVerified: false)
        }
    }
}

@Suite struct `A verified token` {
    @Test(arguments: [
        (#""exp":1000000"#, 1_000_059, true), (#""exp":1000000"#, 1_000_060, false),
        (#""exp":1000000.9"#, 1_000_060, false), (#""exp":-5"#, 0, true), (#""exp":-5"#, 55, false),
        (#""nbf":1000000"#, 999_940, true), (#""nbf":1000000"#, 999_939, false),
        (#""nbf":1000000,"exp":1000001"#, 1_000_000, true), (#""iat":9000000"#, 1, true),
        (#""exp":99999999999999999999999"#, 1_000_000, true),
        (#""nbf":99999999999999999999999"#, 1_000_000, false),
    ])
    func `is believed within its times and a minute`(
        times: String, unixSeconds: Int, isBelieved: Bool
    ) {
        let value = token(#"{"sub":"ann",\#(times)}"#)
        #expect(claim(value, at: Int64(unixSeconds)) == (isBelieved ? "ann" : nil))
        #expect(claim(value, isVerified: false, at: Int64(unixSeconds)) == "ann")
    }

    @Test(arguments: [
        #""9999999""#, "null", "true", "[9999999]", #"{"a":1}"#, "1e9", "9999999.", "-", "9-9",
    ])
    func `whose times are no numbers is not believed`(time: String) {
        #expect(claim(token(#"{"sub":"ann","exp":\#(time)}"#)) == nil)
        #expect(claim(token(#"{"sub":"ann","nbf":\#(time)}"#)) == nil)
    }

    @Test(arguments: [
        (#""iss":"a""#, true), (#""iss" : "a""#, true), (#""iss":"b""#, false), (#""x":1"#, false),
        (#""iss":"""#, false), (#""iss":["a"]"#, false), (#""iss":"a","iss":"a""#, false),
        (#""iss":"\u0061""#, false), (#""iss":1"#, false), (#""x":{"iss":"a"}"#, false),
    ])
    func `is of the issuer that is asked for`(member: String, isBelieved: Bool) {
        let value = token(#"{"sub":"ann",\#(member)}"#)
        #expect(claim(value, issuer: "a") == (isBelieved ? "ann" : nil))
        #expect(claim(value) == "ann")
        #expect(claim(value, isVerified: false, issuer: "a") == "ann", "it believes whatever comes")
    }

    @Test(arguments: [
        (#""aud":"a""#, true), (#""aud":"c""#, false), (#""x":"a""#, false),
        (#""aud":["c","b"]"#, true), (#""aud":[ "b" , "c" ]"#, true), (#""aud":["c"]"#, false),
        (#""aud":[]"#, false), (#""aud":["c","\u0061"]"#, false), (#""aud":[["a"]]"#, false),
        (#""aud":[1,"a"]"#, false), (#""aud":["c" "a"]"#, false), (#""aud":{"a":"a"}"#, false),
        (#""aud":["a"],"aud":["a"]"#, false), (#""aud":["c,a"]"#, false), (#""aud":null"#, false),
        (#""aud":"a b""#, false),
    ])
    func `is for one of the audiences that are asked for`(member: String, isBelieved: Bool) {
        let value = token(#"{"sub":"ann",\#(member)}"#)
        #expect(claim(value, audiences: ["a", "b"]) == (isBelieved ? "ann" : nil))
        #expect(claim(value) == "ann")
    }

    @Test func `that names a time twice is not believed`() {
        #expect(claim(token(#"{"exp":1,"sub":"ann","exp":9999999}"#)) == nil)
        #expect(claim(token(#"{"exp":9999999,"sub":"ann","exp":9999999}"#)) == nil)
    }
}
