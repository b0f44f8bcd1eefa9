// Connections that serve one exchange after the other, on both sides.

import Testing
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let get = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
private let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

private let halfCloseAllowed: ListenerSettings = {
    var settings = ListenerSettings()
    settings.allowsHalfClose = true
    return settings
}()

@Suite struct `Kept connections` {
    @Test func `a second request goes over both connections of the first`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        for _ in 0..<3 {
            _ = try stand.readHead(origin)
            origin.send(ok)
            #expect(try stand.read(client, upTo: "\r\n\r\nok").hasPrefix("HTTP/1.1 200 OK\r\n"))
            client.send(get)
        }
        _ = try stand.readHead(origin)
        #expect(try !stand.hasNewConnection())
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        #expect(stand.count(.connects) == 1)
        try stand.close(exchanges: 4)
    }

    @Test func `pipelined requests are answered in order, one at a time`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\n"
                + "content-length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nhost: a\r\n\r\n")
        let origin = try stand.accept()
        #expect(try stand.readHead(origin).hasPrefix("GET /1 "))
        stand.settle()
        #expect(origin.received.isEmpty, "the second waits for the first's answer")
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
        #expect(try stand.readHead(origin).hasPrefix("POST /2 "))
        #expect(try stand.read(origin, upTo: "abc") == "abc")
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2")
        #expect(try stand.readHead(origin).hasPrefix("GET /3 "))
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3")
        for body in ["1", "2", "3"] {
            #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 200"))
            #expect(try stand.read(client, upTo: body) == body)
        }
        try stand.close(exchanges: 3)
    }

    @Test func `a head may arrive byte by byte`() throws {
        let stand = try Stand()
        let client = try stand.client()
        for byte in Array(get.utf8) {
            client.send([byte])
            stand.turn()
        }
        let origin = try stand.accept()
        #expect(try stand.readHead(origin).hasPrefix("GET /x HTTP/1.1\r\nhost: a\r\n"))
        for byte in Array(ok.utf8) {
            origin.send([byte])
            stand.turn()
        }
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.close(exchanges: 1)
    }

    @Test func `a client that closes its sending side gets its answer and then the end`() throws {
        let stand = try Stand(halfCloseAllowed)
        let client = try stand.client()
        client.send(get)
        client.endSending()
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        stand.settle()
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.expectEnd(client)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that closes its sending side later gets its answer as well`() throws {
        let stand = try Stand(halfCloseAllowed)
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        client.endSending()
        stand.settle()
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.expectEnd(client)
        #expect(stand.refusals(.clientGone) == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that ends within its body is gone, and so is the attempt`() throws {
        let stand = try Stand { $0.requestBuffer = 0 }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        let origin = try stand.accept()
        _ = try stand.read(origin, upTo: "abc")
        client.endSending()
        try stand.expectEnd(origin)
        #expect(stand.refusals(.clientGone) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `connection close is obeyed and told`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        #expect(try stand.readHead(client).contains("connection: close\r\n"))
        try stand.expectEnd(client)
        #expect(client.text == "ok")
        #expect(stand.count(.connectionsIdle) == 1, "the endpoint's connection is kept")
        try stand.close(exchanges: 1)
    }

    @Test func `an idle client is let go in time`() throws {
        var settings = ListenerSettings()
        settings.idleTimeout = .milliseconds(30)
        let stand = try Stand(settings)
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.expectEnd(client)
        #expect(client.received.isEmpty)
        try stand.close(exchanges: 1)
    }

    @Test func `an idle endpoint's connection is closed in time`() throws {
        let stand = try Stand { $0.idleUpstream = .milliseconds(30) }
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        try stand.expectEnd(origin)
        #expect(stand.count(.connectionsIdle) == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `no more idle connections are kept than allowed`() throws {
        let stand = try Stand { $0.maxIdle = 1 }
        let clients = try (0..<3).map { _ in try stand.client() }
        for client in clients { client.send(get) }
        let origins = try clients.map { _ in try stand.accept() }
        for origin in origins {
            _ = try stand.readHead(origin)
            origin.send(ok)
        }
        for client in clients { _ = try stand.read(client, upTo: "\r\n\r\nok") }
        try stand.turn(until: "two closed") { origins.count { $0.hasEnded } == 2 }
        #expect(stand.count(.connectionsIdle) == 1)
        try stand.close(exchanges: 3)
    }

    @Test func `thousands of requests at once are all answered, at a bounded cost`() throws {
        let stand = try Stand {
            $0.action = .respond(status: 200, body: Text("ok"), contentType: Text("a/b"))
        }
        let client = try stand.client()
        client.isCounting = true
        client.send(String(repeating: get, count: 3000))
        try stand.turn(until: "3000 answers") { stand.reported == 3000 }
        stand.settle()
        #expect(client.unsent == 0)
        #expect(client.totalReceived % 3000 == 0 && client.totalReceived > 0)
        #expect(stand.proxy.freeExchangeCount <= 64)
        #expect(stand.proxy.context.pool.bytesInUse == 0)
        try stand.close(exchanges: 3000)
    }

    @Test func `steady traffic recycles a bounded number of exchanges`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        for round in 1...50 {
            _ = try stand.readHead(origin)
            origin.send(ok)
            _ = try stand.read(client, upTo: "\r\n\r\nok")
            if round < 50 { client.send(get) }
        }
        stand.settle()
        #expect((1...2).contains(stand.proxy.freeExchangeCount))
        #expect(stand.count(.connects) == 1)
        try stand.close(exchanges: 50)
    }
}
