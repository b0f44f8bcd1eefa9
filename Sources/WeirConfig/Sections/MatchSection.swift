// The conditions of a route.

enum MatchSection {
    static let listeners = Key(
        "listeners", .list(of: .listenerName, "listeners' names"), default: "every listener",
        "The request came by one of these.")
    static let host = Key(
        "host", .hostPatterns, default: "every host",
        "Any of these. Compared without port and case; *.example.com does not match example.com.")
    static let path = Key("path", .urlPath, "The whole path.")
    static let pathPrefix = Key(
        "path_prefix", .urlPath,
        "The path's beginning, in whole segments: /a matches /a and /a/b, not /ab; /a/ matches "
            + "/a/b, not /a.")
    static let pathRegex = Key("path_regex", .regex, "Must match the whole path.")
    static let methods = Key(
        "methods", .list(of: .method, "methods"), default: "every method", "Any of these.")
    static let headers = Key(
        "headers",
        .list(
            of: .section(ValueMatchSection.decodeHeader),
            "header conditions"),
        default: "none", "Conditions on request fields; all must hold.")
    static let query = Key(
        "query",
        .list(
            of: .section(ValueMatchSection.decodeQuery),
            "query conditions"),
        default: "none", "Conditions on query parameters; all must hold.")

    static let section = Section(
        "match", at: "routes[].match",
        "All conditions must hold; one that is left out holds. At most one of path, path_prefix "
            + "and path_regex.",
        example: """
            routes:
              - name: beta
                match:
                  host: [www.example.com, "*.shop.example.com"]
                  path_prefix: /catalog
                  methods: [GET, HEAD]
                  headers: [{ name: x-beta, exact: "1" }]
                  query: [{ name: preview, present: true }]
                cluster: beta
            """,
        keys: [
            listeners.entry, host.entry, path.entry, pathPrefix.entry, pathRegex.entry,
            methods.entry,
            headers.entry, query.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Route.Match? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [path.name, pathPrefix.name, pathRegex.name], optional: true)
        var match = Route.Match()
        reader.read(listeners, into: &match.listeners)
        reader.read(host, into: &match.hosts)
        if let text = reader.read(path) { match.path = .exact(text) }
        if let text = reader.read(pathRegex) { match.path = .regex(text) }
        // Last, so that a rewrite is not also said to lack its prefix when there are several.
        if let text = reader.read(pathPrefix) { match.path = .prefix(text) }
        reader.read(methods, into: &match.methods)
        reader.read(headers, into: &match.headers)
        reader.read(query, into: &match.query)
        let isRefused = reader.has(pathPrefix) && !match.path.isPrefix
        return isRefused ? nil : match
    }
}

extension Kind where Value == String {
    /// A name that one of the listeners must have.
    fileprivate static let listenerName = Kind(type: "a listener's name", bounds: nil) {
        node, report in
        let name = Kind.name.read(node, report)
        report.places.refer(to: .listener, name, node.range)
        return name
    }
}

extension Route.Path {
    fileprivate var isPrefix: Bool {
        if case .prefix = self { true } else { false }
    }
}

/// A condition on a header or a query parameter.
enum ValueMatchSection {
    static let headerName = Key("name", .fieldName, required: true, "The field's name.")
    static let queryName = Key(
        "name", .text("a parameter's name", maxBytes: 256), required: true,
        "The parameter's name, compared as it is sent: not percent-decoded.")
    static let exact = Key(
        "exact", .text("a value", maxBytes: 8192, mayBeEmpty: true), "The whole value.")
    static let prefix = Key("prefix", .text("a prefix", maxBytes: 8192), "The value's beginning.")
    static let regex = Key("regex", .regex, "Must match the whole value.")
    static let present = Key(
        "present", .flag, "true: there is one, whatever its value; false: there is none.")
    static let invert = Key(
        "invert", .flag, default: "false", "The condition holds when the test does not.")

    static let header = Section(
        "header condition", at: "routes[].match.headers[]",
        "Exactly one of exact, prefix, regex and present.",
        keys: [
            headerName.entry, exact.entry, prefix.entry, regex.entry, present.entry, invert.entry,
        ])

    static let query = Section(
        "query condition", at: "routes[].match.query[]",
        "Exactly one of exact, prefix, regex and present.",
        keys: [
            queryName.entry, exact.entry, prefix.entry, regex.entry, present.entry, invert.entry,
        ])

    static func decodeHeader(_ node: YAMLNode, _ report: Report) -> Route.ValueMatch? {
        decode(node, header, headerName, report)
    }

    static func decodeQuery(_ node: YAMLNode, _ report: Report) -> Route.ValueMatch? {
        decode(node, query, queryName, report)
    }

    private static func decode(
        _ node: YAMLNode, _ section: Section, _ name: Key<String>, _ report: Report
    ) -> Route.ValueMatch? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        reader.requireOne(of: [exact.name, prefix.name, regex.name, self.present.name])
        let isPresent = reader.read(self.present)
        let test: Route.ValueMatch.Test? =
            if let text = reader.read(exact) {
                .exact(text)
            } else if let text = reader.read(prefix) {
                .prefix(text)
            } else if let text = reader.read(regex) {
                .regex(text)
            } else {
                isPresent == nil ? nil : .present
            }
        let inverted = reader.read(invert) ?? false
        guard let name = reader.read(name), let test else { return nil }
        var match = Route.ValueMatch(name: name, test: test)
        match.invert = inverted != (isPresent == false)
        return match
    }
}
