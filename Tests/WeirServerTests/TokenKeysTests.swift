// The key files that a configuration names: read, compared, refused.

import Foundation
import Testing
import WeirConfig

@testable import WeirProxy
@testable import WeirServer

/// A key file that lasts as long as its owner.
private final class KeyFile {
    let path = NSTemporaryDirectory() + "weir-test-" + UUID().uuidString + ".key"

    init(_ text: String) throws { try write(text) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
}

private func claim(_ file: String, _ algorithm: JWTClaim.Algorithm = .hs256) -> JWTClaim {
    JWTClaim(claim: "sub", verification: .key(JWTClaim.Key(algorithm: algorithm, file: file)))
}

private func configuration(_ claims: JWTClaim...) -> Configuration {
    var configuration = Configuration()
    configuration.tenants = Tenants(
        identify: [.header("x-api-key")] + claims.map { .jwtClaim($0) },
        plans: [TenantPlan(name: "free")], defaultPlan: "free")
    return configuration
}

private let secret = "a secret of thirty-two bytes, one"

@Suite struct `The keys of tokens` {
    @Test func `are read from the files that are named`() throws {
        let file = try KeyFile(secret + "\n")
        let keys = try TokenKeys.read(for: configuration(claim(file.path)))
        // Signed with the secret: {"alg":"HS256"} and {"sub":"ann"}.
        let token =
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ"
            + ".JAm5j04jDEkT9vlpwxvms1tDX1cz0h4XXT1vhpd8iUM"
        let source = TokenSource(
            header: Text("authorization"), claim: Text("sub"),
            verifier: keys.verifier(of: claim(file.path)))
        func isBelieved(_ token: String) -> Bool {
            Array(token.utf8).withUnsafeBytes { bytes in
                source.withClaim(of: bytes, at: 0) { $0?.elementsEqual("ann".utf8) == true }
            }
        }
        #expect(isBelieved(token))
        #expect(!isBelieved(String(token.dropLast())))
        #expect(!isBelieved(token.replacing(".", with: ".e", maxReplacements: 1)))
    }

    @Test func `are none where none is named, and believe nothing where one is missing`() throws {
        let none = try TokenKeys.read(for: Configuration())
        #expect(none == TokenKeys())
        #expect(none.verifier(of: JWTClaim(claim: "sub", verification: .unverified)) == nil)
        let missing = try #require(none.verifier(of: claim("nowhere")))
        "HS256".utf8.withContiguousStorageIfAvailable { bytes in
            let bytes = UnsafeRawBufferPointer(bytes)
            #expect(!missing.holds(signed: bytes, signature: bytes, algorithm: bytes))
        }
    }

    @Test func `are refused with the file and the reason`() throws {
        let short = try KeyFile("short\n")
        let gone = short.path + ".gone"
        func reason(_ claim: JWTClaim) -> String {
            do {
                _ = try TokenKeys.read(for: configuration(claim))
                return "none"
            } catch {
                return "\(error)"
            }
        }
        let key = "tenants.identify[1].jwt_claim.verify.key_file"
        #expect(reason(claim(gone)) == "\(key) '\(gone)': open: No such file or directory")
        #expect(
            reason(claim(short.path))
                == "\(key) '\(short.path)': the secret has 5 bytes; HS256 needs 32 or more")
        #expect(
            reason(claim(short.path, .es256))
                == "\(key) '\(short.path)': holds neither a public key nor a certificate as PEM")
    }

    @Test func `tell whether a file has changed`() throws {
        let file = try KeyFile(secret)
        let before = try TokenKeys.read(for: configuration(claim(file.path)))
        #expect(try TokenKeys.read(for: configuration(claim(file.path))) == before)
        try file.write(secret + "!")
        #expect(try TokenKeys.read(for: configuration(claim(file.path))) != before)
    }
}
