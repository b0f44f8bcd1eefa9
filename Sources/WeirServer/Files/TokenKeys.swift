// The keys that a configuration checks tokens with, read from their files.

import WeirConfig
import WeirCrypto
import WeirNet
import WeirProxy

extension TokenKey: TokenVerifier {}

/// Read keys. They are read where the configuration is: at start and at each reload.
struct TokenKeys: Equatable {
    /// Larger files are no key files.
    private static let maxBytes = 64 << 10

    /// The same file may be named for two algorithms, of which at most one can be right.
    private struct Place: Hashable {
        var file: String
        var algorithm: TokenKey.Algorithm

        init(_ key: JWTClaim.Key) {
            file = key.file
            algorithm = TokenKey.Algorithm(key.algorithm)
        }
    }

    private var keys: [Place: TokenKey] = [:]

    /// The keys of all files that a configuration names.
    static func read(for configuration: Configuration) throws(FileFailure) -> TokenKeys {
        var read = TokenKeys()
        for (index, identity) in (configuration.tenants?.identify ?? []).enumerated() {
            guard case .jwtClaim(let claim) = identity,
                case .key(let key) = claim.verification
            else { continue }
            let place = Place(key)
            guard read.keys[place] == nil else { continue }
            let name = "tenants.identify[\(index)].jwt_claim.verify.key_file '\(key.file)'"
            read.keys[place] = try Self.read(place, called: name)
        }
        return read
    }

    private static func read(_ place: Place, called name: String) throws(FileFailure) -> TokenKey {
        switch FileBytes.read(place.file, maxBytes: maxBytes) {
        case .failure(let error):
            throw FileFailure(description: "\(name): \(error)")
        case .success(let bytes):
            do {
                return try TokenKey(bytes, algorithm: place.algorithm)
            } catch {
                throw FileFailure(description: "\(name): \(error)")
            }
        }
    }

    /// Who checks the tokens of a claim; `nil` believes them, as the configuration says.
    func verifier(of claim: JWTClaim) -> (any TokenVerifier)? {
        guard case .key(let key) = claim.verification else { return nil }
        return keys[Place(key)] ?? NoVerifier()
    }
}

/// Believes no token. Keys are read before the configuration that names them is adopted, so that
/// none is missing; if one were, its tokens must not be believed.
private struct NoVerifier: TokenVerifier {
    func holds(
        signed: UnsafeRawBufferPointer, signature: UnsafeRawBufferPointer,
        algorithm: UnsafeRawBufferPointer
    ) -> Bool { false }
}

extension TokenKey.Algorithm {
    fileprivate init(_ algorithm: JWTClaim.Algorithm) {
        self =
            switch algorithm {
            case .hs256: .hs256
            case .rs256: .rs256
            case .es256: .es256
            }
    }
}
