// Keys of tokens: whose signatures they accept, and which files are none.

import Testing
import WeirCrypto
import WeirTime

/// A key and the token of RFC 7515 that it is for.
private struct Case: CustomTestStringConvertible, Sendable {
    var algorithm: TokenKey.Algorithm
    var file: [UInt8]
    var token: Signed

    var testDescription: String { algorithm.rawValue }

    func key() throws -> TokenKey { try TokenKey(file, algorithm: algorithm) }

    static let all = [
        Case(algorithm: .hs256, file: Vectors.secret, token: Vectors.hs256),
        Case(algorithm: .rs256, file: Array(Vectors.rsa.utf8), token: Vectors.rs256),
        Case(algorithm: .es256, file: Array(Vectors.p256.utf8), token: Vectors.es256),
    ]
}

private func refusal(_ file: some Sequence<UInt8>, _ algorithm: TokenKey.Algorithm) -> String? {
    do {
        _ = try TokenKey(Array(file), algorithm: algorithm)
        return nil
    } catch {
        return "\(error)"
    }
}

@Suite struct `A signature` {
    @Test(arguments: Case.all)
    fileprivate func `of the right key holds, every time`(one: Case) throws {
        let key = try one.key()
        for _ in 0..<3 { #expect(one.token.holds(by: key)) }
    }

    @Test(arguments: Case.all)
    fileprivate func `with any bit flipped does not`(one: Case) throws {
        let key = try one.key()
        for bit in 0..<one.token.signature.count * 8 {
            var token = one.token
            token.signature[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!token.holds(by: key), "bit \(bit)")
        }
        #expect(one.token.holds(by: key), "a failure leaves nothing behind")
    }

    @Test(arguments: Case.all)
    fileprivate func `of another text does not`(one: Case) throws {
        let key = try one.key()
        for index in one.token.text.indices {
            var token = one.token
            token.text[index] ^= 1
            #expect(!token.holds(by: key), "byte \(index)")
        }
        var token = one.token
        token.text.removeLast()
        #expect(!token.holds(by: key))
        token.text = []
        #expect(!token.holds(by: key))
    }

    @Test(arguments: Case.all)
    fileprivate func `of another length does not`(one: Case) throws {
        let key = try one.key()
        let whole = one.token.signature
        for count in 0..<whole.count {
            var token = one.token
            token.signature = Array(whole[..<count])
            #expect(!token.holds(by: key), "\(count) bytes")
        }
        for more in [1, 32, 64, 8192] {
            var token = one.token
            token.signature = whole + [UInt8](repeating: 0, count: more)
            #expect(!token.holds(by: key), "\(more) bytes more")
        }
    }

    @Test(
        arguments: Case.all,
        ["none", "None", "", "HS256", "RS256", "ES256", "HS384", "HS256 ", "hs256", "HS25"])
    fileprivate func `holds for no algorithm but the key's`(one: Case, name: String) throws {
        var token = one.token
        token.algorithm = name
        #expect(token.holds(by: try one.key()) == (name == one.algorithm.rawValue))
        token.signature = []
        #expect(!token.holds(by: try one.key()))
    }

    @Test func `by a public key as if it were a secret does not`() throws {
        // The classic confusion: the token says HS256 and is signed with the public key's file.
        let key = try TokenKey(Array(Vectors.rsa.utf8), algorithm: .rs256)
        #expect(!Vectors.hs256.holds(by: key))
        #expect(refusal(Vectors.rsa.utf8, .hs256)?.contains("PEM") == true)
    }

    @Test func `of two zeros, or of numbers as large as the curve, does not`() throws {
        let key = try TokenKey(Array(Vectors.p256.utf8), algorithm: .es256)
        let order: [UInt8] =
            [UInt8](repeating: 0xFF, count: 4) + [UInt8](repeating: 0, count: 4)
            + [UInt8](repeating: 0xFF, count: 8) + [0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84]
            + [0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51]
        let zero = [UInt8](repeating: 0, count: 32)
        let one = [UInt8](repeating: 0, count: 31) + [1]
        var token = Vectors.es256
        for r in [zero, one, order] {
            for s in [zero, one, order] {
                token.signature = r + s
                #expect(!token.holds(by: key))
            }
        }
    }

    @Test(arguments: Case.all)
    fileprivate func `of chance never holds and never traps`(one: Case) throws {
        let key = try one.key()
        var chance = Chance(seed: 7515)
        for _ in 0..<500 {
            var token = one.token
            let count =
                chance.next() % 2 == 0 ? token.signature.count : Int(chance.next() % 600)
            token.signature = (0..<count).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
            #expect(!token.holds(by: key))
            token.text = token.signature
            #expect(!token.holds(by: key))
        }
    }

    @Test(arguments: Case.all)
    fileprivate func `is checked by many threads at once`(one: Case) async throws {
        let key = try one.key()
        var wrong = one.token
        wrong.signature[3] ^= 1
        let forged = wrong
        let answers = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    (0..<200).count { _ in one.token.holds(by: key) && !forged.holds(by: key) }
                }
            }
            return await group.reduce(0, +)
        }
        #expect(answers == 800)
    }
}

