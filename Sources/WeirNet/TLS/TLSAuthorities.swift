// The authorities whose certificates are believed.

import COpenSSL

/// The certificates of a CA file. It never changes: all workers use it at once.
package final class TLSAuthorities: @unchecked Sendable, Equatable {
    let certificates: [OpaquePointer]
    /// Tells sessions that were made under other authorities apart.
    let fingerprint: [UInt8]

    /// Reads the certificates of a PEM file.
    package init(_ file: [UInt8]) throws(TLSFailure) {
        certificates = try TLSCredential.certificates(file)
        fingerprint = TLSCredential.digest(file)
        guard !certificates.isEmpty else {
            throw TLSFailure("the file holds no certificate in PEM")
        }
    }

    deinit { for certificate in certificates { X509_free(certificate) } }

    package static func == (a: TLSAuthorities, b: TLSAuthorities) -> Bool {
        a.fingerprint == b.fingerprint
    }

    /// Makes a context believe these authorities, and no others.
    func add(to context: OpaquePointer) throws(TLSFailure) {
        guard let store = SSL_CTX_get_cert_store(context) else { throw .last("out of memory") }
        for certificate in certificates where X509_STORE_add_cert(store, certificate) != 1 {
            throw .last("an authority's certificate cannot be used")
        }
    }
}
