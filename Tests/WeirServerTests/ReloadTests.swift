// A reload changes everything or nothing, and says which.

import Foundation
import Testing
import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

@testable import WeirAdmin
@testable import WeirServer

/// A server that is not running, on a file that tests rewrite.
private final class Bench {
    let path = NSTemporaryDirectory() + "weir-test-" + UUID().uuidString + ".yaml"
    private(set) var server: Server?

    init() throws {
        try write(["127.0.0.1:0"])
        server = try Server(file: path)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ addresses: [String], timeout: String = "1s", extra: String = "") throws {
        let listeners = addresses.enumerated().map { index, address in
            "  - name: l\(index)\n    address: \(address)\n"
        }.joined()
        try Data(
            """
            version: 1
            listeners:
            \(listeners)
            routes:
              - name: all
                cluster: c
                timeout: \(timeout)
            clusters:
              - name: c
                endpoints: [127.0.0.1:9]
            \(extra)
            """.utf8
        ).write(to: URL(fileURLWithPath: path))
    }

    func reload() throws -> ReloadResult { try #require(server).reload(trigger: "test") }
}

/// A loopback address of this process alone, one for each test that needs a free port: a port
/// that was free a moment ago on 127.0.0.1 may be anybody's by now.
private func ownAddress(_ number: Int) -> String {
    "127.\(getpid() >> 8 & 0x7F + 1).\(getpid() & 0xFF).\(number)"
}

private let ownPort: UInt16 = 4711

/// Nobody listens there: an exclusive listener may have it.
private func expectFree(
    _ host: String, _ location: SourceLocation = #_sourceLocation
) throws {
    let ip = try #require(IPAddress(host))
    let fd = try? Socket.listen(on: .ip(ip, port: ownPort), exclusively: true)
    #expect(fd != nil, sourceLocation: location)
    if let fd { _ = close(fd) }
}

@Suite struct `A reload` {
    @Test func `takes up what has changed and says so`() throws {
        let bench = try Bench()
        try bench.write(["127.0.0.1:0"], timeout: "2s")
        let result = try bench.reload()
        #expect(result.isSuccess)
        #expect(result.trigger == "test")
        #expect(result.lines.contains { $0.contains("route") && $0.contains("all") })
        let server = try #require(bench.server)
        #expect(server.generation == 2)
        #expect(server.configuration.routes[0].timeout == .seconds(2))
        #expect(server.reloadsSucceeded == 1 && server.reloadsRefused == 0)
    }

    @Test func `of a file that means the same changes nothing`() throws {
        let bench = try Bench()
        try bench.write(["127.0.0.1:0"], timeout: "1000ms", extra: "# a comment")
        let result = try bench.reload()
        #expect(result.isSuccess)
        #expect(try #require(bench.server).generation == 1)
    }

    @Test func `of a bad file keeps the old one and says what is wrong`() throws {
        let bench = try Bench()
        try bench.write(["127.0.0.1:0"], timeout: "never")
        let result = try bench.reload()
        #expect(!result.isSuccess)
        #expect(result.lines.joined().contains("timeout"))
        #expect(result.diagnosticsJSON?.contains("\"line\":") == true)
        let server = try #require(bench.server)
        #expect(server.generation == 1)
        #expect(server.configuration.routes[0].timeout == .seconds(1))
        #expect(server.reloadsRefused == 1)
    }

    @Test func `of a file that is gone keeps the old one`() throws {
        let bench = try Bench()
        try FileManager.default.removeItem(atPath: bench.path)
        let result = try bench.reload()
        #expect(!result.isSuccess)
        #expect(result.lines.joined().contains(bench.path))
        #expect(try #require(bench.server).generation == 1)
    }

    @Test func `that cannot bind a listener opens none of the others either`() throws {
        let bench = try Bench()
        let taken = try Socket.listen(
            on: .ip(IPAddress(v4: 0x7F00_0001), port: 0), exclusively: false)
        defer { _ = close(taken) }
        let takenPort = try #require(Socket.localAddress(taken)).port
        let free = ownAddress(1)
        try bench.write(["\(free):\(ownPort)", "127.0.0.1:\(takenPort)"], timeout: "2s")
        let result = try bench.reload()
        #expect(!result.isSuccess)
        #expect(result.lines.joined().contains("listener 'l1' cannot use 127.0.0.1:\(takenPort)"))
        let server = try #require(bench.server)
        #expect(server.generation == 1)
        #expect(server.configuration.routes[0].timeout == .seconds(1))
        try expectFree(free)
    }

    @Test func `that cannot open the access log opens no listener`() throws {
        let bench = try Bench()
        let free = ownAddress(2)
        try bench.write(
            ["\(free):\(ownPort)"],
            extra: "runtime: { access_log: { path: /nonexistent/weir/access.log } }")
        let result = try bench.reload()
        #expect(!result.isSuccess)
        #expect(result.lines.joined().contains("access log"))
        try expectFree(free)
    }
}

@Suite struct `The admin listener's token` {
    private static let log = "runtime: { access_log: { path: /nonexistent/weir/access.log } }"