@Suite struct `A key file` {
    @Test func `of a secret may end in one line end`() throws {
        for end in ["", "\n", "\r\n"] {
            let key = try TokenKey(Vectors.secret + end.utf8, algorithm: .hs256)
            #expect(Vectors.hs256.holds(by: key))
        }
        for end in ["\n\n", " ", "\r"] {
            let key = try TokenKey(Vectors.secret + end.utf8, algorithm: .hs256)
            #expect(!Vectors.hs256.holds(by: key))
        }
    }

    @Test func `of a secret has 32 bytes at least`() {
        #expect(refusal([UInt8](repeating: 1, count: 32), .hs256) == nil)
        #expect(
            refusal([UInt8](repeating: 1, count: 31) + "\n".utf8, .hs256)?.contains("31") == true)
        #expect(refusal([], .hs256) != nil)
        #expect(refusal("\n".utf8, .hs256) != nil)
    }

    @Test func `may be a certificate`() throws {
        let key = try TokenKey(Array(Vectors.certificate.utf8), algorithm: .es256)
        #expect(Vectors.es256.holds(by: key))
    }

    @Test func `is of the algorithm's kind and strength`() {
        #expect(refusal(Vectors.p256.utf8, .rs256)?.contains("RSA") == true)
        #expect(refusal(Vectors.certificate.utf8, .rs256)?.contains("RSA") == true)
        #expect(refusal(Vectors.rsa.utf8, .es256)?.contains("curve") == true)
        #expect(refusal(Vectors.p384.utf8, .es256)?.contains("P-256") == true)
        #expect(refusal(Vectors.weakRSA.utf8, .rs256)?.contains("1024") == true)
    }

    @Test func `with a private key is refused`() {
        let file =
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n" + Vectors.p256
        #expect(refusal(file.utf8, .es256)?.contains("private") == true)
    }

    @Test func `under a passphrase asks nobody for it`() {
        let head =
            "-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n"
            + "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        let file = head + Vectors.p256.split(separator: "\n").dropFirst().joined(separator: "\n")
        #expect(refusal(file.utf8, .es256) != nil)
    }

    @Test(arguments: [TokenKey.Algorithm.rs256, .es256])
    func `of anything else is refused`(algorithm: TokenKey.Algorithm) {
        let whole = Array((algorithm == .rs256 ? Vectors.rsa : Vectors.p256).utf8)
        #expect(refusal([], algorithm) != nil)
        #expect(refusal("no key at all\n".utf8, algorithm) != nil)
        for count in stride(from: 1, to: whole.count - 30, by: 7) {
            #expect(refusal(whole[..<count], algorithm) != nil, "\(count) bytes")
        }
        var chance = Chance(seed: 7517)
        for _ in 0..<300 {
            var file = whole
            for _ in 0..<3 {
                file[Int(chance.next() % UInt64(file.count))] =
                    UInt8(truncatingIfNeeded: chance.next())
            }
            // Most are refused; what is not is a key, and must not trap either.
            guard let key = try? TokenKey(file, algorithm: algorithm) else { continue }
            _ = Vectors.rs256.holds(by: key)
            _ = Vectors.es256.holds(by: key)
        }
    }

    @Test func `that says the same gives an equal key`() throws {
        let one = try TokenKey(Vectors.secret, algorithm: .hs256)
        #expect(try TokenKey(Vectors.secret, algorithm: .hs256) == one)
        #expect(try TokenKey(Vectors.secret + [1], algorithm: .hs256) != one)
    }
}
