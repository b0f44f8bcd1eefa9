// A configuration as YAML again, every default written out: what weir understood.

import WeirPolicy
import WeirTime

extension Configuration {
    /// YAML that reads back as this configuration, with nothing left to defaults.
    package func canonicalYAML() -> String {
        var out = CanonicalWriter()
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
        tenants?.write(to: &out)
        priorities.write(to: &out)
        if !retryPolicies.isEmpty {
            out.line("retry_policies:")
            out.indented { for policy in retryPolicies { policy.write(to: &$0) } }
        }
        if !rateLimits.isEmpty { out.list("rate_limits", rateLimits) { $1.write(to: &$0) } }
        out.list("routes", routes) { $1.write(to: &$0) }
        if !clusters.isEmpty { out.list("clusters", clusters) { $1.write(to: &$0) } }
        return out.text
    }
}

extension Runtime {
    fileprivate func write(to out: inout CanonicalWriter) {
        out.field("workers", workers.map { "\($0)" } ?? "auto")
        out.field("drain_timeout", Quantity.text(drainTimeout))
        out.field("max_connections", "\(maxConnections)")
        out.field("buffer_memory", Quantity.text(bytes: Int64(bufferMemory)))
        if let accessLog {
            out.line("access_log:")
            out.indented {
                $0.field("path", quote(accessLog.path))
                $0.field("format", "json")
                $0.field("sample", Decimal.text(accessLog.sample))
            }
        }
        if let user { out.field("user", quote(user)) }
        if let zone { out.field("zone", quote(zone)) }
        out.field("reason_header", reasonHeader.map(quote) ?? "off")
    }
}

extension Listener {
    fileprivate func write(to out: inout CanonicalWriter) {
        out.field("name", quote(name))
        out.field("address", quote(address.text))
        tls?.write(to: &out)
        out.line("limits:")
        out.indented { limits.write(to: &$0) }
        out.field("trusted_proxies", flow(trustedProxies.map { quote("\($0.address)/\($0.bits)") }))
        out.field("transparent", transparent ? "true" : "false")
        out.field("proxy_protocol", proxyProtocol?.rawValue ?? "off")
    }
}

extension CertificateFiles {
    fileprivate var text: String {
        var fields = [("chain", quote(chain)), ("key", quote(key))]
        if let ocsp { fields.append(("ocsp", quote(ocsp))) }
        return flow(fields)
    }
}

extension ServerTLS {
    fileprivate func write(to out: inout CanonicalWriter) {
        out.line("tls:")
        out.indented { out in
            out.list("certificates", certificates) { $0.line($1.text) }
            out.field("min_version", quote(minVersion.rawValue))
            out.field("alpn", flow(alpn.map(quote)))
            if let clientCA {
                out.field("client_ca", quote(clientCA))
                out.field("client_certificate", clientCertificate.rawValue)
            }
        }
    }
}

extension ClientTLS {
    fileprivate func write(to out: inout CanonicalWriter) {
        out.line("tls:")
        out.indented { out in
            if let serverName { out.field("server_name", quote(serverName)) }
            if let ca { out.field("ca", quote(ca)) }
            out.field("verify", verify ? "true" : "false")
            if let certificate { out.field("certificate", certificate.text) }
        }
    }
}

extension Listener.Limits {
    fileprivate func write(to out: inout CanonicalWriter) {
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
        out.field("allow_half_close", allowHalfClose ? "true" : "false")
        out.field("max_concurrent_streams", "\(maxConcurrentStreams)")
        out.field("max_connections_per_ip", maxConnectionsPerIP.map { "\($0)" } ?? "off")
    }
}

extension Route {
    fileprivate func write(to out: inout CanonicalWriter) {
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
            response.write("direct_response", to: &out)
        }
        out.field("timeout", timeout.map { Quantity.text($0) } ?? "off")
        out.field("idle_timeout", Quantity.text(idleTimeout))
        out.field("request_buffer", Quantity.text(bytes: Int64(requestBuffer)))
        if let prefixRewrite { out.field("prefix_rewrite", quote(prefixRewrite)) }
        requestHeaders.write("request_headers", to: &out)
        responseHeaders.write("response_headers", to: &out)
        writeGovernors(to: &out)
    }
}

extension Route.Match {
    fileprivate func write(to out: inout CanonicalWriter) {
        if !listeners.isEmpty { out.field("listeners", flow(listeners.map(quote))) }
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
    fileprivate func write(to out: inout CanonicalWriter) {
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
    fileprivate func write(to out: inout CanonicalWriter) {
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
    fileprivate func write(_ name: String, to out: inout CanonicalWriter) {
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
    fileprivate func write(to out: inout CanonicalWriter) {
        out.field("name", quote(name))
        switch source {
        case .endpoints(let endpoints):
            out.list("endpoints", endpoints) {
                $0.line($1.text)
            }
        case .dns(let host, let port, let every):
            out.line("discovery:")
            out.indented {
                $0.field("dns", quote("\(host):\(port)"))
                if let every { $0.field("resolve_every", Quantity.text(every)) }
            }
        case .originalDestination: out.field("discovery", "original_destination")
        }
        if source != .originalDestination { out.field("load_balancing", balancing.text) }
        out.field("connect_timeout", Quantity.text(connectTimeout))
        out.line("keepalive:")
        out.indented {
            $0.field("idle_timeout", Quantity.text(keepalive.idleTimeout))
            $0.field("max_idle", "\(keepalive.maxIdle)")
        }
        tls?.write(to: &out)
        out.field("proxy_protocol", proxyProtocol?.rawValue ?? "off")
        switch hostHeader {
        case .preserve: out.field("host_header", "preserve")
        case .endpoint: out.field("host_header", "endpoint")
        case .literal(let text): out.field("host_header", "{ literal: \(quote(text)) }")
        }
        writeGovernors(to: &out)
        out.field("http2", http2 ? "true" : "false")
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
