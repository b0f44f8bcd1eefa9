// TLS on listeners and to endpoints.

enum ServerTLSSection {
    static let certificates = Key(
        "certificates", .list(of: .section(CertificateSection.decode), "certificates"),
        required: true, reload: .newConnections,
        "Certificates, picked by the names that they are for. The first is shown where a client "
            + "names no server, or one that no certificate is for. An RSA and an ECDSA certificate "
            + "of the same name stand side by side.")
    static let minVersion = Key(
        "min_version", .word(ServerTLS.MinVersion.allCases.map { ($0.rawValue, $0) }),
        default: "1.2", reload: .newConnections, "The least version of TLS that is spoken.")
    static let alpn = Key(
        "alpn",
        .list(of: .word([("h2", "h2"), ("http/1.1", "http/1.1")]), "protocols", atMost: 4),
        default: "[h2, http/1.1]", reload: .newConnections,
        "What is spoken on top of TLS, the preferred one first. A client that offers only others "
            + "is refused in the handshake.")
    static let clientCA = Key(
        "client_ca", .filePath, default: "none", reload: .newConnections,
        "The authorities whose client certificates are believed, as PEM. Without it clients are "
            + "not asked for one.")
    static let clientCertificate = Key(
        "client_certificate", .word(ServerTLS.Demand.allCases.map { ($0.rawValue, $0) }),
        default: "required", reload: .newConnections,
        "Whether a client without a certificate is refused in the handshake. One that cannot be "
            + "verified always is.")

    static let section = Section(
        "tls", at: "listeners[].tls",
        "TLS 1.2 and 1.3 with clients. Files are watched; what is wrong with a new one is said, "
            + "and the old one stays.",
        example: """
            listeners:
              - name: edge
                address: 0.0.0.0:8443
                tls:
                  certificates:
                    - { chain: /etc/weir/shop.pem, key: /etc/weir/shop.key }
                  min_version: "1.2"
                  client_ca: /etc/weir/clients.pem
                  client_certificate: optional
            """,
        keys: [
            certificates.entry, minVersion.entry, alpn.entry, clientCA.entry,
            clientCertificate.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> ServerTLS? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let certificates = reader.read(certificates)
        var tls = ServerTLS(certificates: certificates ?? [])
        reader.read(minVersion, into: &tls.minVersion)
        reader.read(alpn, into: &tls.alpn)
        tls.clientCA = reader.read(clientCA)
        reader.read(clientCertificate, into: &tls.clientCertificate)
        if let range = reader.keyRange(clientCertificate), !reader.has(clientCA) {
            report.error(
                .missingKey, at: range, "'client_certificate' needs 'client_ca'",
                help: "client_ca: the authorities whose client certificates are believed")
        }
        return certificates == nil ? nil : tls
    }
}

enum CertificateSection {
    static let chain = Key(
        "chain", .filePath, required: true, reload: .newConnections,
        "The certificate, and those that lead to its authority, as PEM.")
    static let key = Key(
        "key", .filePath, required: true, reload: .newConnections,
        "Its private key, as PEM without a password.")
    static let ocsp = Key(
        "ocsp", .filePath, default: "none", reload: .newConnections,
        "An OCSP response as DER, stapled until it expires.")

    static let section = Section(
        "certificate", at: "listeners[].tls.certificates[]", "A certificate's files.",
        keys: [chain.entry, key.entry, ocsp.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> CertificateFiles? {
        decode(node, as: section, report)
    }

    /// Reads the files that a section has keys for.
    static func decode(
        _ node: YAMLNode, as section: Section, _ report: Report
    ) -> CertificateFiles? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let key = reader.read(key)
        let ocsp = reader.read(ocsp)
        guard let chain = reader.read(chain), let key else { return nil }
        var files = CertificateFiles(chain: chain, key: key)
        files.ocsp = ocsp
        return files
    }
}

enum ClientTLSSection {
    static let serverName = Key(
        "server_name", hostNameKind,
        default: "the name that is looked up, or the endpoint's address",
        reload: .newConnections, "The name that endpoints must prove, and that they are told.")
    static let ca = Key(
        "ca", .filePath, default: "the system's list", reload: .newConnections,
        "The authorities whose certificates are believed, as PEM.")
    static let verify = Key(
        "verify", .flag, default: "true", reload: .newConnections,
        "false believes any certificate, and so anyone who can take the endpoint's place.")
    static let certificate = Key(
        "certificate", .section(ClientCertificateSection.decode), reload: .newConnections,
        "What weir proves itself with where an endpoint asks.")

    /// An address is a name as well: it is what the certificate must be for then.
    private static let hostNameKind = Kind<String>(type: "host name or IP", bounds: nil) {
        node, report in
        guard let text = string(node, report, "a host name") else { return nil }
        if let address = AddressText.canonical(text) { return address.text }
        guard AddressText.isHostName(text) else {
            report.error(
                .badHost, at: node.range, "\(Text.quoted(text)) is no host name",
                help: "expected a name such as checkout.internal, without a port")
            return nil
        }
        return text.lowercased()
    }

    static let section = Section(
        "tls", at: "clusters[].tls", "TLS to endpoints, which must prove who they are.",
        example: """
            clusters:
              - name: checkout
                endpoints: [10.0.1.1:8443]
                tls:
                  server_name: checkout.internal
                  ca: /etc/weir/internal-ca.pem
                  certificate: { chain: /etc/weir/weir.pem, key: /etc/weir/weir.key }
            """,
        keys: [serverName.entry, ca.entry, verify.entry, certificate.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> ClientTLS? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var tls = ClientTLS()
        tls.serverName = reader.read(serverName)
        tls.ca = reader.read(ca)
        reader.read(verify, into: &tls.verify)
        tls.certificate = reader.read(certificate)
        if !tls.verify, let range = reader.valueRange(verify) {
            report.warning(
                .unverifiedEndpoints, at: range,
                "endpoints are not asked who they are: anyone in between can read and answer",
                help: "give their authority's certificate as 'ca' instead")
            if let range = reader.keyRange(ca) {
                report.warning(
                    .noEffect, at: range, "'ca' has no effect with 'verify: false'",
                    help: "remove one of the two")
            }
        }
        return tls
    }
}

enum ClientCertificateSection {
    static let section = Section(
        "certificate", at: "clusters[].tls.certificate", "A certificate's files.",
        keys: [CertificateSection.chain.entry, CertificateSection.key.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> CertificateFiles? {
        CertificateSection.decode(node, as: section, report)
    }
}
