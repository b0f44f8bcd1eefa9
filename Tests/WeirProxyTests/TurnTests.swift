// A worker whose turns are over as soon as they begin: everything goes on, a little at a time.

import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

/// Frames of a client of HTTP/2.
private enum Frames {
    static let opening =
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])

    static func frame(_ type: UInt8, _ flags: UInt8, _ id: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0, UInt8(payload.count / 256), UInt8(payload.count % 256), type, flags, 0, 0, 0, id]
            + payload
    }

    /// SETTINGS and WINDOW_UPDATE: as much of an answer as there is may come.
    static let openWindows =
        frame(4, 0, 0, [0, 4, 0x7F, 0xFF, 0xFF, 0xFF]) + frame(8, 0, 0, [0x7F, 0xFF, 0, 0])

    /// `GET /` of host `a`, complete.
    static func request(_ id: UInt8) -> [UInt8] {
        frame(1, 5, id, [0x82, 0x86, 0x84, 0x41, 0x01] + Array("a".utf8))
    }

    /// `POST /` of host `a` with a body of three bytes.
    static func upload(_ id: UInt8) -> [UInt8] {
        frame(1, 4, id, [0x83, 0x86, 0x84, 0x41, 0x01] + Array("a".utf8))
            + frame(0, 1, id, Array("abc".utf8))
    }

    static func cancel(_ id: UInt8) -> [UInt8] { frame(3, 0, id, [0, 0, 0, 8]) }

    /// Streams whose heads are among the frames of `bytes`.
    static func heads(in bytes: [UInt8]) -> Set<UInt8> {
        var found: Set<UInt8> = []
        var place = 0
        while place + 9 <= bytes.count {
            if bytes[place + 3] == 1 { found.insert(bytes[place + 8]) }
            place += 9 + Int(bytes[place + 1]) * 256 + Int(bytes[place + 2])
        }
        return found
    }
}

@Suite struct `In turns that are over at once` {
    private let stand: Stand
    private let ids = (0..<20).map { UInt8(2 * $0 + 1) }

    init() throws { stand = try Stand(share: .zero) }

    @Test func `requests that came together are sent on their way a few at a time`() throws {
        let client = try stand.client()
        client.send(Frames.opening + ids.flatMap(Frames.request))
        var begun: [Int] = []
        try stand.turn(until: "all requests") {
            begun.append(Int(stand.count(.attempts)))
            return stand.count(.attempts) == ids.count
        }
        let steps = zip(begun, begun.dropFirst()).map { $1 - $0 }
        // One as they are read, and one when the connection has its next turn.
        #expect(steps.allSatisfy { $0 <= 2 }, "\(steps)")
        let attempts = try (0..<ids.count).map { _ in try stand.accept() }
        for attempt in attempts {
            _ = try stand.readHead(attempt)
            attempt.send("HTTP/1.1 204 No Content\r\n\r\n")
        }
        try stand.turn(until: "all answers") {
            Frames.heads(in: client.received) == Set(ids)
        }
        try stand.close(exchanges: UInt64(ids.count))
    }

    @Test func `requests that are given up while they wait never begin`() throws {
        let client = try stand.client()
        client.send(Frames.opening + ids.flatMap(Frames.request) + ids.flatMap(Frames.cancel))
        try stand.turn(until: "all requests") { stand.reported == ids.count }
        #expect(stand.count(.attempts) == 0)
        // The connection is as good as before.
        client.send(Frames.request(101))
        let attempt = try stand.accept()
        _ = try stand.readHead(attempt)
        attempt.send("HTTP/1.1 204 No Content\r\n\r\n")
        try stand.turn(until: "the answer") { Frames.heads(in: client.received).contains(101) }
        try stand.close(exchanges: UInt64(ids.count) + 1)
    }

    @Test func `what begins before its turn, its body having come, begins once`() throws {
        let clients = [try stand.client(), try stand.client()]
        clients[0].send(Frames.opening + ids.flatMap(Frames.upload))
        clients[1].send(Frames.opening + ids.flatMap(Frames.request))
        let attempts = try (0..<2 * ids.count).map { _ in try stand.accept() }
        for attempt in attempts {
            _ = try stand.readHead(attempt)
            attempt.send("HTTP/1.1 204 No Content\r\n\r\n")
        }
        for client in clients {
            try stand.turn(until: "all answers") { Frames.heads(in: client.received) == Set(ids) }
        }
        #expect(stand.count(.attempts) == UInt64(2 * ids.count))
        try stand.close(exchanges: 2 * UInt64(ids.count))
    }

    @Test func `a client that leaves takes those that wait with it`() throws {
        let client = try stand.client()
        client.send(Frames.opening + ids.flatMap(Frames.request))
        try stand.turn(until: "a request") { stand.count(.attempts) > 0 }
        client.reset()
        try stand.turn(until: "the end") { stand.reported == ids.count }
        try stand.close(exchanges: UInt64(ids.count))
    }

    @Test func `requests of a client that takes nothing are ended a few at a time`() throws {
        var settings = ListenerSettings()
        settings.sendTimeout = .milliseconds(40)
        settings.sendBytesPerWindow = 1000
        let stand = try Stand(share: .zero, settings)
        let client = try stand.client()
        client.isReading = false
        client.send(Frames.opening + Frames.openWindows + ids.flatMap(Frames.request))
        let attempts = try ids.map { _ in try stand.accept() }
        for attempt in attempts { _ = try stand.readHead(attempt) }
        attempts[0].send("HTTP/1.1 200 OK\r\ncontent-length: \(40 << 20)\r\n\r\n")
        attempts[0].send([UInt8](repeating: 0x61, count: 40 << 20))
        var ended: [Int] = []
        try stand.turn(until: "the end") {
            ended.append(Int(stand.refusals(.clientTooSlow)))
            return stand.proxy.connectionCount == 0
        }
        #expect(ended.last == ids.count)
        #expect(zip(ended, ended.dropFirst()).allSatisfy { $1 - $0 <= 1 }, "\(ended)")
        for attempt in attempts { try stand.expectEnd(attempt) }
        try stand.close(exchanges: UInt64(ids.count))
    }

    @Test func `bodies of both directions go on, and so do others beside them`() throws {
        let size = 4 << 20
        let client = try stand.client()
        client.isCounting = true
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(size)\r\n\r\n")
        client.send([UInt8](repeating: 97, count: size))
        let endpoint = try stand.accept()
        _ = try stand.readHead(endpoint)
        endpoint.isCounting = true
        endpoint.send("HTTP/1.1 200 OK\r\ncontent-length: \(size)\r\n\r\n")
        endpoint.send([UInt8](repeating: 98, count: size))
        let other = try stand.client()
        other.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let second = try stand.accept()
        _ = try stand.readHead(second)
        second.send("HTTP/1.1 204 No Content\r\n\r\n")
        #expect(try stand.readHead(other).hasPrefix("HTTP/1.1 204"))
        try stand.turn(until: "both bodies") {
            endpoint.totalReceived > size && client.totalReceived > size
        }
        try stand.close(exchanges: 2)
    }
}
