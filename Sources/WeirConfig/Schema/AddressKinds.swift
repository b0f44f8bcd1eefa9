// Kinds of network values: addresses, prefixes, host names. Nothing is resolved.

import Glibc

extension Kind where Value == Address {
    /// Where to listen: an IP literal and a port (0: the kernel picks one).
    static let listenAddress = Kind(
        type: "IP:port, [IPv6]:port or unix:/path", bounds: nil
    ) { node, report in
        guard let text = string(node, report, "an address such as 127.0.0.1:8080") else {
            return nil
        }
        if text.hasPrefix("unix:") { return AddressText.unix(text, node, report) }
        return AddressText.ip(text, node, report, ports: 0...65535) {
            "listeners bind IP addresses; write 0.0.0.0:port for all of them"
        }
    }

    /// The admin listener's address.
    static let adminAddress = Kind(type: "IP:port or unix:/path", bounds: nil) { node, report in
        guard let text = string(node, report, "an address such as 127.0.0.1:9901") else {
            return nil
        }
        guard text.hasPrefix("unix:") else {
            return AddressText.ip(text, node, report, ports: 0...65535) {
                "expected an IP address and port, or unix:/path"
            }
        }
        return AddressText.unix(text, node, report)
    }

    /// Where an origin listens: an IP literal and a port.
    static let endpointAddress = Kind(
        type: "IP:port, [IPv6]:port or unix:/path", bounds: nil
    ) { node, report in
        guard let text = string(node, report, "an address such as 10.0.0.1:8080") else {
            return nil
        }
        if text.hasPrefix("unix:") { return AddressText.unix(text, node, report) }
        return AddressText.ip(text, node, report, ports: 1...65535) {
            "a name is resolved by: discovery: { dns: \(Text.printable(text)) }"
        }
    }
}

extension Kind where Value == AddressPrefix {
    /// An IP prefix; a bare address stands for itself alone.
    static let prefix = Kind(type: "IP/bits", bounds: nil) { node, report in
        guard let text = string(node, report, "a prefix such as 10.0.0.0/8") else { return nil }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let literal = AddressText.canonical(String(parts[0])) else {
            report.error(
                .badPrefix, at: node.range, "\(Text.quoted(text)) is no IP prefix",
                help: "expected a prefix such as 10.0.0.0/8 or fd00::/8")
            return nil
        }
        let width = literal.bytes.count * 8
        guard parts.count == 2 else { return AddressPrefix(address: literal.text, bits: width) }
        guard let bits = AddressText.number(String(parts[1])), bits <= width else {
            report.error(
                .badPrefix, at: node.range(from: parts[0].count + 1),
                "the prefix length of \(Text.quoted(text)) is not 0 to \(width)")
            return nil
        }
        if literal.hasBits(after: bits) {
            report.warning(
                .prefixHostBits, at: node.range,
                "\(Text.quoted(text)) has bits set beyond its prefix length",
                help: "only the first \(bits) bits are compared")
        }
        return AddressPrefix(address: literal.text, bits: bits)
    }
}

/// A DNS name and port, as discovery resolves it.
struct DNSTarget {
    var host: String
    var port: UInt16
}

extension Kind where Value == DNSTarget {
    static let dnsTarget = Kind(type: "name:port", bounds: nil) { node, report in
        guard let text = string(node, report, "a name and port such as app.internal:8080") else {
            return nil
        }
        guard let (host, port) = AddressText.split(text, node, report, ports: 1...65535) else {
            return nil
        }
        if AddressText.canonical(host) != nil {
            report.error(
                .badHost, at: node.range, "\(Text.quoted(host)) is an address, not a name",
                help: "addresses are written under 'endpoints'")
            return nil
        }
        guard AddressText.isHostName(host) else {
            report.error(
                .badHost, at: node.range, "\(Text.quoted(host)) is no host name",
                help: "labels of letters, digits and '-', joined by dots")
            return nil
        }
        return DNSTarget(host: host.lowercased(), port: port)
    }
}

/// The grammar that addresses share.
enum AddressText {
    /// `sockaddr_un` holds 108 bytes with the closing NUL.
    static let maxUnixPath = 107

