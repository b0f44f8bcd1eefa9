// Text to addresses and back, and prefixes.

import Testing
import WeirNet

@Suite struct `An IP address` {
    @Test(arguments: [
        "0.0.0.0", "127.0.0.1", "10.20.30.40", "255.255.255.255", "192.0.2.100", "::", "::1",
        "2001:db8::1", "fe80::1234:5678:9abc:def0", "ff02::1:ff00:0",
        "1:2:3:4:5:6:7:8",
    ])
    func `is printed as it was read`(text: String) {
        #expect(IPAddress(text)?.description == text)
    }

    @Test(arguments: [
        "", "localhost", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", "[::1]", ":::",
        "2001:db8::g", "12345::", "fe80::1%eth0", "1.2.3.4\0", "1.2.3.4\0.example",
    ])
    func `is not read from other text`(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func `is the same in its IPv4 and in its mapped form`() {
        let mapped = IPAddress("::ffff:10.1.2.3")
        #expect(mapped == IPAddress("10.1.2.3"))
        #expect(mapped?.isV4 == true)
        #expect(mapped?.description == "10.1.2.3")
        #expect(IPAddress("::10.1.2.3")?.isV4 == false)
        #expect(IPAddress(v4: 0x0A01_0203) == mapped)
    }

    @Test(arguments: [
        ("10.1.2.3", "10.0.0.0", 8, true), ("11.1.2.3", "10.0.0.0", 8, false),
        ("10.1.2.3", "0.0.0.0", 0, true), ("::ffff:10.1.2.3", "10.0.0.0", 8, true),
        ("10.1.2.3", "10.1.2.3", 32, true), ("10.1.2.2", "10.1.2.3", 32, false),
        ("10.1.2.2", "10.1.2.3", 31, true), ("172.31.255.255", "172.16.0.0", 12, true),
        ("172.32.0.0", "172.16.0.0", 12, false), ("::1", "0.0.0.0", 0, false),
    ])
    func `lies in an IPv4 prefix`(text: String, prefix: String, bits: Int, isIn: Bool) throws {
        let address = try #require(IPAddress(text))
        #expect(address.matches(prefix: try #require(IPAddress(prefix)), bits: bits + 96) == isIn)
    }

    @Test(arguments: [
        ("2001:db8:1::5", "2001:db8::", 32, true), ("2001:db9::", "2001:db8::", 32, false),
        ("2001:db8::1", "2001:db8::", 64, true), ("2001:db8:0:1::", "2001:db8::", 64, false),
        ("2001:db8::8000:0:0:1", "2001:db8::8000:0:0:0", 65, true),
        ("2001:db8::1", "2001:db8::8000:0:0:0", 65, false),
        ("::1", "::", 0, true), ("10.0.0.1", "::", 0, true), ("::2", "::1", 128, false),
        ("::1", "::1", 128, true), ("::1", "::", 127, true),
    ])
    func `lies in an IPv6 prefix`(text: String, prefix: String, bits: Int, isIn: Bool) throws {
        let address = try #require(IPAddress(text))
        #expect(address.matches(prefix: try #require(IPAddress(prefix)), bits: bits) == isIn)
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("127.255.0.9", true), ("::1", true), ("128.0.0.1", false),
        ("126.255.255.255", false), ("::2", false), ("::7f00:1", false), ("0.0.0.0", false),
    ])
    func `knows loopback`(text: String, isLoopback: Bool) {
        #expect(IPAddress(text)?.isLoopback == isLoopback)
    }
}

@Suite struct `A socket address` {
    @Test func `is printed with its port`() throws {
        let v4 = try #require(IPAddress("192.0.2.1"))
        let v6 = try #require(IPAddress("2001:db8::1"))
        #expect(SocketAddress.ip(v4, port: 80).description == "192.0.2.1:80")
        #expect(SocketAddress.ip(v6, port: 65535).description == "[2001:db8::1]:65535")
        #expect(SocketAddress.unix(path: "/run/a").description == "unix:/run/a")
    }

    @Test func `knows what stays on this machine`() throws {
        #expect(SocketAddress.unix(path: "/run/a").isLocal)
        #expect(SocketAddress.ip(try #require(IPAddress("127.0.0.1")), port: 1).isLocal)
        #expect(!SocketAddress.ip(try #require(IPAddress("0.0.0.0")), port: 1).isLocal)
        #expect(SocketAddress.unix(path: "/run/a").port == 0)
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func `survives the kernel`(text: String) throws {
        let address = try #require(IPAddress(text))
        let fd = try Socket.listen(on: .ip(address, port: 0), exclusively: false)
        let watch = ReadinessWatch(fd: fd) {}
        let bound = try #require(Socket.localAddress(watch.fd))
        #expect(bound.port != 0)
        #expect(bound == .ip(address, port: bound.port))
    }
}
