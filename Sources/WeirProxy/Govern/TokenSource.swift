// A claim of a JSON web token (RFC 7519), read without building the token's object.

import WeirHTTP

/// Says whether a token's signature holds. Called with the signed part and the signature, decoded.
package protocol TokenVerifier: Sendable {
    /// `algorithm` is the header's `alg`, which must be the one that the key is for.
    func holds(
        signed: UnsafeRawBufferPointer, signature: UnsafeRawBufferPointer,
        algorithm: UnsafeRawBufferPointer
    ) -> Bool
}

/// Which claim of a token in which header names the tenant.
///
/// A class, so that a list of sources is looked through without copying each in full.
package final class TokenSource: Sendable {
    /// Lower case.
    package let header: Text
    package let claim: Text
    /// `nil` believes every token, as the configuration says in so many words.
    package let verifier: (any TokenVerifier)?
    /// What a verified token's `iss` must be; `nil` asks for none.
    package let issuer: Text?
    /// One of these must be among a verified token's `aud`; empty asks for none.
    package let audiences: [Text]

    /// Longer tokens name nobody.
    private static let maxBytes = 8 << 10
    /// How far the clock of who signed the token may be off, in seconds.
    private static let leeway: Int64 = 60

    package init(
        header: Text, claim: Text, verifier: (any TokenVerifier)?, issuer: Text? = nil,
        audiences: [Text] = []
    ) {
        self.header = header
        self.claim = claim
        self.verifier = verifier
        self.issuer = issuer
        self.audiences = audiences
    }

    /// Calls `body` with the claim of the token in a header's value; with `nil` where there is no
    /// token, it lacks the claim, or, if it is to be verified, it is not meant for this use, or its
    /// signature or its times do not hold at `unixSeconds`.
    func withClaim(
        of value: UnsafeRawBufferPointer, at unixSeconds: Int64,
        _ body: (UnsafeRawBufferPointer?) -> Bool
    ) -> Bool {
        let token = Self.withoutScheme(value)
        guard token.count <= Self.maxBytes,
            let first = token.firstIndex(of: UInt8(ascii: ".")),
            let second = token[(first + 1)...].firstIndex(of: UInt8(ascii: "."))
        else { return body(nil) }
        // The three parts fit side by side: decoding makes them shorter by a quarter.
        let room = token.count / 4 * 3 + 3
        return withUnsafeTemporaryAllocation(byteCount: room, alignment: 8) { memory in
            let payload = UnsafeRawBufferPointer(rebasing: token[(first + 1)..<second])
            guard let count = Base64URL.decode(payload, into: memory) else { return body(nil) }
            let json = UnsafeRawBufferPointer(rebasing: memory[..<count])
            if let verifier {
                let rest = UnsafeMutableRawBufferPointer(rebasing: memory[count...])
                // The signature is what costs: a token that has expired is not worth it.
                guard Self.isTimely(json, unixSeconds), isMeant(json),
                    isSigned(token, first, second, verifier, rest)
                else { return body(nil) }
            }
            return body(JSONMember.find(claim.bytes, in: json).text)
        }
    }

    /// Neither expired nor not valid yet (RFC 7519 sections 4.1.4 and 4.1.5). A token may do
    /// without either time, but one that is no number does not hold.
    private static func isTimely(_ json: UnsafeRawBufferPointer, _ unixSeconds: Int64) -> Bool {
        let expiry = JSONMember.find("exp", in: json)
        if case .absent = expiry {
        } else {
            guard let whole = expiry.whole, unixSeconds - leeway < whole else { return false }
        }
        let beginning = JSONMember.find("nbf", in: json)
        if case .absent = beginning { return true }
        guard let whole = beginning.whole else { return false }
        return unixSeconds + leeway >= whole
    }

    /// Of the issuer and for one of the audiences that are asked for (RFC 7519 sections 4.1.1 and
    /// 4.1.3).
    private func isMeant(_ json: UnsafeRawBufferPointer) -> Bool {
        if let issuer {
            guard case .string(let text) = JSONMember.find("iss", in: json),
                Bytes.areEqual(text, issuer.bytes)
            else { return false }
        }
        if audiences.isEmpty { return true }
        let meant = JSONMember.find("aud", in: json)
        return audiences.contains { meant.includes($0.bytes) }
    }

    private func isSigned(
        _ token: UnsafeRawBufferPointer, _ first: Int, _ second: Int,
        _ verifier: any TokenVerifier, _ memory: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let header = UnsafeRawBufferPointer(rebasing: token[..<first])
        let signature = UnsafeRawBufferPointer(rebasing: token[(second + 1)...])
        guard let headerCount = Base64URL.decode(header, into: memory) else { return false }
        let rest = UnsafeMutableRawBufferPointer(rebasing: memory[headerCount...])
        guard let signatureCount = Base64URL.decode(signature, into: rest) else { return false }
        let json = UnsafeRawBufferPointer(rebasing: memory[..<headerCount])
        // What must be understood to verify the token is not (RFC 7515 section 4.1.11).
        guard case .absent = JSONMember.find("crit", in: json),
            case .string(let algorithm) = JSONMember.find("alg", in: json)
        else { return false }
        return verifier.holds(
            signed: UnsafeRawBufferPointer(rebasing: token[..<second]),
            signature: UnsafeRawBufferPointer(rebasing: rest[..<signatureCount]),
            algorithm: algorithm)
    }

    /// What follows `Bearer `, or all of it.
    private static func withoutScheme(_ value: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let scheme: StaticString = "bearer "
        guard value.count > 7, Bytes.areEqual(value.part(0, 7), ignoringCase: scheme.bytes) else {
            return value
        }
        return value.part(7, value.count - 7)
    }
}

/// Base 64 for URLs, without padding (RFC 4648 section 5).
enum Base64URL {
    /// The number of bytes written; `nil` where the text is none or `out` is too small.
    static func decode(
        _ text: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) -> Int? {
        var bits: UInt32 = 0
        var held = 0
        var count = 0
        for byte in text {
            guard let value = value(of: byte) else { return nil }
            bits = bits << 6 | value
            held += 6
            guard held >= 8 else { continue }
            held -= 8
            guard count < out.count else { return nil }
            out[count] = UInt8(truncatingIfNeeded: bits >> UInt32(held))
            count += 1
        }
        // One character more than whole bytes need is no encoding of anything, and bits that are
        // left over are zero: no bytes have two encodings.
        return held < 6 && bits & (1 << UInt32(held) - 1) == 0 ? count : nil
    }

    private static func value(of byte: UInt8) -> UInt32? {
        switch byte {
        case 65...90: UInt32(byte - 65)
        case 97...122: UInt32(byte - 71)
        case 48...57: UInt32(byte + 4)
        case 45: 62
        case 95: 63
        default: nil
        }
    }
}
