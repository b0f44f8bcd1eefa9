// Kinds of HTTP values: hosts, paths, methods, regexes, header names and values.

extension Kind where Value == Route.Host {
    /// An exact host or `*.suffix`.
    static let hostPattern = Kind(type: "host or *.suffix", bounds: nil) { node, report in
        guard let text = string(node, report, "a host such as www.example.com") else { return nil }
        let lower = text.lowercased()
        if lower == "*" {
            report.error(
                .badHost, at: node.range, "'*' matches no host",
                help: "leave 'host' out to match every host")
            return nil
        }
        if lower.hasPrefix("*.") {
            let suffix = String(lower.dropFirst(2))
            if AddressText.isHostName(suffix) { return .suffix("." + suffix) }
        } else if AddressText.isHostName(lower) {
            return .exact(lower)
        } else if lower.hasPrefix("["), lower.hasSuffix("]"),
            let literal = AddressText.canonical(String(lower.dropFirst().dropLast()))
        {
            return .exact("[\(literal.text)]")
        }
        let hasPort = lower.contains(":")
        report.error(
            .badHost, at: node.range, "\(Text.quoted(text)) is no host pattern",
            help: hasPort
                ? "hosts are compared without their port"
                : "expected an exact host, or '*.' and a suffix")
        return nil
    }
}

extension Kind where Value == [Route.Host] {
    /// One host pattern or a list of them.
    static let hostPatterns = Kind(type: "host, *.suffix, or a list", bounds: "at least one") {
        node, report in
        if case .list = node.content {
            return Kind.list(of: .hostPattern, "hosts").read(node, report)
        }
        return Kind<Route.Host>.hostPattern.read(node, report).map { [$0] }
    }
}

extension Kind where Value == String {
    private static let maxPathBytes = 2048

    /// A path or its beginning: begins with `/`, holds no query.
    static let urlPath = Kind(type: "path", bounds: "begins with /") { node, report in
        guard let text = string(node, report, "a path such as /api") else { return nil }
        guard text.hasPrefix("/"), text.utf8.count <= maxPathBytes else {
            report.error(
                .badPath, at: node.range, "\(Text.quoted(text)) is no path",
                help: "a path begins with '/' and has at most \(maxPathBytes) bytes")
            return nil
        }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x3F && $0 != 0x23 }) else {
            report.error(
                .badPath, at: node.range,
                "\(Text.quoted(text)) has a character that no path contains",
                help: "no '?', '#', spaces or controls; write others as %XX")
            return nil
        }
        return text
    }

    /// A regular expression that must match the whole of what it tests.
    static let regex = Kind(type: "regex (PCRE2)", bounds: "at most 1024 bytes") { node, report in
        guard let text = string(node, report, "a regular expression") else { return nil }
        guard let fault = Regex.fault(in: text) else { return text }
        report.error(
            .badRegex, at: node.range(from: fault.offset),
            "regex \(Text.quoted(text)): \(fault.message)",
            help: fault.isPositioned ? "PCRE2 stopped at character \(fault.offset)" : nil)
        return nil
    }

    /// A method: a token, upper case when it is a registered one.
    static let method = Kind(type: "method", bounds: nil) { node, report in
        guard let text = string(node, report, "a method such as GET") else { return nil }
        let registered = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
        ]
        let upper = text.uppercased()
        guard HTTPText.isToken(text), text.utf8.count <= 32,
            text == upper || !registered.contains(upper)
        else {
            report.error(
                .badMethod, at: node.range, "\(Text.quoted(text)) is no method",
                label: registered.contains(upper) ? "did you mean '\(upper)'?" : nil,
                help: "methods are tokens, and upper and lower case differ")
            return nil
        }
        return text
    }

    /// A field name, lower-cased.
    static let fieldName = Kind(type: "header name", bounds: nil) { node, report in
        guard let text = string(node, report, "a header name") else { return nil }
        return HTTPText.fieldName(text, node.range, report)
    }

    /// A field's value.
    static let fieldValue = Kind(type: "header value", bounds: nil) { node, report in
        guard let text = string(node, report, "a header value") else { return nil }
        return HTTPText.isFieldValue(text, node.range, report) ? text : nil
    }

    /// A host with an optional port, to be sent as it is.
    static let authority = Kind(type: "host[:port]", bounds: nil) { node, report in
        guard let text = string(node, report, "a host such as www.example.com") else { return nil }
        var host = Substring(text)
        if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") {
            host = text[..<colon]
            guard let port = AddressText.number(String(text[text.index(after: colon)...])),
                (1...65535).contains(port)
            else {
                report.error(.badPort, at: node.range, "\(Text.quoted(text)) has no legal port")
                return nil
            }
        }
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let isLegal =
            isBracketed
            ? AddressText.canonical(String(host.dropFirst().dropLast())) != nil
            : AddressText.isHostName(String(host))
        guard isLegal else {
            report.error(.badHost, at: node.range, "\(Text.quoted(text)) is no host")
            return nil
        }
        return text
    }

    /// A host without port.
    static let hostOnly = Kind(type: "host", bounds: nil) { node, report in
        guard let text = authority.read(node, report) else { return nil }
        if text.contains(":"), !text.hasSuffix("]") {
            report.error(
                .badHost, at: node.range, "\(Text.quoted(text)) carries a port",
                help: "give the port under 'port'")
            return nil
        }
        return text
    }
}

/// The grammar of fields.
enum HTTPText {
    /// Fields that frame a message or belong to one connection.
    static let connectionFields: Set<String> = [
        "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "proxy-authenticate", "proxy-authorization",
    ]

    static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    /// `text` lower-cased, or `nil` after reporting that it is no field name.
    static func fieldName(_ text: String, _ range: SourceRange, _ report: Report) -> String? {
        guard isToken(text), text.utf8.count <= 256 else {
            report.error(
                .badHeaderName, at: range, "\(Text.quoted(text)) is no header name",
                help: "letters, digits and !#$%&'*+-.^_`|~, at most 256")
            return nil
        }
        return text.lowercased()
    }

    /// Reports a value that would end the field, or the head, early.
    static func isFieldValue(_ text: String, _ range: SourceRange, _ report: Report) -> Bool {
        let isLegal = text.utf8.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == 0x09 }
        guard isLegal, text.utf8.count <= 8192 else {
            report.error(
                .badHeaderValue, at: range,
                isLegal
                    ? "a header value of \(text.utf8.count) bytes; at most 8192 are allowed"
                    : "a header value must not contain CR, LF, NUL or other controls")
            return false
        }
        return true
    }
}
