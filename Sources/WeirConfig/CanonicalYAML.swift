// A configuration as YAML again, every default written out: what weir understood.

import WeirPolicy
import WeirTime

extension Configuration {
    /// YAML that reads back as this configuration, with nothing left to defaults.
    package func canonicalYAML() -> String {
        var out = Writer()
        out.line("version: 1")
        if let admin {
            out.line("admin:")
            out.indented {
                $0.field("address", quote(admin.address.text))
                if let file = admin.tokenFile { $0.field("token_file", quote(file)) }
            }
        }
        out.line("runtime:")
        out.indented { runtime.write(to: &$0) }
        out.list("listeners", listeners) { $1.write(to: &$0) }
        out.list("routes", routes) { $1.write(to: &$0) }
        if !clusters.isEmpty { out.list("clusters", clusters) { $1.write(to: &$0) } }
        return out.text
    }
}

/// Lines at a depth.
private struct Writer {
    var text = ""
    private var depth = 0
    /// The next line begins a list item.
    private var isItem = false

    mutating func line(_ content: String) {
        let spaces = depth * 2
        if isItem {
            text += String(repeating: " ", count: spaces - 2) + "- " + content + "\n"
            isItem = false
        } else {
            text += String(repeating: " ", count: spaces) + content + "\n"
        }
    }

    mutating func field(_ name: String, _ value: String) { line("\(name): \(value)") }

    mutating func indented(_ body: (inout Writer) -> Void) {
        depth += 1
        body(&self)
        depth -= 1
    }

    mutating func list<Item>(
        _ name: String, _ items: [Item], _ body: (inout Writer, Item) -> Void
    ) {
        line("\(name):")
        depth += 2
        for item in items {
            isItem = true
            body(&self, item)
        }
        depth -= 2
    }
}

/// A double-quoted scalar: the one form in which every text can be written.
private func quote(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case _
        where scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value)
            || scalar.value == 0x2028 || scalar.value == 0x2029 || scalar.value == 0xFEFF
            || scalar.value & 0xFFFE == 0xFFFE:
            let hex = String(scalar.value, radix: 16)
            out += "\\U" + String(repeating: "0", count: max(0, 8 - hex.count)) + hex
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}

private func flow(_ items: [String]) -> String { "[" + items.joined(separator: ", ") + "]" }

extension Runtime {
    fileprivate func write(to out: inout Writer) {
        out.field("workers", workers.map { "\($0)" } ?? "auto")
        out.field("drain_timeout", Quantity.text(drainTimeout))
        out.field("max_connections", "\(maxConnections)")
        out.field("buffer_memory", Quantity.text(bytes: Int64(bufferMemory)))
        guard let accessLog else { return }
        out.line("access_log:")
        out.indented {
            $0.field("path", quote(accessLog.path))
            $0.field("format", "json")
            $0.field("sample", Decimal.text(accessLog.sample))
        }
    }
}

/// Numbers without an exponent, which the schema does not read.
private enum Decimal {
    static func text(_ value: Double) -> String {
        let short = "\(value)"
        guard short.contains("e") else { return short }
        // Only tiny shares are printed with an exponent: a leading zero per power of ten.
        let parts = short.split(separator: "e")
        guard parts.count == 2, let power = Int(parts[1]), power < 0 else { return "0.0" }
        let digits = parts[0].filter { $0 != "." }
        return "0." + String(repeating: "0", count: -power - 1) + digits
    }
}

extension Listener {
    fileprivate func write(to out: inout Writer) {
        out.field("name", quote(name))
        out.field("address", quote(address.text))
        out.line("limits:")
        out.indented { limits.write(to: &$0) }
        out.field("trusted_proxies", flow(trustedProxies.map { quote("\($0.address)/\($0.bits)") }))
        out.field("proxy_protocol", "off")
    }
}

extension Listener.Limits {
    fileprivate func write(to out: inout Writer) {
        out.field("request_header_bytes", Quantity.text(bytes: Int64(requestHeaderBytes)))
        out.field("request_headers", "\(requestHeaders)")
        out.field("request_uri_bytes", Quantity.text(bytes: Int64(requestURIBytes)))
        out.field("request_body_bytes", requestBodyBytes.map { Quantity.text(bytes: $0) } ?? "off")
        out.field("header_timeout", Quantity.text(headerTimeout))
        out.field("body_timeout", Quantity.text(bodyTimeout))
        out.field("body_min_rate", Quantity.text(bytesPerSecond: Int64(bodyMinRate)))
        out.field("send_timeout", Quantity.text(sendTimeout))
        out.field("send_min_rate", Quantity.text(bytesPerSecond: Int64(sendMinRate)))
        out.field("idle_timeout", Quantity.text(idleTimeout))
    }
}

