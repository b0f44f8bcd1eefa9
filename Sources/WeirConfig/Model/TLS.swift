// What is said about TLS: with clients, and with endpoints.

/// A certificate's files.
package struct CertificateFiles: Hashable, Sendable {
    /// The certificate, and those that lead to its authority, as PEM.
    package var chain: String
    /// Its private key, as PEM.
    package var key: String
    /// An OCSP response as DER, to be stapled.
    package var ocsp: String?

    package init(chain: String, key: String) {
        self.chain = chain
        self.key = key
    }
}

/// The TLS of a listener.
package struct ServerTLS: Equatable, Sendable {
    /// The first is for clients that name no server, or one that no other is for.
    package var certificates: [CertificateFiles]
    package var minVersion = MinVersion.v12
    /// What is spoken on top, the preferred one first.
    package var alpn = ["h2", "http/1.1"]
    /// The authorities of clients' certificates; `nil` asks for none.
    package var clientCA: String?
    package var clientCertificate = Demand.required

    package init(certificates: [CertificateFiles]) { self.certificates = certificates }

    package enum MinVersion: String, CaseIterable, Sendable {
        case v12 = "1.2"
        case v13 = "1.3"
    }

    /// Whether a client must show a certificate.
    package enum Demand: String, CaseIterable, Sendable { case required, optional }
}

/// The TLS of a cluster's connections.
package struct ClientTLS: Equatable, Sendable {
    /// The name that endpoints must prove; `nil` is the name that discovery resolves, or else the
    /// endpoint's address.
    package var serverName: String?
    /// The authorities of endpoints' certificates; `nil` is the system's list.
    package var ca: String?
    /// Whether endpoints must prove who they are.
    package var verify = true
    /// What weir proves itself with.
    package var certificate: CertificateFiles?

    package init() {}
}
