// The ways in which a request tells whose it is.

enum TenantIdentitySection {
    static let header = Key("header", .endToEndField, "The value of this field.")
    static let clientIP = Key(
        "client_ip", .section(ClientPrefixSection.decode),
        "The client's address, cut to a prefix; behind trusted proxies the address that they "
            + "report.")
    static let pathSegment = Key(
        "path_segment", .integer(1...16), "This segment of the path; the first is 1.")
    static let query = Key(
        "query", .parameter("a parameter's name"), "The value of this query parameter.")
    static let jwtClaim = Key(
        "jwt_claim", .section(JWTClaimSection.decode), "A claim of a JSON web token.")

    static let clientCertificate = Key(
        "client_certificate", .word([("san", true)]),
        "The first URI among the names of the client's verified certificate, or else its first DNS "
            + "name. It takes a listener with client_ca.")

    static let section = Section(
        "identity", at: "tenants.identify[]",
        "Exactly one of header, client_ip, path_segment, query, jwt_claim and client_certificate.",
        keys: [
            header.entry, clientIP.entry, pathSegment.entry, query.entry, jwtClaim.entry,
            clientCertificate.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> TenantIdentity? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(
            of: [
                header.name, clientIP.name, pathSegment.name, query.name, jwtClaim.name,
                clientCertificate.name,
            ])
        if let name = reader.read(header) { return .header(name) }
        if let prefix = reader.read(clientIP) { return prefix }
        if let index = reader.read(pathSegment) { return .pathSegment(index) }
        if let name = reader.read(query) { return .query(name) }
        if reader.read(clientCertificate) != nil {
            report.places.clientCertificate = reader.keyRange(clientCertificate)
            return .clientCertificate
        }
        return reader.read(jwtClaim).map { .jwtClaim($0) }
    }
}

enum ClientPrefixSection {
    static let v4 = Key(
        "v4_prefix", .integer(1...32), default: "32", "Bits of an IPv4 address that count.")
    static let v6 = Key(
        "v6_prefix", .integer(1...128), default: "64",
        "Bits of an IPv6 address that count; a client usually has a /64 to itself.")

    static let section = Section(
        "client_ip", at: "tenants.identify[].client_ip", "The client's address, cut to a prefix.",
        keys: [v4.entry, v6.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> TenantIdentity? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        return .clientIP(v4Prefix: reader.read(v4) ?? 32, v6Prefix: reader.read(v6) ?? 64)
    }
}

enum JWTClaimSection {
    static let header = Key(
        "header", .endToEndField, default: "authorization",
        "The field that carries the token, after the word Bearer if that precedes it.")
    static let claim = Key(
        "claim", .text("a claim's name", maxBytes: 256), required: true,
        "The claim whose value is the tenant's key.")
    static let verify = Key(
        "verify", .section(JWTVerifySection.decode),
        "Believes only tokens that are signed with this key, not expired, and made for this use.")
    static let unverified = Key(
        "unverified", .present,
        "true: believes every token. Whoever can reach weir can then claim to be any tenant.")

    static let section = Section(
        "jwt_claim", at: "tenants.identify[].jwt_claim",
        "A claim of a JSON web token: exactly one of verify and unverified.",
        example: """
            tenants:
              identify:
                - jwt_claim:
                    claim: sub
                    verify:
                      algorithm: ES256
                      key_file: /etc/weir/jwt.pem
                      issuer: https://login.example.com/
                      audiences: [https://api.example.com]
              plans: { all: { rate: 10/s } }
              default_plan: all
            """,
        keys: [header.entry, claim.entry, verify.entry, unverified.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> JWTClaim? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [verify.name, unverified.name])
        let header = reader.read(header)
        let verification =
            reader.read(verify) ?? reader.read(unverified).map { _ in .unverified }
        guard let claim = reader.read(claim), let verification else { return nil }
        var result = JWTClaim(claim: claim, verification: verification)
        if let header { result.header = header }
        return result
    }
}

enum JWTVerifySection {
    static let algorithm = Key(
        "algorithm", .word(JWTClaim.Algorithm.allCases.map { ($0.rawValue, $0) }), required: true,
        "The one algorithm that is accepted, whatever a token says.")
    static let keyFile = Key(
        "key_file", .filePath, required: true,
        "HS256: the secret, as the file's bytes. RS256 and ES256: the public key, as PEM.")
    static let issuer = Key(
        "issuer", .text("an issuer", maxBytes: 256), default: "none",
        "What the token's iss must be. Without it, iss is not looked at.")
    static let audiences = Key(
        "audiences", .list(of: .text("an audience", maxBytes: 256), "audiences", atMost: 16),
        default: "none",
        "One of these must be the token's aud, or in its list. Without it, aud is not looked at.")

    static let section = Section(
        "verify", at: "tenants.identify[].jwt_claim.verify",
        "How a token is checked: by its signature, exp and nbf, and, where they are given, by who "
            + "made it and for whom.",
        keys: [algorithm.entry, keyFile.entry, issuer.entry, audiences.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> JWTClaim.Verification? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let file = reader.read(keyFile)
        let issuer = reader.read(issuer)
        let audiences = reader.read(audiences)
        guard let algorithm = reader.read(algorithm), let file else { return nil }
        var key = JWTClaim.Key(algorithm: algorithm, file: file)
        key.issuer = issuer
        if let audiences { key.audiences = audiences }
        return .key(key)
    }
}
