// Routes that weir answers itself: redirects and fixed responses.

enum RedirectSection {
    static let status = Key(
        "status", statusKind, default: "301", "301, 302, 303, 307 or 308.")
    static let scheme = Key(
        "scheme", .word([("http", "http"), ("https", "https")]), default: "the request's",
        "The new scheme.")
    static let host = Key("host", .hostOnly, default: "the request's", "The new host.")
    static let port = Key(
        "port", .integer(1...65535), default: "the request's", "The new port.")
    static let path = Key(
        "path", .urlPath, default: "the request's", "Replaces the whole path.")
    static let prefixRewrite = Key(
        "prefix_rewrite", .urlPath, default: "none",
        "Replaces the part of the path that path_prefix matched.")
    static let stripQuery = Key("strip_query", .flag, default: "false", "Drops the query.")

    static let section = Section(
        "redirect", at: "routes[].redirect", "What is left out is kept from the request.",
        example: """
            routes:
              - name: to-https
                match: { host: www.example.com }
                redirect: { scheme: https, status: 308 }
            """,
        keys: [
            status.entry, scheme.entry, host.entry, port.entry, path.entry, prefixRewrite.entry,
            stripQuery.entry,
        ])

    private static let statusKind = Kind<Int>(type: "status", bounds: nil) { node, report in
        guard let status = Kind<Int>.integer(100...999).read(node, report) else { return nil }
        guard [301, 302, 303, 307, 308].contains(status) else {
            report.error(
                .badStatus, at: node.range, "\(status) is no redirect",
                help: "expected 301, 302, 303, 307 or 308")
            return nil
        }
        return status
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Route.Redirect? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [path.name, prefixRewrite.name], optional: true)
        var redirect = Route.Redirect()
        reader.read(status, into: &redirect.status)
        redirect.scheme = reader.read(scheme)
        redirect.host = reader.read(host)
        redirect.port = reader.read(port).flatMap { UInt16(exactly: $0) }
        redirect.path = reader.read(path)
        redirect.prefixRewrite = reader.read(prefixRewrite)
        reader.read(stripQuery, into: &redirect.stripQuery)
        let changes =
            reader.has(scheme) || reader.has(host) || reader.has(port) || reader.has(path)
            || reader.has(prefixRewrite) || redirect.stripQuery
        if !changes {
            report.error(
                .redirectLoop, at: reader.startRange,
                "the redirect leads back to the address it came from",
                help: "give at least one of scheme, host, port, path, prefix_rewrite, strip_query")
        }
        return redirect
    }
}

enum DirectResponseSection {
    static let status = Key("status", statusKind, required: true, "The status.")
    static let body = Key(
        "body", .text("a body", maxBytes: 65535, mayBeEmpty: true), default: "empty",
        "The body, as it is sent.")
    static let contentType = Key(
        "content_type", .fieldValue, default: "text/plain; charset=utf-8",
        "The Content-Type of the body.")

    static let section = Section(
        "direct_response", at: "routes[].direct_response", "A fixed response.",
        example: """
            routes:
              - name: hello
                match: { path: /hello }
                direct_response: { status: 200, body: "hello\\n" }
            """,
        keys: [status.entry, body.entry, contentType.entry])

    private static let statusKind = Kind<Int>(type: "status", bounds: "200 to 599") {
        node, report in
        guard let status = Kind<Int>.integer(0...99999).read(node, report) else { return nil }
        guard (200...599).contains(status) else {
            report.error(
                .badStatus, at: node.range, "\(status) is no final status",
                help: "expected 200 to 599")
            return nil
        }
        return status
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Route.DirectResponse? {
        decode(node, as: section, report)
    }

    /// `section` is another place with the same keys.
    static func decode(
        _ node: YAMLNode, as section: Section, _ report: Report
    ) -> Route.DirectResponse? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let body = reader.read(body)
        let contentType = reader.read(contentType)
        guard let status = reader.read(status) else { return nil }
        if let body, !body.isEmpty, [204, 205, 304].contains(status),
            let range = reader.valueRange(self.body)
        {
            report.error(
                .bodyNotAllowed, at: range, "a \(status) response has no body",
                help: "leave 'body' out, or answer with 200")
        }
        var response = Route.DirectResponse(status: status)
        if let body { response.body = body }
        if let contentType { response.contentType = contentType }
        return response
    }
}
