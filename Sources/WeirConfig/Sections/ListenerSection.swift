// Where weir accepts connections, and what one client may send.

import WeirTime

enum ListenerSection {
    private typealias Choice = (String, ProxyProtocol?)

    static let name = Key("name", .name, required: true, "Its name in logs and metrics; unique.")
    static let address = Key(
        "address", .listenAddress, required: true,
        "Where connections are accepted. With port 0 the kernel picks a port at each start. A "
            + "reload binds new addresses and drains removed ones.")
    static let limits = Key(
        "limits", .section(LimitsSection.decode),
        "Bounds on what one client may send, and how slowly.")
    static let tls = Key(
        "tls", .section(ServerTLSSection.decode), "TLS with clients; without it, plain HTTP.")
    static let trustedProxies = Key(
        "trusted_proxies", .list(of: .prefix, "prefixes", mayBeEmpty: true), default: "[]",
        "Peers whose X-Forwarded-* and X-Request-Id fields are believed.")
    static let proxyProtocol = Key(
        "proxy_protocol",
        .word([("off", nil), ("v1", .v1), ("v2", .v2), ("any", .any)] as [Choice]),
        default: "off", reload: .newConnections,
        "The PROXY protocol's header, by which a load balancer says whom each connection is from; "
            + "a connection without it is closed. The client's address is what it says, so that "
            + "nobody but the balancer should reach the listener.")

    static let transparent = Key(
        "transparent", .flag, default: "false",
        "Connections come here by an iptables REDIRECT: requests for a cluster of discovery "
            + "original_destination go where their connection was going.")

    static let section = Section(
        "listener", at: "listeners[]", "Where weir accepts connections.",
        example: """
            listeners:
              - name: edge
                address: 0.0.0.0:8080
                limits: { request_header_bytes: 16KiB, header_timeout: 5s }
                trusted_proxies: [10.0.0.0/8]
            """,
        keys: [
            name.entry, address.entry, tls.entry, limits.entry, trustedProxies.entry,
            proxyProtocol.entry, transparent.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Listener? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let name = reader.read(name)
        if let name, let range = reader.valueRange(self.name) {
            report.places.declare(.listener, name, range)
        }
        let address = reader.read(address)
        if let address, let range = reader.valueRange(self.address) {
            report.places.bound.append(
                Places.Bound(
                    owner: name.map { "listener \($0)" } ?? "a listener", address: address,
                    range: range))
        }
        let tls = reader.read(tls)
        let limits = reader.read(limits)
        let trusted = reader.read(trustedProxies)
        guard let name, let address else { return nil }
        var listener = Listener(name: name, address: address)
        listener.tls = tls
        if let limits { listener.limits = limits }
        listener.proxyProtocol = reader.read(proxyProtocol) ?? nil
        if let trusted { listener.trustedProxies = trusted }
        reader.read(transparent, into: &listener.transparent)
        return listener
    }
}

enum LimitsSection {
    private static let timeouts: ClosedRange<Interval> = .milliseconds(10) ... .seconds(86400)