    @Test func `is read again with each reload, and stays where that is refused`() throws {
        let bench = try Bench()
        let file = bench.path + ".token"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let admin = "admin: { address: '127.0.0.1:0', token_file: '\(file)' }\n"
        try Data("one\n".utf8).write(to: URL(fileURLWithPath: file))
        try bench.write(["127.0.0.1:0"], extra: admin)
        #expect(try bench.reload().isSuccess)
        let server = try #require(bench.server?.admin?.server)
        #expect(server.gate.token == Array("one".utf8))

        try Data("two\n".utf8).write(to: URL(fileURLWithPath: file))
        #expect(try bench.reload().isSuccess, "of the same configuration")
        #expect(server.gate.token == Array("two".utf8))

        try Data("three\n".utf8).write(to: URL(fileURLWithPath: file))
        try bench.write(["127.0.0.1:0"], extra: admin + Self.log)
        #expect(try !bench.reload().isSuccess)
        #expect(server.gate.token == Array("two".utf8))
        #expect(bench.server?.admin?.server === server)
        server.stop()
    }
}

@Suite struct `What outlives a reload` {
    private let one = SocketAddress.ip(IPAddress(v4: 0x7F00_0001), port: 1)

    @Test func `an endpoint's state is kept while it is named`() throws {
        let directory = ClusterDirectory()
        func adopt(_ cluster: String) -> EndpointState? {
            directory.adopt(cluster, ClusterGovernance(), addresses: [one])
            directory.keepOnly([cluster])
            return directory[cluster]?.states[one]
        }
        let state = try #require(adopt("c"))
        #expect(adopt("c") === state)
        #expect(adopt("d") !== state)
        #expect(directory["c"] == nil)
        #expect(adopt("c") !== state)
    }

    @Test func `a route's breaker is kept and shown while it is asked for`() throws {
        let directory = ClusterDirectory()
        var settings = BreakerSettings()
        settings.mode = .shadow
        directory.adopt(route: "r", breaker: settings, hedge: nil)
        directory.adopt(route: "none", breaker: nil, hedge: nil)
        let breaker = try #require(directory.breaker(route: "r"))
        #expect(directory.routeBreakers.map { "\($0) \($1)" } == ["r closed"])
        directory.adopt(route: "r", breaker: settings, hedge: nil)
        directory.keepOnly(routes: ["r"])
        #expect(directory.breaker(route: "r") === breaker)
        settings.mode = .off
        directory.adopt(route: "r", breaker: settings, hedge: nil)
        #expect(directory.routeBreakers.isEmpty)
        settings.mode = .enforce
        directory.adopt(route: "r", breaker: settings, hedge: nil)
        directory.keepOnly(routes: [])
        #expect(directory.routeBreakers.isEmpty)
    }

    @Test func `a listener's sockets are kept while its address is`() throws {
        let sockets = ListenerSockets(workers: 2)
        let first = Listener(name: "a", address: .ip(host: ownAddress(3), port: ownPort))
        sockets.commit(try sockets.open([first]), [first])
        let opened = try #require(sockets[first])
        #expect(opened.sockets.count == 2)
        let renamed = Listener(name: "b", address: first.address)
        sockets.commit(try sockets.open([renamed]), [renamed])
        #expect(sockets[renamed]?.sockets == opened.sockets)
        // What is no longer named is the workers' to close.
        sockets.commit(try sockets.open([]), [])
        #expect(sockets[first] == nil)
        for fd in opened.sockets { #expect(close(fd) == 0) }
    }

    @Test func `a candidate that is discarded leaves its ports free`() throws {
        let sockets = ListenerSockets(workers: 2)
        let listener = Listener(name: "a", address: .ip(host: ownAddress(4), port: ownPort))
        sockets.discard(try sockets.open([listener]))
        #expect(sockets[listener] == nil)
        try expectFree(ownAddress(4))
    }
}

@Suite struct `The process's bounds` {
    @Test func `connections are bounded by descriptors, two each`() {
        var configuration = Configuration()
        configuration.runtime.maxConnections = 1000
        #expect(Descriptors.connections(configuration, descriptors: 1 << 20) == 1000)
        #expect(Descriptors.connections(configuration, descriptors: 1064) == 500)
        #expect(Descriptors.connections(configuration, descriptors: 10) == 1)
    }

    @Test func `names are known before they are watched`() throws {
        let loop = try EventLoop()
        let names = try NameDirectory(loop: loop, seed: 1, onChange: {})
        let name = NameDirectory.Name(host: "localhost", port: 81, every: nil)
        #expect(names.addresses(name).isEmpty)
        names.prepare([name])
        let local = SocketAddress.ip(IPAddress(v4: 0x7F00_0001), port: 81)
        #expect(names.addresses(name).contains(local))
        names.watch([name])
        #expect(names.addresses(name).contains(local), "until the watch has its first answer")
        names.watch([])
        #expect(names.addresses(name).isEmpty)
        names.stop()
    }

    @Test func `the names of a configuration are those of its clusters`() {
        var configuration = Configuration()
        configuration.clusters = [
            Cluster(name: "a", source: .dns(host: "x", port: 1, resolveEvery: .seconds(5))),
            Cluster(name: "b", source: .dns(host: "x", port: 1, resolveEvery: .seconds(5))),
            Cluster(name: "c", source: .endpoints([])),
        ]
        #expect(
            NameDirectory.names(configuration)
                == [NameDirectory.Name(host: "x", port: 1, every: .seconds(5))])
    }
}
