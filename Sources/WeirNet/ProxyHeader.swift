// The PROXY protocol's header: who a connection is from, told by the load balancer before it.
// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, versions 1 and 2.

import Glibc

/// The header that precedes all other bytes of a connection.
package struct ProxyHeader: Equatable, Sendable {
    /// Which versions are understood.
    package enum Version: Sendable {
        case v1, v2, any
    }

    /// What reading came to.
    package enum Reading: Equatable, Sendable {
        case needsMore
        /// Not this protocol, or not to be made sense of.
        case malformed
        /// The header is so many bytes long.
        case complete(ProxyHeader, length: Int)
    }

    /// The client; `nil` where the proxy speaks for itself, as for a health check, or does not
    /// know: the connection's own peer counts then.
    package var source: SocketAddress?

    package init(source: SocketAddress?) { self.source = source }

    /// Bytes of the longest header of version 1, with its CRLF.
    private static let maxV1Bytes = 107
    /// Bytes of the longest header of version 2 that is read; what is beyond the addresses are
    /// extensions, which are skipped.
    package static let maxBytes = 4096
    private static let fixedBytes = 16
    private static let signature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]

    // MARK: Reading

    /// Reads the header at the beginning of `bytes`.
    package static func read(_ bytes: UnsafeRawBufferPointer, _ version: Version) -> Reading {
        guard let first = bytes.first else { return .needsMore }
        switch (version, first) {
        case (.v1, _), (.any, UInt8(ascii: "P")): return readV1(bytes)
        case (.v2, _), (.any, signature[0]): return readV2(bytes)
        case (.any, _): return .malformed
        }
    }

    private static func readV1(_ bytes: UnsafeRawBufferPointer) -> Reading {
        let prefix = "PROXY ".utf8
        guard bytes.prefix(prefix.count).elementsEqual(prefix.prefix(bytes.count)) else {
            return .malformed
        }
        let line = bytes.prefix(maxV1Bytes)
        guard let end = line.firstIndex(of: 0x0A) else {
            return line.count < maxV1Bytes ? .needsMore : .malformed
        }
        guard end > 0, bytes[end - 1] == 0x0D else { return .malformed }
        let text = String(decoding: bytes[..<(end - 1)], as: UTF8.self)
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        // What follows it may be anything.
        if words.count >= 2, words[1] == "UNKNOWN" {
            return .complete(ProxyHeader(source: nil), length: end + 1)
        }
        guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6",
            let source = IPAddress(String(words[2])), IPAddress(String(words[3])) != nil,
            words[2].contains(":") == (words[1] == "TCP6"),
            words[3].contains(":") == (words[1] == "TCP6"), let port = port(words[4]),
            Self.port(words[5]) != nil
        else { return .malformed }
        return .complete(ProxyHeader(source: .ip(source, port: port)), length: end + 1)
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard (1...5).contains(text.utf8.count),
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            text == "0" || !text.hasPrefix("0")
        else { return nil }
        return UInt16(text)
    }

    private static func readV2(_ bytes: UnsafeRawBufferPointer) -> Reading {
        guard bytes.prefix(signature.count).elementsEqual(signature.prefix(bytes.count)) else {
            return .malformed
        }
        guard bytes.count >= fixedBytes else { return .needsMore }
        let length = fixedBytes + (Int(bytes[14]) << 8 | Int(bytes[15]))
        guard bytes[12] >> 4 == 2, length <= maxBytes else { return .malformed }
        guard bytes.count >= length else { return .needsMore }
        switch bytes[12] & 15 {
        // LOCAL: the proxy itself, whatever it says of addresses.
        case 0: return .complete(ProxyHeader(source: nil), length: length)
        case 1: break
        default: return .malformed
        }
        let addresses = UnsafeRawBufferPointer(rebasing: bytes[fixedBytes..<length])
        switch bytes[13] {
        case 0x11:
            guard addresses.count >= 12 else { return .malformed }
            let address = IPAddress(v4: UInt32(bigEndian: addresses.loadUnaligned(as: UInt32.self)))
            let port = UInt16(
                bigEndian: addresses.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
            return .complete(ProxyHeader(source: .ip(address, port: port)), length: length)
        case 0x21:
            guard addresses.count >= 36 else { return .malformed }
            let address = IPAddress(
                high: UInt64(bigEndian: addresses.loadUnaligned(as: UInt64.self)),
                low: UInt64(
                    bigEndian: addresses.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
            let port = UInt16(
                bigEndian: addresses.loadUnaligned(fromByteOffset: 32, as: UInt16.self))
            return .complete(ProxyHeader(source: .ip(address, port: port)), length: length)
        case 0x31:
            guard addresses.count >= 216 else { return .malformed }
            return .complete(ProxyHeader(source: .unix(path: "")), length: length)
        // Datagrams, or no address at all: it came through, but from where is not known.
        default: return .complete(ProxyHeader(source: nil), length: length)
        }
    }

    // MARK: Writing

    /// The header that tells an endpoint who the client is.
    ///
    /// - Parameters:
    ///   - source: the client; `nil` or a unix socket tells that it is not known.
    ///   - target: where it has connected to.
    package static func write(
        _ version: Version, source: SocketAddress?, target: SocketAddress?
    ) -> [UInt8] {
        guard case .ip(let from, let fromPort)? = source, case .ip(let to, let toPort)? = target,
            from.isV4 == to.isV4
        else {
            return version == .v1
                ? Array("PROXY UNKNOWN\r\n".utf8) : signature + [0x21, 0x00, 0, 0]
        }
        if version == .v1 {
            let family = from.isV4 ? "TCP4" : "TCP6"
            return Array("PROXY \(family) \(from) \(to) \(fromPort) \(toPort)\r\n".utf8)
        }
        var out = signature + [0x21, from.isV4 ? 0x11 : 0x21, 0, from.isV4 ? 12 : 36]
        for address in [from, to] {
            if !address.isV4 { append(address.high, to: &out) }
            if address.isV4 {
                append(UInt32(truncatingIfNeeded: address.low), to: &out)
            } else {
                append(address.low, to: &out)
            }
        }
        append(fromPort, to: &out)
        append(toPort, to: &out)
        return out
    }

    private static func append(_ value: some FixedWidthInteger, to out: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { out += $0 }
    }
}