    static let headerBytes = Key(
        "request_header_bytes", .byteCount(1 << 10...64 << 10), default: "32KiB",
        reload: .newConnections, "Bytes of a request's head. Beyond it the answer is 431.")
    static let headers = Key(
        "request_headers", .integer(1...1000), default: "100",
        "Fields in a request's head. Beyond it the answer is 431.")
    static let uriBytes = Key(
        "request_uri_bytes", .byteCount(64...64 << 10), default: "8KiB",
        "Bytes of a request's target. Beyond it the answer is 414.")
    static let bodyBytes = Key(
        "request_body_bytes", .orOff(.size(0...1 << 50)), default: "off",
        "Bytes of a request's body. Beyond it the answer is 413.")
    static let headerTimeout = Key(
        "header_timeout", .duration(timeouts), default: "10s",
        "From the first byte of a request's head to its end. Beyond it the answer is 408.")
    static let bodyTimeout = Key(
        "body_timeout", .duration(timeouts), default: "10s",
        "The window over which body_min_rate is measured.")
    static let bodyMinRate = Key(
        "body_min_rate", .byteRate(0...1 << 40), default: "1KiB/s",
        "The rate at which a request's body must arrive. 0B/s is no minimum.")
    static let sendTimeout = Key(
        "send_timeout", .duration(timeouts), default: "10s",
        "The window over which send_min_rate is measured.")
    static let sendMinRate = Key(
        "send_min_rate", .byteRate(0...1 << 40), default: "1KiB/s",
        "The rate at which the client must read an answer. 0B/s is no minimum.")
    static let idleTimeout = Key(
        "idle_timeout", .duration(timeouts), default: "60s",
        "How long a kept connection may be without a request.")
    static let allowHalfClose = Key(
        "allow_half_close", .flag, default: "false",
        "Whether a client that ends its sending side while it waits is still answered. Otherwise "
            + "it counts as gone, and the attempt at the endpoint is cancelled.")

    static let maxConcurrentStreams = Key(
        "max_concurrent_streams", .integer(1...1000), default: "100", reload: .newConnections,
        "Requests that a client may have under way on one HTTP/2 connection.")
    static let maxConnectionsPerIP = Key(
        "max_connections_per_ip", .orOff(.integer(1...1_000_000)), default: "off",
        reload: .newConnections,
        "Connections of one client address in the whole process; beyond them the answer is 503, "
            + "or over TLS none. IPv6 clients are told apart by their first 64 bits.")

    static let section = Section(
        "limits", at: "listeners[].limits", "Bounds on what one client may send, and how slowly.",
        example: """
            listeners:
              - name: edge
                address: 0.0.0.0:8080
                limits:
                  request_body_bytes: 10MiB
                  body_timeout: 10s
                  body_min_rate: 4KiB/s
            """,
        keys: [
            headerBytes.entry, headers.entry, uriBytes.entry, bodyBytes.entry, headerTimeout.entry,
            bodyTimeout.entry, bodyMinRate.entry, sendTimeout.entry, sendMinRate.entry,
            idleTimeout.entry, allowHalfClose.entry, maxConcurrentStreams.entry,
            maxConnectionsPerIP.entry,
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Listener.Limits? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var limits = Listener.Limits()
        reader.read(headerBytes, into: &limits.requestHeaderBytes)
        reader.read(headers, into: &limits.requestHeaders)
        reader.read(uriBytes, into: &limits.requestURIBytes)
        limits.requestBodyBytes = reader.read(bodyBytes)?.value
        reader.read(headerTimeout, into: &limits.headerTimeout)
        reader.read(bodyTimeout, into: &limits.bodyTimeout)
        reader.read(bodyMinRate, into: &limits.bodyMinRate)
        reader.read(sendTimeout, into: &limits.sendTimeout)
        reader.read(sendMinRate, into: &limits.sendMinRate)
        reader.read(idleTimeout, into: &limits.idleTimeout)
        reader.read(allowHalfClose, into: &limits.allowHalfClose)
        reader.read(maxConcurrentStreams, into: &limits.maxConcurrentStreams)
        limits.maxConnectionsPerIP = reader.read(maxConnectionsPerIP)?.value
        if limits.requestURIBytes > limits.requestHeaderBytes,
            let range = reader.valueRange(uriBytes) ?? reader.valueRange(headerBytes)
        {
            report.warning(
                .limitOrder, at: range,
                "request_uri_bytes (\(Quantity.text(bytes: Int64(limits.requestURIBytes)))) "
                    + "exceeds request_header_bytes "
                    + "(\(Quantity.text(bytes: Int64(limits.requestHeaderBytes)))), which holds it",
                help: "the smaller of the two decides")
        }
        return limits
    }
}