extension Route {
    fileprivate func write(to out: inout Writer) {
        out.field("name", quote(name))
        if match != Match() {
            out.line("match:")
            out.indented { match.write(to: &$0) }
        }
        switch action {
        case .forward(let cluster):
            out.field("cluster", quote(cluster))
        case .redirect(let redirect):
            out.line("redirect:")
            out.indented { redirect.write(to: &$0) }
        case .respond(let response):
            out.line("direct_response:")
            out.indented {
                $0.field("status", "\(response.status)")
                $0.field("body", quote(response.body))
                $0.field("content_type", quote(response.contentType))
            }
        }
        out.field("timeout", timeout.map { Quantity.text($0) } ?? "off")
        out.field("idle_timeout", Quantity.text(idleTimeout))
        out.field("request_buffer", Quantity.text(bytes: Int64(requestBuffer)))
        if let prefixRewrite { out.field("prefix_rewrite", quote(prefixRewrite)) }
        requestHeaders.write("request_headers", to: &out)
        responseHeaders.write("response_headers", to: &out)
    }
}

extension Route.Match {
    fileprivate func write(to out: inout Writer) {
        if !hosts.isEmpty {
            let texts = hosts.map { host in
                switch host {
                case .exact(let name): quote(name)
                case .suffix(let suffix): quote("*" + suffix)
                }
            }
            out.field("host", flow(texts))
        }
        switch path {
        case .any: break
        case .exact(let text): out.field("path", quote(text))
        case .prefix(let text): out.field("path_prefix", quote(text))
        case .regex(let text): out.field("path_regex", quote(text))
        }
        if !methods.isEmpty { out.field("methods", flow(methods.map(quote))) }
        if !headers.isEmpty { out.list("headers", headers) { $1.write(to: &$0) } }
        if !query.isEmpty { out.list("query", query) { $1.write(to: &$0) } }
    }
}

extension Route.ValueMatch {
    fileprivate func write(to out: inout Writer) {
        out.field("name", quote(name))
        switch test {
        case .present: out.field("present", "true")
        case .exact(let text): out.field("exact", quote(text))
        case .prefix(let text): out.field("prefix", quote(text))
        case .regex(let text): out.field("regex", quote(text))
        }
        if invert { out.field("invert", "true") }
    }
}

extension Route.Redirect {
    fileprivate func write(to out: inout Writer) {
        out.field("status", "\(status)")
        if let scheme { out.field("scheme", scheme) }
        if let host { out.field("host", quote(host)) }
        if let port { out.field("port", "\(port)") }
        if let path { out.field("path", quote(path)) }
        if let prefixRewrite { out.field("prefix_rewrite", quote(prefixRewrite)) }
        if stripQuery { out.field("strip_query", "true") }
    }
}

extension HeaderEdits {
    fileprivate func write(_ name: String, to out: inout Writer) {
        if isEmpty { return }
        out.line("\(name):")
        out.indented {
            if !remove.isEmpty { $0.field("remove", flow(remove.map(quote))) }
            for (key, fields) in [("set", set), ("add", add)] where !fields.isEmpty {
                $0.line("\(key):")
                $0.indented { out in
                    for field in fields { out.field(quote(field.name), quote(field.value)) }
                }
            }
        }
    }
}

extension Cluster {
    fileprivate func write(to out: inout Writer) {
        out.field("name", quote(name))
        switch source {
        case .endpoints(let endpoints):
            out.list("endpoints", endpoints) {
                $0.line("{ address: \(quote($1.address.text)), weight: \($1.weight) }")
            }
        case .dns(let host, let port, let every):
            out.line("discovery:")
            out.indented {
                $0.field("dns", quote("\(host):\(port)"))
                if let every { $0.field("resolve_every", Quantity.text(every)) }
            }
        }
        out.field("load_balancing", "{ policy: \(balancer.rawValue) }")
        out.field("connect_timeout", Quantity.text(connectTimeout))
        out.line("keepalive:")
        out.indented {
            $0.field("idle_timeout", Quantity.text(keepalive.idleTimeout))
            $0.field("max_idle", "\(keepalive.maxIdle)")
        }
        switch hostHeader {
        case .preserve: out.field("host_header", "preserve")
        case .endpoint: out.field("host_header", "endpoint")
        case .literal(let text): out.field("host_header", "{ literal: \(quote(text)) }")
        }
        out.field("http2", "false")
    }
}

extension Address {
    /// The address as it is written in the configuration.
    package var text: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .ip(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}
