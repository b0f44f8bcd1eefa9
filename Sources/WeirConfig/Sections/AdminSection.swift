// The admin listener.

enum AdminSection {
    static let address = Key(
        "address", .adminAddress, required: true,
        "Where metrics, status and the reload call are served. A unix socket is unix:/path.")
    static let tokenFile = Key(
        "token_file", .filePath, default: "none",
        "A file whose first line must be sent as a bearer token with every change. Required "
            + "unless the address is a loopback address or a unix socket.")

    static let section = Section(
        "admin", at: "admin", "The admin listener: metrics, status, readiness and reload.",
        example: """
            admin:
              address: 127.0.0.1:9901
            """,
        keys: [address.entry, tokenFile.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Admin? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let token = reader.read(tokenFile)
        guard let address = reader.read(address), let range = reader.valueRange(self.address) else {
            return nil
        }
        report.places.bound.append(
            Places.Bound(owner: "admin", address: address, range: range))
        if !isPrivate(address), !reader.has(tokenFile) {
            report.error(
                .adminExposed, at: range, "the admin address can be reached from other machines",
                help: "give a 'token_file', or listen on 127.0.0.1 or a unix socket")
        }
        return Admin(address: address, tokenFile: token)
    }

    private static func isPrivate(_ address: Address) -> Bool {
        switch address {
        case .unix: true
        case .ip(let host, _): host.hasPrefix("127.") || host == "::1"
        }
    }
}