    struct Literal {
        /// The one spelling that equal addresses share.
        var text: String
        var bytes: [UInt8]

        func hasBits(after bits: Int) -> Bool {
            bytes.enumerated().contains { index, byte in
                let kept = min(max(bits - index * 8, 0), 8)
                return byte & UInt8(truncatingIfNeeded: 0xFF >> kept) != 0
            }
        }
    }

    /// Reads an IPv4 or IPv6 literal without brackets.
    static func canonical(_ text: String) -> Literal? {
        guard text.utf8.count < Int(INET6_ADDRSTRLEN) else { return nil }
        for (family, size) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: size)
            guard inet_pton(family, text, &bytes) == 1 else { continue }
            var out = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            guard inet_ntop(family, bytes, &out, socklen_t(out.count)) != nil else { return nil }
            let length = out.firstIndex(of: 0) ?? out.count
            let name = String(decoding: out[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
            return Literal(text: name, bytes: bytes)
        }
        return nil
    }

    static func number(_ text: String) -> Int? {
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
        else { return nil }
        return Int(text)
    }

    /// Splits `host:port`, `[v6]:port`.
    static func split(
        _ text: String, _ node: YAMLNode, _ report: Report, ports: ClosedRange<Int>
    ) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":") else {
            report.error(
                .badPort, at: node.range, "\(Text.quoted(text)) has no port",
                help: number(text) == nil
                    ? "expected host:port" : "expected host:port, such as 0.0.0.0:\(text)")
            return nil
        }
        var host = String(text[..<colon])
        let digits = String(text[text.index(after: colon)...])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            guard canonical(host)?.bytes.count == 16 else {
                report.error(
                    .badAddress, at: node.range, "\(Text.quoted(host)) is no IPv6 address")
                return nil
            }
        } else if host.contains(":") {
            report.error(
                .badAddress, at: node.range, "\(Text.quoted(text)) is no address",
                help: text.contains("//")
                    ? "only the host and port are written here, without scheme and path"
                    : "an IPv6 address stands in brackets: [::1]:8080")
            return nil
        }
        guard let port = number(digits), ports.contains(port), let narrow = UInt16(exactly: port)
        else {
            report.error(
                .badPort, at: node.range(from: text.distance(from: text.startIndex, to: colon) + 1),
                "\(Text.quoted(digits)) is no port",
                help: "ports are \(ports.lowerBound) to \(ports.upperBound)")
            return nil
        }
        return (host, narrow)
    }

    /// Reads an IP literal with its port; `advice` tells what to do about a host name.
    static func ip(
        _ text: String, _ node: YAMLNode, _ report: Report, ports: ClosedRange<Int>,
        advice: () -> String
    ) -> Address? {
        guard let (host, port) = split(text, node, report, ports: ports) else { return nil }
        if let literal = canonical(host) { return .ip(host: literal.text, port: port) }
        if isHostName(host), host.utf8.contains(where: { $0 > 0x39 }) {
            report.error(
                .hostNameEndpoint, at: node.range,
                "\(Text.quoted(host)) is a host name; an IP address is expected here",
                help: advice())
        } else {
            report.error(
                .badAddress, at: node.range, "\(Text.quoted(host)) is no IP address",
                help: "expected an address such as 127.0.0.1:8080 or [::1]:8080")
        }
        return nil
    }

    /// The address of a unix socket, `unix:` and an absolute path.
    static func unix(_ text: String, _ node: YAMLNode, _ report: Report) -> Address? {
        let path = String(text.dropFirst("unix:".count))
        let isLegal = path.hasPrefix("/") && path.utf8.count <= maxUnixPath
        guard isLegal, path.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            report.error(
                .badAddress, at: node.range, "\(Text.quoted(text)) is no unix socket address",
                help: "expected unix:/path, at most \(maxUnixPath) bytes of path")
            return nil
        }
        return .unix(path: path)
    }

    /// Letters, digits, `-` and `_` in labels of at most 63 bytes, 253 in all.
    static func isHostName(_ text: String) -> Bool {
        guard (1...253).contains(text.utf8.count) else { return false }
        return text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                && label.utf8.allSatisfy { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
                    default: false
                    }
                }
        }
    }
}
