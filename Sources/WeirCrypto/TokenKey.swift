// A key that the signatures of JSON web tokens are checked with (RFC 7515), through OpenSSL.

import COpenSSL

/// What one algorithm's signatures are checked with. It never changes: all workers use it at once.
package final class TokenKey: @unchecked Sendable, Equatable {
    /// How tokens are signed (RFC 7518 section 3.1).
    package enum Algorithm: String, CaseIterable, Sendable {
        /// HMAC with SHA-256.
        case hs256 = "HS256"
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        case rs256 = "RS256"
        /// ECDSA on the curve P-256 with SHA-256.
        case es256 = "ES256"
    }

    /// Why a file is no key for an algorithm.
    package struct Unusable: Error, CustomStringConvertible {
        package let description: String
    }

    // Both are set up once and copied for each check, since to look an algorithm up takes a lock.
    // Copying only reads them and counts references atomically, so that workers may do it at once.
    private enum Template {
        /// An `EVP_MAC_CTX` that has the secret.
        case secret(OpaquePointer)
        /// An `EVP_MD_CTX` that is ready to verify.
        case publicKey(OpaquePointer)
    }

    /// The one that is accepted, whatever a token says.
    package let algorithm: Algorithm
    /// SHA-256 of the file, to tell whether another is the same.
    private let fingerprint: [UInt8]
    private let template: Template

    static let digestBytes = 32
    /// A shorter secret than the digest is weaker than the algorithm (RFC 7518 section 3.2).
    private static let minSecretBytes = 32
    /// What RFC 7518 section 3.3 demands, and what a worker can bear to compute with.
    private static let rsaBits = 2048...8192

    /// Reads a key from its file's bytes: for HS256 the secret itself, all of the file but one line
    /// end that ends it; for the others a public key or a certificate as PEM. A certificate counts
    /// as its key, whatever else it says.
    package init(_ file: [UInt8], algorithm: Algorithm) throws(Unusable) {
        self.algorithm = algorithm
        fingerprint = try Self.fingerprint(of: file)
        switch algorithm {
        case .hs256: template = .secret(try Self.secretTemplate(file))
        case .rs256, .es256: template = .publicKey(try Self.publicKeyTemplate(file, algorithm))
        }
    }

    deinit {
        switch template {
        case .secret(let context): EVP_MAC_CTX_free(context)
        case .publicKey(let context): EVP_MD_CTX_free(context)
        }
    }

    package static func == (a: TokenKey, b: TokenKey) -> Bool {
        a.algorithm == b.algorithm && a.fingerprint == b.fingerprint
    }

    // MARK: Checking

    /// `signature` is this key's for the bytes `signed`. `algorithm` is what the token's header
    /// says, and must be exactly the key's: neither `none` nor a public key taken for a secret gets
    /// through.
    package func holds(
        signed: UnsafeRawBufferPointer, signature: UnsafeRawBufferPointer,
        algorithm: UnsafeRawBufferPointer
    ) -> Bool {
        guard algorithm.elementsEqual(self.algorithm.rawValue.utf8),
            let text = signed.baseAddress, let bytes = signature.baseAddress
        else { return false }
        switch template {
        case .secret(let context):
            return signature.count == Self.digestBytes
                && Self.isMAC(bytes, of: text, signed.count, context)
        case .publicKey(let context):
            guard self.algorithm == .es256 else {
                return Self.isSignature(bytes, signature.count, of: text, signed.count, context)
            }
            guard signature.count == ECDSASignature.bytes else { return false }
            return withUnsafeTemporaryAllocation(
                byteCount: ECDSASignature.maxEncodedBytes, alignment: 1
            ) { encoded in
                let count = ECDSASignature.encode(signature, into: encoded)
                guard let start = encoded.baseAddress else { return false }
                return Self.isSignature(start, count, of: text, signed.count, context)
            }
        }
    }

    private static func isMAC(
        _ bytes: UnsafeRawPointer, of text: UnsafeRawPointer, _ count: Int,
        _ template: OpaquePointer
    ) -> Bool {
        guard let context = EVP_MAC_CTX_dup(template) else { return forget() }
        defer { EVP_MAC_CTX_free(context) }
        return withUnsafeTemporaryAllocation(byteCount: digestBytes, alignment: 1) { computed in
            var length = 0
            guard let start = computed.baseAddress,
                EVP_MAC_update(context, text.assumingMemoryBound(to: UInt8.self), count) == 1,
                EVP_MAC_final(
                    context, start.assumingMemoryBound(to: UInt8.self), &length, digestBytes) == 1,
                length == digestBytes
            else { return forget() }
            // Takes as long for a wrong byte at the end as for one at the beginning.
            return CRYPTO_memcmp(start, bytes, digestBytes) == 0
        }
    }

    private static func isSignature(
        _ bytes: UnsafeRawPointer, _ byteCount: Int, of text: UnsafeRawPointer, _ count: Int,
        _ template: OpaquePointer
    ) -> Bool {
        guard let context = EVP_MD_CTX_new() else { return forget() }
        defer { EVP_MD_CTX_free(context) }
        guard EVP_MD_CTX_copy_ex(context, template) == 1,
            EVP_DigestVerify(
                context, bytes.assumingMemoryBound(to: UInt8.self), byteCount,
                text.assumingMemoryBound(to: UInt8.self), count) == 1
        else { return forget() }
        return true
    }

    /// Empties the list of errors that OpenSSL keeps for the thread; always `false`.
    private static func forget() -> Bool {
        ERR_clear_error()
        return false
    }
}

