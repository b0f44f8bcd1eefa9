// The admin listener as a client sees it, over real sockets and one loop that the test turns.

import Foundation
import Testing
import WeirAdmin
import WeirHTTP
import WeirNet
import WeirTime

/// An admin server with its loop, turned by hand.
private final class Bench {
    let loop: EventLoop
    let server: AdminServer
    let big = [UInt8](repeating: UInt8(ascii: "m"), count: 8 << 20)

    init(
        _ address: SocketAddress = .ip(IPAddress(v4: 0x7F00_0001), port: 0), token: String? = nil,
        requestTimeout: Interval = .seconds(10), responseTimeout: Interval = .seconds(30)
    ) throws {
        loop = try EventLoop()
        let big = self.big
        server = AdminServer(
            loop: loop, address: address, token: token.map { Array($0.utf8) },
            routes: [
                AdminRoute(.get, "/healthz") { _ in .text(200, "ok\n") },
                AdminRoute(.get, "/big") { _ in .text(200, String(decoding: big, as: UTF8.self)) },
                AdminRoute(.get, "/who") { request in
                    .text(
                        200, "\(request.query) \(request.acceptsJSON) \(request.isAuthorised)")
                },
                AdminRoute(.post, "/reload") { request in
                    .text(200, "got " + String(decoding: request.body, as: UTF8.self))
                },
            ], requestTimeout: requestTimeout, responseTimeout: responseTimeout)
        try server.start()
    }

    deinit { server.stop() }

    func connect() throws -> Client {
        let address = try #require(server.localAddress)
        return Client(try Socket.connect(to: address), self)
    }

    /// Sends `text` on a connection of its own and returns all that comes until it is closed or
    /// `answers` answers with bodies of known length are there.
    func ask(_ text: String) throws -> Reply {
        let client = try connect()
        client.send(text)
        return try client.reply()
    }
}

private struct Reply {
    var status = 0
    var head = ""
    var body = ""
}

private final class Client {
    let fd: Int32
    private let bench: Bench
    private(set) var received: [UInt8] = []
    private(set) var isEnded = false

    init(_ fd: Int32, _ bench: Bench) {
        self.fd = fd
        self.bench = bench
    }

    deinit { close(fd) }

    /// Sends all, turning the loop whenever the socket is full.
    func send(_ text: String) {
        let bytes = Array(text.utf8)
        var sent = 0
        for _ in 0..<100_000 where sent < bytes.count {
            let result = bytes.withUnsafeBytes { all -> Transfer in
                guard let base = all.baseAddress else { return .endOfStream }
                return Socket.send(fd, base + sent, count: bytes.count - sent)
            }
            switch result {
            case .bytes(let count): sent += count
            case .wouldBlock: bench.loop.turn(maxWait: .milliseconds(10))
            default: return
            }
        }
    }

    /// Reads what is there.
    func read() {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !isEnded {
            switch Socket.receive(fd, into: &buffer, count: buffer.count) {
            case .bytes(let count): received += buffer[..<count]
            case .wouldBlock: return
            default: isEnded = true
            }
        }
    }

    /// Turns the loop until `done` or nothing has come for long.
    func turn(until done: () -> Bool) {
        for _ in 0..<2000 {
            read()
            if done() { return }
            bench.loop.turn(maxWait: .milliseconds(5))
        }
    }

    func waitForEnd() { turn { isEnded } }

    /// Takes one answer from the connection.
    func reply(hasBody: Bool = true) throws -> Reply {
        var reply = Reply()
        turn {
            guard let end = received.firstRange(of: Array("\r\n\r\n".utf8)) else { return isEnded }
            let head = String(decoding: received[..<end.upperBound], as: UTF8.self)
            let length =
                hasBody
                ? head.firstMatch(of: /content-length: (\d+)/).flatMap { Int($0.1) } ?? 0 : 0
            guard received.count >= end.upperBound + length else { return isEnded }
            reply.head = head
            reply.body = String(
                decoding: received[end.upperBound..<end.upperBound + length], as: UTF8.self)
            reply.status = Int(head.dropFirst(9).prefix(3)) ?? 0
            received.removeFirst(end.upperBound + length)
            return true
        }
        try #require(reply.status != 0)
        return reply
    }
}

