// After 101 both sides speak another protocol; after HEAD, 204 and 304 no body follows.

import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let upgrade =
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
private let switching =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

/// A stand with a tunnel between the client and the endpoint.
private func standWithTunnel() throws -> (Stand, client: Peer, origin: Peer) {
    let stand = try Stand { $0.idleTimeout = .milliseconds(30) }
    let client = try stand.client()
    client.send(upgrade)
    let origin = try stand.accept()
    let head = try stand.readHead(origin)
    #expect(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"))
    origin.send(switching + "hello")
    let answer = try stand.readHead(client)
    #expect(answer.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
    #expect(answer.contains("connection: upgrade\r\nupgrade: websocket\r\n"))
    #expect(!answer.contains("content-length"))
    #expect(try stand.read(client, upTo: "hello") == "hello")
    return (stand, client, origin)
}

@Suite struct `Tunnels` {
    @Test func `bytes go both ways as they are`() throws {
        let (stand, client, origin) = try standWithTunnel()
        client.send("GET / HTTP/1.1\r\n\r\n")
        #expect(try stand.read(origin, upTo: "\r\n\r\n") == "GET / HTTP/1.1\r\n\r\n")
        origin.send("\u{0}\u{1}HTTP/1.1 500\r\n")
        #expect(try stand.read(client, upTo: "500\r\n") == "\u{0}\u{1}HTTP/1.1 500\r\n")
        #expect(stand.reported == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `what the client sent ahead goes through the tunnel`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(upgrade + "early")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        stand.settle()
        #expect(origin.received.isEmpty, "not before the endpoint has agreed")
        origin.send(switching)
        _ = try stand.readHead(client)
        #expect(try stand.read(origin, upTo: "early") == "early")
        try stand.close(exchanges: 1)
    }

    @Test func `what the client sent ahead is a request where the endpoint declines`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(upgrade + "GET /next HTTP/1.1\r\nhost: a\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
        _ = try stand.read(client, upTo: "\r\n\r\nno")
        #expect(try stand.readHead(origin).hasPrefix("GET /next "))
        origin.send("HTTP/1.1 204 No Content\r\n\r\n")
        _ = try stand.readHead(client)
        try stand.close(exchanges: 2)
    }

    @Test func `a tunnel ends when the endpoint ends it, on both sides`() throws {
        let (stand, client, origin) = try standWithTunnel()
        origin.send("bye")
        origin.endSending()
        #expect(try stand.read(client, upTo: "bye") == "bye")
        try stand.expectEnd(client)
        try stand.expectEnd(origin)
        #expect(stand.reported == 1)
        #expect(stand.count(.connectionsActive as ClusterCounter) == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that ends its side may still be answered`() throws {
        let (stand, client, origin) = try standWithTunnel()
        client.send("bye")
        client.endSending()
        #expect(try stand.read(origin, upTo: "bye") == "bye")
        try stand.expectEnd(origin)
        origin.send("farewell")
        #expect(try stand.read(client, upTo: "farewell") == "farewell")
        origin.hangUp()
        try stand.expectEnd(client)
        #expect(stand.reported == 1)
        #expect(stand.refusals(.upstreamReset) == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `a reset on one side ends the other`() throws {
        let (stand, client, origin) = try standWithTunnel()
        client.reset()
        try stand.expectEnd(origin)
        try stand.close(exchanges: 1)

        let (second, other, endpoint) = try standWithTunnel()
        endpoint.reset()
        try second.expectEnd(other)
        #expect(second.reported == 1)
        try second.close(exchanges: 1)
    }
}

@Suite struct `Answers without a body` {
    @Test func `HEAD is answered with the length of what a GET would get`() throws {
        let stand = try Stand()
        let client = try stand.client()
        let origins = try {
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
            return try stand.accept()
        }()
        _ = try stand.readHead(origins)
        origins.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        #expect(try stand.readHead(client).contains("content-length: 5\r\n"))
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        _ = try stand.readHead(origins)
        origins.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        let chunked = try stand.readHead(client)
        #expect(!chunked.contains("content-length"))
        stand.settle()
        #expect(client.received.isEmpty)
        #expect(stand.count(.connectionsIdle) == 1)
        try stand.close(exchanges: 2)
    }

    @Test(arguments: [
        ("HTTP/1.1 204 No Content\r\n\r\n", nil),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "content-length: 5"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", nil),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "content-length: 0"),
    ])
    func `the next answer follows at once`(answer: String, length: String?) throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(answer)
        let lines = try stand.readHead(client).headLines
        #expect(lines.first { $0.hasPrefix("content-length") } == length)
        #expect(!lines.contains { $0.hasPrefix("transfer-encoding") })
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        _ = try stand.readHead(origin)
        origin.send(answer)
        #expect(try stand.readHead(client).headLines == lines)
        try stand.close(exchanges: 2)
    }
}
