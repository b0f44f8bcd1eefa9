// A certificate with its chain and its key, as it is read from files.

import COpenSSL

/// What a server or a client proves its name with. It never changes: all workers use it at once.
package final class TLSCredential: @unchecked Sendable, Equatable {
    private static let digestBytes = 32

    let leaf: OpaquePointer
    let chain: [OpaquePointer]
    let key: OpaquePointer
    /// The answer of the authority that the certificate is not revoked, as DER.
    let response: [UInt8]
    /// Until when that holds, in Unix seconds; `nil` where there is none, or it does not say.
    package let responseExpiry: Int64?
    /// The DNS names that it is for, in lower case; a leading `*.` stands for one label.
    package let names: [String]
    /// The end of its time, in Unix seconds.
    package let expiry: Int64
    private let fingerprint: [UInt8]

    /// Reads a credential from its files' bytes.
    ///
    /// - Parameters:
    ///   - chain: the certificate, and those that lead to the authority, as PEM.
    ///   - key: its private key as PEM, not encrypted.
    ///   - response: an OCSP response as DER, to be stapled.
    package init(chain: [UInt8], key: [UInt8], response: [UInt8]? = nil) throws(TLSFailure) {
        let certificates = try Self.certificates(chain)
        guard let leaf = certificates.first else {
            throw TLSFailure("the chain holds no certificate in PEM")
        }
        self.leaf = leaf
        self.chain = Array(certificates.dropFirst())
        do {
            self.key = try Self.privateKey(key)
        } catch {
            for certificate in certificates { X509_free(certificate) }
            throw error
        }
        names = Self.names(of: leaf)
        var seconds: Int64 = 0
        expiry = copenssl_expiry(leaf, &seconds) == 0 ? seconds : 0
        self.response = response ?? []
        var isResponse = true
        var responseSeconds: Int64 = 0
        if let response {
            isResponse =
                copenssl_response_expiry(
                    leaf, response, response.count, &responseSeconds) == 0
        }
        let isBounded = response != nil && responseSeconds < .max
        responseExpiry = isBounded ? responseSeconds : nil
        fingerprint = Self.digest(chain + [0] + key + [0] + (response ?? []))
        // From here on `deinit` frees what a failure leaves.
        guard X509_check_private_key(leaf, self.key) == 1 else {
            throw .last("the key is not the certificate's")
        }
        guard isResponse else {
            throw .last("the OCSP response does not say that this certificate is good")
        }
        ERR_clear_error()
    }

    deinit {
        X509_free(leaf)
        for certificate in chain { X509_free(certificate) }
        EVP_PKEY_free(key)
    }

    package static func == (a: TLSCredential, b: TLSCredential) -> Bool {
        a.fingerprint == b.fingerprint
    }

    /// RSA and ECDSA certificates of one name stand side by side; two of one kind do not.
    var keyKind: Int32 { EVP_PKEY_get_base_id(key) }
    /// `rsa`, `ecdsa` or `other`.
    package var keyName: String {
        switch keyKind {
        case EVP_PKEY_RSA: "rsa"
        case EVP_PKEY_EC: "ecdsa"
        default: "other"
        }
    }

    /// Makes a context prove its name with this.
    func add(to context: OpaquePointer) throws(TLSFailure) {
        guard SSL_CTX_use_certificate(context, leaf) == 1,
            SSL_CTX_use_PrivateKey(context, key) == 1
        else { throw .last("the certificate cannot be used") }
        // The chain belongs to the certificate that was set last.
        for certificate in chain where copenssl_add_chain(context, certificate) != 1 {
            throw .last("the chain cannot be used")
        }
    }

    // MARK: Reading

    static func digest(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: digestBytes) { buffer, count in
            _ = SHA256(bytes, bytes.count, buffer.baseAddress)
            count = digestBytes
        }
    }

    /// All certificates of a PEM file, in its order; the caller frees them.
    static func certificates(_ file: [UInt8]) throws(TLSFailure) -> [OpaquePointer] {
        var found: [OpaquePointer] = []
        withBIO(on: file) { bio in
            while let certificate = PEM_read_bio_X509(bio, nil, refusePassword, nil) {
                found.append(certificate)
            }
        }
        // The end of the file is an error like any other, and the only one that is none.
        let code = ERR_peek_last_error()
        let isEnd = ERR_GET_REASON(code) == PEM_R_NO_START_LINE
        guard isEnd || found.isEmpty else {
            for certificate in found { X509_free(certificate) }
            throw .last("certificate \(found.count + 1) of the file is malformed")
        }
        ERR_clear_error()
        return found
    }

    /// Calls `body` with a BIO that reads the bytes where they are; not at all without memory.
    private static func withBIO(on file: [UInt8], _ body: (OpaquePointer) -> Void) {
        file.withUnsafeBytes { bytes in
            let bio = BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count))
            guard let bio else { return }
            body(bio)
            BIO_free(bio)
        }
    }

    private static func privateKey(_ file: [UInt8]) throws(TLSFailure) -> OpaquePointer {
        var key: OpaquePointer?
        withBIO(on: file) { key = PEM_read_bio_PrivateKey($0, nil, refusePassword, nil) }
        guard let key else {
            throw .last("the key is no private key in PEM without a password")
        }
        return key
    }

    /// The DNS names of a certificate; its common name is none (RFC 9525 section 6.3).
    private static func names(of certificate: OpaquePointer) -> [String] {
        var found: [String] = []
        AlternativeNames.forEach(of: certificate) { _, kind, bytes in
            if kind == .dns { found.append(String(decoding: bytes, as: UTF8.self).lowercased()) }
        }
        return found
    }
}

/// Without it, OpenSSL would ask the terminal for the password of an encrypted key.
private func refusePassword(
    _: UnsafeMutablePointer<CChar>?, _: Int32, _: Int32, _: UnsafeMutableRawPointer?
) -> Int32 { -1 }
