// Who the client is: its address, the peer's or what trusted proxies say, and its certificate.

import WeirHTTP
package import WeirNet

extension Exchange {
    /// The address that counts as the client's; `nil` on a unix socket. Of `X-Forwarded-For`, read
    /// from its end, it is the first that is no trusted proxy's: what stands before it could be
    /// anything.
    var clientAddress: IPAddress? {
        guard let peer = client?.use({ $0.peerAddress }) else { return nil }
        guard record.isPeerTrusted, let client else { return peer }
        var nearest = peer
        for index in stride(from: head.fields.count - 1, through: 0, by: -1)
        where head.fields[index].known == .xForwardedFor {
            var rest = message.bytes[valueOf: head.fields[index]]
            while let element = rest.takeLastElement() {
                guard let address = IPAddress(bytes: element) else { return nearest }
                nearest = address
                let isTrusted = client.use { $0.listener.settings.trusts(.ip(address, port: 0)) }
                if !isTrusted { return address }
            }
        }
        return nearest
    }

    /// The header that tells an endpoint who the client is, and where it has connected to.
    func proxyHeader(_ version: ProxyHeader.Version) -> [UInt8] {
        guard let connection = client?.object else {
            return ProxyHeader.write(version, source: nil, target: nil)
        }
        return ProxyHeader.write(
            version, source: connection.peer, target: Socket.localAddress(connection.fd))
    }

    /// The client speaks TLS.
    @inline(__always)
    var isSecure: Bool { client?.use { $0.tls != nil } ?? false }

    /// The client's certificate, where it has shown one that was verified.
    @inline(__always)
    var clientCertificate: PeerCertificate? { client?.use { $0.tls?.peerCertificate } ?? nil }
}

extension IPAddress {
    /// An address for counting: the bits beyond the prefix of its family are zero.
    package func prefix(v4Bits: Int, v6Bits: Int) -> IPAddress {
        let bits = isV4 ? v4Bits + 96 : v6Bits
        let highMask = bits >= 64 ? ~0 : ~(~UInt64(0) >> UInt64(max(0, bits)))
        let lowMask = bits <= 64 ? 0 : bits >= 128 ? ~0 : ~(~UInt64(0) >> UInt64(bits - 64))
        return IPAddress(high: high & highMask, low: low & lowMask)
    }
}

extension UnsafeRawBufferPointer {
    /// Takes the last element of a comma-separated list, without the space around it; `nil` once
    /// nothing is left.
    fileprivate mutating func takeLastElement() -> UnsafeRawBufferPointer? {
        guard count > 0 else { return nil }
        var start = count
        while start > 0, self[start - 1] != UInt8(ascii: ",") { start -= 1 }
        var element = UnsafeRawBufferPointer(rebasing: self[start...])
        self = UnsafeRawBufferPointer(rebasing: self[..<Swift.max(0, start - 1)])
        while let first = element.first, first == 0x20 || first == 0x09 {
            element = UnsafeRawBufferPointer(rebasing: element.dropFirst())
        }
        while let last = element.last, last == 0x20 || last == 0x09 {
            element = UnsafeRawBufferPointer(rebasing: element.dropLast())
        }
        return element
    }
}