struct AdminServerTests {
    @Test func `a connection is kept and answers one request after the other`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        for _ in 0..<3 {
            client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            let reply = try client.reply()
            #expect(reply.status == 200)
            #expect(reply.body == "ok\n")
        }
        #expect(!client.isEnded)
    }

    @Test func `requests sent at once are answered in order, more than one turn's share`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send(
            (0..<50).map { "GET /who?\($0) HTTP/1.1\r\nHost: localhost\r\n\r\n" }.joined())
        for index in 0..<50 { #expect(try client.reply().body == "\(index) false true") }
    }

    @Test func `a request that comes byte by byte is answered`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        for character in "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi" {
            client.send(String(character))
            bench.loop.turn(maxWait: .zero)
        }
        #expect(try client.reply().body == "got hi")
    }

    @Test func `HEAD is GET without the body`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        let reply = try client.reply(hasBody: false)
        #expect(reply.status == 200)
        #expect(reply.head.contains("content-length: 3\r\n"))
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(try client.reply().body == "ok\n")
    }

    @Test func `unknown paths and methods are refused, with what is allowed`() throws {
        let bench = try Bench()
        #expect(try bench.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 404)
        let reply = try bench.ask("DELETE /reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(reply.status == 405)
        #expect(reply.head.contains("allow: POST\r\n"))
        let other = try bench.ask("POST /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(other.head.contains("allow: GET, HEAD\r\n"))
    }

    @Test(arguments: [
        ("", 401), ("Authorization: Bearer secreT\r\n", 401),
        ("Authorization: Bearer secret2\r\n", 401), ("Authorization: Bearer \r\n", 401),
        ("Authorization: Basic secret\r\n", 401), ("Authorization: bearer secret\r\n", 200),
        ("Authorization: Bearer secret\r\n", 200),
    ])
    func `changes need the token when there is one`(_ field: String, _ status: Int) throws {
        let bench = try Bench(token: "secret")
        let reply = try bench.ask("POST /reload HTTP/1.1\r\nHost: localhost\r\n\(field)\r\n")
        #expect(reply.status == status)
        #expect(reply.head.contains("www-authenticate: Bearer") == (status == 401))
        // Looking needs none.
        let look = try bench.ask("GET /who HTTP/1.1\r\nHost: localhost\r\n\(field)\r\n")
        #expect(look.body == " false \(status == 200)")
    }

    @Test(arguments: [
        ("Host: localhost:9901\r\n", 200), ("Host: 127.0.0.1:9901\r\n", 200),
        ("Host: [::1]:9901\r\n", 200), ("Host: LOCALHOST\r\n", 200),
        ("Host: evil.example\r\n", 403), ("Host: localhost.evil.example\r\n", 403),
        ("Host: 10.0.0.1\r\n", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: same-site\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: none\r\n", 200),
    ])
    func `web pages cannot reach a loopback listener`(_ fields: String, _ status: Int) throws {
        let bench = try Bench()
        #expect(try bench.ask("GET /healthz HTTP/1.1\r\n\(fields)\r\n").status == status)
    }

    @Test func `without a token nothing can be changed from another machine`() throws {
        let bench = try Bench(.ip(IPAddress(v4: 0), port: 0))
        let reply = try bench.ask("POST /reload HTTP/1.1\r\nHost: weir.example\r\n\r\n")
        #expect(reply.status == 403)
        let look = try bench.ask("GET /healthz HTTP/1.1\r\nHost: weir.example\r\n\r\n")
        #expect(look.status == 200)
    }

    @Test(arguments: [
        ("GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        ("\u{0}\r\n\r\n", 400),
        ("GET /\(String(repeating: "x", count: 5000)) HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: \(String(repeating: "x", count: 17000))\r\n\r\n",
            431
        ),
        ("POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n", 413),
    ])
    func `what cannot be answered is refused and the connection ends`(
        _ text: String, _ status: Int
    ) throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send(text)
        let reply = try client.reply()
        #expect(reply.status == status)
        #expect(reply.head.contains("connection: close\r\n"))
        client.waitForEnd()
        #expect(client.isEnded)
    }

    @Test func `a refused body that is still coming does not cost the client its answer`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n"
                + String(repeating: "b", count: 3_000_000))
        #expect(try client.reply().status == 413)
    }

    @Test func `a body of a mebibyte is taken, after 100 Continue if that is asked for`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n"
                + "Expect: 100-continue\r\n\r\n")
        #expect(try client.reply().status == 100)
        client.send(String(repeating: "b", count: 1 << 20))
        #expect(try client.reply().body.utf8.count == (1 << 20) + 4)
    }

    @Test func `an HTTP/1.0 client gets its answer and the end`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        client.send("GET /healthz HTTP/1.0\r\n\r\n")
        #expect(try client.reply().body == "ok\n")
        client.waitForEnd()
        #expect(client.isEnded)
    }

    @Test func `a large answer to a client that does not read does not hold up others`() throws {
        let bench = try Bench()
        let slow = try bench.connect()
        slow.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in 0..<20 { bench.loop.turn(maxWait: .milliseconds(1)) }
        let reply = try bench.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(reply.status == 200)
        #expect(try slow.reply().body.utf8.count == bench.big.count)
    }

    @Test func `a request that never ends is cut, however often a byte of it comes`() throws {
        let bench = try Bench(requestTimeout: .milliseconds(50))
        let client = try bench.connect()
        client.send("GET /healthz HTTP/1.1\r\n")
        var bytes = 0
        client.turn {
            // Fewer than a head may have, so that only the time can be the reason.
            if bytes < 1000 { client.send("x") }
            bytes += 1
            return client.isEnded
        }
        #expect(client.isEnded && client.received.isEmpty)
    }

    @Test func `an answer that is not read is cut`() throws {
        let bench = try Bench(responseTimeout: .milliseconds(50))
        let client = try bench.connect()
        client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        let start = bench.loop.now
        while bench.loop.now - start < .milliseconds(200) {
            bench.loop.turn(maxWait: .milliseconds(20))
        }
        client.waitForEnd()
        #expect(client.isEnded && client.received.count < bench.big.count)
    }

    @Test func `an operator can look when the process has run out of descriptors`() async {
        await #expect(processExitsWith: .success) {
            let bench = try Bench()
            let first = try bench.connect()
            let second = try bench.connect()
            var limit = rlimit(rlim_cur: 64, rlim_max: 64)
            guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
                exit(1)
            }
            while open("/dev/null", O_RDONLY) >= 0 {}
            let text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            first.send(text)
            guard try first.reply().status == 200 else { exit(2) }
            // The second has to wait for the first to leave.
            second.send(text)
            for _ in 0..<20 { bench.loop.turn(maxWait: .milliseconds(1)) }
            second.read()
            guard second.received.isEmpty, !second.isEnded else { exit(3) }
            _ = shutdown(first.fd, Int32(SHUT_WR))
            guard try second.reply().status == 200 else { exit(4) }
            exit(0)
        }
    }

    @Test func `more than 64 connections are not taken`() throws {
        let bench = try Bench()
        let clients = try (0..<65).map { _ in try bench.connect() }
        for client in clients { client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") }
        let last = try #require(clients.last)
        last.waitForEnd()
        #expect(last.isEnded && last.received.isEmpty)
        for client in clients.dropLast() { #expect(try client.reply().status == 200) }
        // One leaves, one may come.
        withExtendedLifetime(clients) { _ = shutdown(clients[0].fd, Int32(SHUT_WR)) }
        clients[0].waitForEnd()
        let reply = try bench.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(reply.status == 200)
    }
}

struct AdminSocketFileTests {
    private func temporaryPath() -> String {
        NSTemporaryDirectory() + "/weir-\(UUID().uuidString.prefix(8)).sock"
    }

    @Test func `a unix socket is for its owner only and goes with the server`() throws {
        let path = temporaryPath()
        let bench = try Bench(.unix(path: path))
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let client = try ClientOnPath(path, bench)
        #expect(try client.status() == 200)
        bench.server.stop()
        #expect(access(path, F_OK) != 0)
    }

    @Test func `a socket that nobody answers on is replaced, one in use is not`() throws {
        let path = temporaryPath()
        let stale = try Socket.listen(on: .unix(path: path), exclusively: true)
        close(stale)
        #expect(access(path, F_OK) == 0)
        let bench = try Bench(.unix(path: path))
        let failure = #expect(throws: SystemError.self) { try Bench(.unix(path: path)) }
        #expect(failure?.code == EADDRINUSE)
        #expect(try ClientOnPath(path, bench).status() == 200)
    }

    @Test func `a file that is no socket is left alone`() throws {
        let path = temporaryPath()
        #expect(FileManager.default.createFile(atPath: path, contents: Data("x".utf8)))
        defer { unlink(path) }
        #expect(throws: SystemError.self) { try Bench(.unix(path: path)) }
        #expect(FileManager.default.contents(atPath: path) == Data("x".utf8))
    }
}

/// A client of a unix socket, which `getsockname` does not name.
private struct ClientOnPath {
    let client: Client

    init(_ path: String, _ bench: Bench) throws {
        client = Client(try Socket.connect(to: .unix(path: path)), bench)
    }

    func status() throws -> Int {
        client.send("GET /healthz HTTP/1.1\r\nHost: anything\r\n\r\n")
        return try client.reply().status
    }
}
