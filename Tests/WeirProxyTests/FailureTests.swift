// What goes wrong on the endpoint's side, and what the client is told.

import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let get = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
private let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

/// A stand whose proxy holds one idle connection to the endpoint.
private func standWithKeptConnection() throws -> (Stand, client: Peer, origin: Peer) {
    let stand = try Stand()
    let client = try stand.client()
    client.send(get)
    let origin = try stand.accept()
    _ = try stand.readHead(origin)
    origin.send(ok)
    _ = try stand.read(client, upTo: "\r\n\r\nok")
    try stand.turn(until: "the connection is kept") { stand.count(.connectionsIdle) == 1 }
    return (stand, client, origin)
}

@Suite struct `When the endpoint fails` {
    @Test func `a GET that met a stale connection is sent once more over a new one`() throws {
        let (stand, client, origin) = try standWithKeptConnection()
        client.send(get)
        _ = try stand.readHead(origin)
        origin.reset()
        let second = try stand.accept()
        #expect(try stand.readHead(second).hasPrefix("GET /x "))
        second.send(ok)
        #expect(try stand.read(client, upTo: "\r\n\r\nok").hasPrefix("HTTP/1.1 200"))
        #expect(stand.count(.replays) == 1)
        #expect(stand.count(.attempts) == 3)
        #expect(stand.state.failures == 0, "a stale connection is no failure of the endpoint")
        try stand.close(exchanges: 2)
    }

    @Test func `a GET is sent again only once`() throws {
        let (stand, client, origin) = try standWithKeptConnection()
        client.send(get)
        _ = try stand.readHead(origin)
        origin.hangUp()
        let second = try stand.accept()
        _ = try stand.readHead(second)
        second.hangUp()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 502 "))
        #expect(try !stand.hasNewConnection())
        #expect(stand.refusals(.upstreamReset) == 1)
        try stand.close(exchanges: 2)
    }

    @Test func `a POST that met a stale connection is not sent again`() throws {
        let (stand, client, origin) = try standWithKeptConnection()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        _ = try stand.read(origin, upTo: "\r\n\r\nx")
        origin.reset()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 502 "))
        #expect(try !stand.hasNewConnection())
        #expect(stand.count(.replays) == 0)
        try stand.close(exchanges: 2)
    }

    @Test func `the rest of a body whose request has failed is no attempt that takes too long`()
        throws
    {
        let stand = try Stand {
            $0.requestBuffer = 0
            $0.timeout = .milliseconds(60)
        }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
        let origin = try stand.accept()
        _ = try stand.read(origin, upTo: "abc")
        origin.reset()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 502 "))
        let end = MonotonicClock.now() + .milliseconds(120)
        while MonotonicClock.now() < end { stand.turn() }
        client.send("def" + get)
        let next = try stand.accept()
        _ = try stand.readHead(next)
        next.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        #expect(stand.count(.failedReset) == 1)
        #expect(stand.count(.failedTimeout) == 0)
        try stand.close(exchanges: 2)
    }

