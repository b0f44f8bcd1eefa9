// The PROXY protocol's header, read in any piece and written as others read it.

import Testing

@testable import WeirNet

private func read(_ bytes: [UInt8], _ version: ProxyHeader.Version = .any) -> ProxyHeader.Reading {
    bytes.withUnsafeBytes { ProxyHeader.read($0, version) }
}

private func read(_ text: String, _ version: ProxyHeader.Version = .any) -> ProxyHeader.Reading {
    read(Array(text.utf8), version)
}

private func ip(_ text: String, _ port: UInt16) -> SocketAddress? {
    IPAddress(text).map { .ip($0, port: port) }
}

private let signature: [UInt8] = Array("\r\n\r\n\0\r\nQUIT\n".utf8)

@Suite struct `The PROXY protocol` {
    @Test func `version 1 tells the client`() {
        let four = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
        #expect(
            read(four + "GET /")
                == .complete(ProxyHeader(source: ip("192.0.2.1", 56324)), length: four.utf8.count))
        let six = "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"
        #expect(
            read(six, .v1)
                == .complete(ProxyHeader(source: ip("2001:db8::1", 1)), length: six.utf8.count))
        let unknown = "PROXY UNKNOWN whatever it says\r\n"
        #expect(
            read(unknown) == .complete(ProxyHeader(source: nil), length: unknown.utf8.count))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "PROXX", "PROXY\tTCP4", "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", "PROXY TCP4 192.0.2.1 x 1 2\r\n",
        "PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n", "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n", "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
    ])
    func `what is not version 1 is refused`(text: String) {
        #expect(read(text) == .malformed)
        #expect(read(text, .v1) == .malformed)
    }

    @Test func `a line has a bound`() {
        let long = "PROXY UNKNOWN " + String(repeating: "x", count: 200)
        #expect(read(long) == .malformed)
        #expect(read(String(long.prefix(100))) == .needsMore)
    }

    @Test func `version 2 tells the client`() {
        let four: [UInt8] =
            signature + [0x21, 0x11, 0, 15, 192, 0, 2, 1, 10, 0, 0, 1, 0xDC, 4, 1, 187, 3, 0, 0]
        #expect(
            read(four + [9])
                == .complete(ProxyHeader(source: ip("192.0.2.1", 56324)), length: four.count))
        // A health check of the balancer's own, whatever follows.
        let local: [UInt8] = signature + [0x20, 0x11, 0, 3, 1, 2, 3]
        #expect(read(local) == .complete(ProxyHeader(source: nil), length: local.count))
        let unspecified: [UInt8] = signature + [0x21, 0x00, 0, 0]
        #expect(read(unspecified) == .complete(ProxyHeader(source: nil), length: 16))
        let unix: [UInt8] = signature + [0x21, 0x31, 0, 216] + [UInt8](repeating: 1, count: 216)
        #expect(
            read(unix) == .complete(ProxyHeader(source: .unix(path: "")), length: unix.count))
    }

    @Test(
        arguments: [
            [0x11, 0x11, 0, 12], [0x31, 0x11, 0, 12], [0x22, 0x11, 0, 12], [0x21, 0x11, 0, 11],
            [0x21, 0x21, 0, 35], [0x21, 0x31, 0, 215], [0x21, 0x11, 0x10, 0],
        ] as [[UInt8]])
    func `what is not version 2 is refused`(head: [UInt8]) {
        let bytes = signature + head + [UInt8](repeating: 0, count: 300)
        #expect(read(bytes) == .malformed)
    }

    @Test func `only the version that is asked for is read`() {
        let one = Array("PROXY UNKNOWN\r\n".utf8)
        let two = signature + [0x21, 0x00, 0, 0]
        #expect(read(one, .v2) == .malformed)
        #expect(read(two, .v1) == .malformed)
        #expect(read([], .any) == .needsMore)
    }

    @Test(arguments: [ProxyHeader.Version.v1, .v2], ["192.0.2.1", "2001:db8::1"])
    func `what is written is read, and in no piece before its end`(
        version: ProxyHeader.Version, text: String
    ) {
        let written = ProxyHeader.write(version, source: ip(text, 12345), target: ip(text, 80))
        #expect(
            read(written) == .complete(ProxyHeader(source: ip(text, 12345)), length: written.count))
        for count in 0..<written.count {
            #expect(read(Array(written[..<count])) == .needsMore, "\(count)")
        }
    }

    @Test func `a client that is not known is told as such`() {
        for version in [ProxyHeader.Version.v1, .v2] {
            for (source, target) in [
                (nil, ip("::1", 1)), (.unix(path: "/x"), ip("::1", 1)), (ip("::1", 1), nil),
                (ip("::1", 1), ip("127.0.0.1", 1)),
            ] as [(SocketAddress?, SocketAddress?)] {
                let written = ProxyHeader.write(version, source: source, target: target)
                #expect(
                    read(written)
                        == .complete(ProxyHeader(source: nil), length: written.count))
            }
        }
    }
}