extension TokenKey {
    // MARK: Reading

    private static func fingerprint(of file: [UInt8]) throws(Unusable) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestBytes)
        guard EVP_Digest(file, file.count, &digest, nil, EVP_sha256(), nil) == 1 else {
            throw unusable("OpenSSL has no SHA-256")
        }
        return digest
    }

    private static func secretTemplate(_ file: [UInt8]) throws(Unusable) -> OpaquePointer {
        guard !file.starts(with: "-----BEGIN ".utf8) else {
            throw unusable("is a PEM file, but the key of HS256 is a secret")
        }
        var secret = file[...]
        if secret.last == UInt8(ascii: "\n") {
            secret.removeLast()
            if secret.last == UInt8(ascii: "\r") { secret.removeLast() }
        }
        guard secret.count >= minSecretBytes else {
            throw unusable(
                "the secret has \(secret.count) bytes; HS256 needs \(minSecretBytes) or more")
        }
        guard let mac = EVP_MAC_fetch(nil, "HMAC", nil) else {
            throw unusable("OpenSSL has no HMAC")
        }
        defer { EVP_MAC_free(mac) }
        guard let context = EVP_MAC_CTX_new(mac) else { throw unusable("out of memory") }
        let isReady = secret.withUnsafeBufferPointer {
            copenssl_hmac_sha256_init(context, $0.baseAddress, $0.count) == 1
        }
        guard isReady else {
            EVP_MAC_CTX_free(context)
            throw unusable("OpenSSL does not take the secret")
        }
        return context
    }

    private static func publicKeyTemplate(
        _ file: [UInt8], _ algorithm: Algorithm
    ) throws(Unusable) -> OpaquePointer {
        guard !String(decoding: file, as: UTF8.self).contains("PRIVATE KEY-----") else {
            throw unusable(
                "holds a private key; weir needs the public one, and should only have it")
        }
        guard let key = publicKey(file) else {
            throw unusable("holds neither a public key nor a certificate as PEM")
        }
        // The template counts a reference of its own.
        defer { EVP_PKEY_free(key) }
        try check(key, algorithm)
        guard let context = EVP_MD_CTX_new() else { throw unusable("out of memory") }
        guard EVP_DigestVerifyInit(context, nil, EVP_sha256(), nil, key) == 1 else {
            EVP_MD_CTX_free(context)
            throw unusable("OpenSSL does not take the key")
        }
        return context
    }

    /// Without the callbacks OpenSSL would ask the terminal for a passphrase.
    private static func publicKey(_ file: [UInt8]) -> OpaquePointer? {
        read(file) { PEM_read_bio_PUBKEY($0, nil, { _, _, _, _ in -1 }, nil) }
            ?? read(file) { bio in
                guard let certificate = PEM_read_bio_X509(bio, nil, { _, _, _, _ in -1 }, nil)
                else { return nil }
                defer { X509_free(certificate) }
                return X509_get_pubkey(certificate)
            }
    }

    private static func read(
        _ file: [UInt8], _ body: (OpaquePointer) -> OpaquePointer?
    ) -> OpaquePointer? {
        file.withUnsafeBytes { bytes in
            guard let count = Int32(exactly: bytes.count),
                let bio = BIO_new_mem_buf(bytes.baseAddress, count)
            else { return nil }
            defer { BIO_free(bio) }
            return body(bio)
        }
    }

    /// The key is of the algorithm's kind, of a strength that will do, and sound.
    private static func check(
        _ key: OpaquePointer, _ algorithm: Algorithm
    ) throws(Unusable) {
        if algorithm == .rs256 {
            guard EVP_PKEY_is_a(key, "RSA") == 1 else { throw unusable("is not an RSA key") }
            let bits = Int(EVP_PKEY_get_bits(key))
            guard rsaBits.contains(bits) else {
                throw unusable(
                    "the RSA key has \(bits) bits; RS256 needs "
                        + "\(rsaBits.lowerBound) to \(rsaBits.upperBound)")
            }
        } else {
            guard EVP_PKEY_is_a(key, "EC") == 1 else {
                throw unusable("is not a key on an elliptic curve")
            }
            var name = [CChar](repeating: 0, count: 64)
            var length = 0
            guard EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1,
                name.prefix(length).elementsEqual("prime256v1".utf8.map { CChar($0) })
            else { throw unusable("the key is not on the curve P-256, which ES256 needs") }
        }
        let context = EVP_PKEY_CTX_new(key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_public_check(context) == 1 else { throw unusable("the key is not sound") }
    }

    private static func unusable(_ text: String) -> Unusable {
        ERR_clear_error()
        return Unusable(description: text)
    }
}