    @Test func `a GET over a fresh connection is not sent again`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.hangUp()
        let head = try stand.readHead(client)
        #expect(head.hasPrefix("HTTP/1.1 502 "))
        #expect(head.contains("x-weir-reason: upstream_reset\r\n"))
        #expect(try !stand.hasNewConnection())
        #expect(stand.count(.failedReset) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `a GET whose answer had begun is not sent again`() throws {
        let (stand, client, origin) = try standWithKeptConnection()
        client.send(get)
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 20")
        stand.settle()
        origin.hangUp()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 502 "))
        #expect(try !stand.hasNewConnection())
        try stand.close(exchanges: 2)
    }

    @Test func `a connection with bytes beyond the answer is not used again`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok + "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
        #expect(try stand.read(client, upTo: "\r\n\r\nok").hasPrefix("HTTP/1.1 200"))
        try stand.expectEnd(origin)
        client.send(get)
        let second = try stand.accept()
        _ = try stand.readHead(second)
        second.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        #expect(client.received.isEmpty)
        try stand.close(exchanges: 2)
    }

    @Test func `bytes on an idle connection make it useless`() throws {
        let (stand, client, origin) = try standWithKeptConnection()
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
        try stand.expectEnd(origin)
        #expect(stand.count(.connectionsIdle) == 0)
        #expect(client.received.isEmpty)
        try stand.close(exchanges: 1)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ])
    func `an answer that is cut off reaches the client cut off`(answer: String) throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(answer)
        _ = try stand.read(client, upTo: "half")
        origin.hangUp()
        try stand.expectEnd(client)
        #expect(!client.text.contains("0\r\n"))
        #expect(stand.refusals(.upstreamReset) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `an HTTP 1_0 client sees a reset where its answer is cut off`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("GET /x HTTP/1.0\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        _ = try stand.read(client, upTo: "half")
        origin.hangUp()
        try stand.expectEnd(client)
        #expect(client.wasReset)
        try stand.close(exchanges: 1)
    }

    @Test func `chunks that break the rules cut the answer off`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n")
        try stand.expectEnd(client)
        #expect(!client.text.contains("0\r\n\r\n"))
        #expect(stand.refusals(.upstreamProtocol) == 1)
        try stand.close(exchanges: 1)
    }

    @Test(arguments: [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ])
    func `a head that breaks the rules is a 502`(answer: String) throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(answer)
        #expect(
            try stand.readHead(client).contains("x-weir-reason: upstream_protocol\r\n"))
        try stand.expectEnd(origin)
        #expect(stand.count(.failedProtocol) == 1)
        #expect(stand.state.failures == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `an endpoint that refuses connections is a 502, each time counted`() throws {
        let gone = try Origin().address
        let stand = try Stand { $0.endpoints[0].address = gone }
        let client = try stand.client()
        for _ in 0..<3 {
            client.send(get)
            let head = try stand.readHead(client)
            #expect(head.hasPrefix("HTTP/1.1 502 "))
            #expect(head.contains("x-weir-reason: upstream_connect\r\n"))
            _ = try stand.read(client, upTo: "}\n")
        }
        #expect(stand.count(.connectFailures) == 3)
        try stand.close(exchanges: 3)
    }

    @Test func `a refusal is sent in the turn that decides it, with the body still to come`() throws
    {
        let gone = try Origin().address
        let stand = try Stand {
            $0.requestBuffer = 0
            $0.endpoints[0].address = gone
        }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nbegun")
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 502 "))
    }

    @Test func `a connection whose bytes found no memory is not used again`() throws {
        let stand = try Stand()
        let client = try stand.client()
        stand.proxy.context.pool.limit = 0
        client.send(get + "POST /hidden HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        #expect(try stand.readHead(client).contains("\r\nconnection: close\r\n"))
        try stand.expectEnd(client)
        #expect(stand.refusals(.resourceExhausted) == 1)
    }

    @Test func `an endpoint that cannot be connected to at once is counted as well`() throws {
        let stand = try Stand { $0.endpoints[0].address = .unix(path: "/nonexistent/weir") }
        let client = try stand.client()
        client.send(get)
        #expect(try stand.readHead(client).contains("x-weir-reason: upstream_connect\r\n"))
        #expect(stand.count(.connectFailures) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `a cluster without endpoints is a 503`() throws {
        let stand = try Stand { $0.endpoints = [] }
        let client = try stand.client()
        client.send(get)
        #expect(try stand.readHead(client).contains("x-weir-reason: no_endpoint\r\n"))
        #expect(stand.count(.failedNoEndpoint) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `an endpoint that does not answer in time is a 504`() throws {
        let stand = try Stand { $0.timeout = .milliseconds(30) }
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        let head = try stand.readHead(client)
        #expect(head.hasPrefix("HTTP/1.1 504 "))
        #expect(head.contains("x-weir-reason: upstream_timeout\r\n"))
        try stand.expectEnd(origin)
        #expect(stand.count(.failedTimeout) == 1)
        #expect(stand.state.failures == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `an answer that stops moving is cut off`() throws {
        let stand = try Stand { $0.idleTimeout = .milliseconds(30) }
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        try stand.expectEnd(client)
        #expect(client.text.hasSuffix("\r\n\r\nhalf"))
        try stand.expectEnd(origin)
        #expect(stand.refusals(.upstreamTimeout) == 1)
        try stand.close(exchanges: 1)
    }
}
