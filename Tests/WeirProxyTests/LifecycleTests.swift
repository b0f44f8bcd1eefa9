// Limits, draining, and configurations that change under exchanges that are under way.

import Glibc
import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let get = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
private let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

@Suite struct `Draining` {
    @Test func `idle clients are let go at once, busy ones after their answer`() throws {
        let stand = try Stand()
        let idle = try stand.client()
        idle.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(idle, upTo: "\r\n\r\nok")
        let busy = try stand.client()
        busy.send(get)
        _ = try stand.readHead(origin)

        stand.proxy.drain()
        stand.proxy.drain()
        try stand.expectEnd(idle)
        stand.settle()
        #expect(!busy.hasEnded)
        #expect(stand.idleReports == 0)
        origin.send(ok)
        #expect(try stand.readHead(busy).contains("connection: close\r\n"))
        try stand.expectEnd(busy)
        #expect(busy.text == "ok")
        idle.hangUp()
        busy.hangUp()
        try stand.turn(until: "the end of the drain") { stand.idleReports > 0 }
        #expect(stand.idleReports == 1)
        try stand.expectEnd(origin)
        try stand.close(exchanges: 2)
    }

    @Test func `a drain without connections is over at once`() throws {
        let stand = try Stand()
        stand.proxy.drain()
        #expect(stand.idleReports == 1)
        try stand.close(exchanges: 0)
    }

    @Test func `no new client is taken`() throws {
        let stand = try Stand()
        stand.proxy.drain()
        stand.turn()
        let late = try stand.client()
        late.send(get)
        try stand.expectEnd(late)
        #expect(late.received.isEmpty)
        try stand.close(exchanges: 0)
    }

    @Test func `endpoints may change during a drain, which opens no listener again`() throws {
        let stand = try Stand()
        let busy = try stand.client()
        busy.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        stand.proxy.drain()
        stand.turn()
        // The listener's descriptor is closed by now, and its number belongs to somebody else.
        let other = try stand.client()
        try stand.adopt { _ in }
        stand.settle()
        try stand.expectEnd(other)
        #expect(stand.count(.acceptFailures) == 0)
        origin.send(ok)
        _ = try stand.read(busy, upTo: "\r\n\r\nok")
        try stand.close(exchanges: 1)
    }

    @Test func `what is cut off at the end is reported`() throws {
        let stand = try Stand()
        let waiting = try stand.client()
        waiting.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        let begun = try stand.client()
        begun.send(get)
        let second = try stand.accept()
        _ = try stand.readHead(second)
        second.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        _ = try stand.read(begun, upTo: "half")
        let partial = try stand.client()
        partial.send("GET / HT")
        stand.settle()

        stand.proxy.closeAll()
        #expect(stand.proxy.connectionCount == 0)
        stand.settle()
        #expect(stand.reported == 2)
        #expect(stand.refusals(.draining) == 2)
        #expect(waiting.text.contains("x-weir-reason: draining\r\n"))
        for peer in [waiting, begun, partial, origin, second] { try stand.expectEnd(peer) }
        #expect(begun.received.isEmpty)
        try stand.close(exchanges: 2)
    }
}

@Suite struct `A new configuration` {
    @Test func `exchanges end under the one they began with`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        try stand.adopt {
            $0.route = "new"
            $0.responseEdits = FieldEdits(set: [("x-new", "1")])
        }
        origin.send(ok)
        #expect(try !stand.read(client, upTo: "\r\n\r\nok").contains("x-new"))
        #expect(stand.reported("r") == 1)
        client.send(get)
        _ = try stand.readHead(origin)
        origin.send(ok)
        #expect(try stand.read(client, upTo: "\r\n\r\nok").contains("x-new: 1\r\n"))
        #expect(stand.reported("new") == 1)
        try stand.close(exchanges: 2)
    }

    @Test func `idle connections to an endpoint that stays are kept`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.adopt { $0.route = "new" }
        client.send(get)
        #expect(try stand.readHead(origin).hasPrefix("GET /x "))
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.close(exchanges: 2)
    }

    @Test func `an endpoint that is gone loses its idle connections, then its busy ones`() throws {
        let stand = try Stand()
        let busy = try stand.client()
        let client = try stand.client()
        client.send(get)
        let idleOrigin = try stand.accept()
        _ = try stand.readHead(idleOrigin)
        busy.send(get)
        let busyOrigin = try stand.accept()
        _ = try stand.readHead(busyOrigin)
        idleOrigin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")

        let replacement = try Origin()
        try stand.adopt {
            $0.endpoints = [(replacement.address, EndpointState(governor: EndpointGovernor(id: 2)))]
        }
        try stand.expectEnd(idleOrigin)
        #expect(!busyOrigin.hasEnded)
        busyOrigin.send(ok)
        _ = try stand.read(busy, upTo: "\r\n\r\nok")
        try stand.expectEnd(busyOrigin)

        client.send(get)
        let next = try stand.accept(from: replacement)
        _ = try stand.readHead(next)
        next.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        #expect(stand.state.attempts == 2)
        #expect(stand.count(.attempts) == 3)
        // For the books of `close`, which knows one endpoint only.
        try stand.turn(until: "the end") {
            for peer in [busy, client] { peer.hangUp() }
            return stand.proxy.connectionCount == 0
        }
        #expect(stand.reported == 3)
    }

    @Test func `a listener's new limits hold for open connections`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        var plan = stand.plan
        plan.listeners[0].settings.headFields = 1
        try stand.proxy.adopt(plan)
        client.send("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n")
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 431 "))
        try stand.close(exchanges: 2)
    }

    @Test func `a listener that is gone takes what waits and then no more`() throws {
        let stand = try Stand()
        let waiting = try stand.client()
        var plan = stand.plan
        plan.listeners = []
        try stand.proxy.adopt(plan)
        waiting.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(waiting, upTo: "\r\n\r\nok")
        let late = try stand.client()
        late.send(get)
        try stand.expectEnd(late)
        #expect(late.received.isEmpty)
        try stand.close(exchanges: 1)
    }
}

@Suite struct `A listener that cannot be watched` {
    /// A plan with one more listener, on a file: epoll has no room for files.
    private func plan(_ stand: Stand, _ fd: Int32) -> Plan {
        var plan = stand.plan
        plan.listeners.append(
            ListenerPlan(
                name: "m", address: .unix(path: "/m"), fd: fd, settings: ListenerSettings()))
        return plan
    }

    @Test func `it is tried again until it can, and keeps its descriptor`() throws {
        let stand = try Stand()
        let fd = open(#filePath, O_RDONLY)
        let plan = plan(stand, fd)
        #expect(throws: SystemError.self) { try stand.proxy.adopt(plan) }
        // The next configuration has the same descriptor.
        try stand.proxy.adopt(plan)
        let other = try Socket.listen(
            on: .ip(IPAddress(v4: 0x7F00_0001), port: 0), exclusively: true)
        defer { _ = close(other) }
        #expect(dup2(other, fd) == fd)
        let peer = Peer(fd: try Socket.connect(to: try #require(Socket.localAddress(other))))
        peer.send(get)
        let origin = try stand.accept()
        peer.pump()
        _ = try stand.readHead(origin)
        origin.send(ok)
        try stand.turn(until: "the answer") {
            peer.pump()
            return peer.text.hasSuffix("\r\n\r\nok")
        }
        peer.hangUp()
        try stand.close(exchanges: 1)
    }

    @Test func `it goes with the configuration`() throws {
        let stand = try Stand()
        let fd = open(#filePath, O_RDONLY)
        let other = open(#filePath, O_RDONLY)
        defer { _ = close(other) }
        #expect(flock(fd, LOCK_EX) == 0)
        #expect(throws: SystemError.self) { try stand.proxy.adopt(plan(stand, fd)) }
        #expect(flock(other, LOCK_EX | LOCK_NB) == -1)
        try stand.proxy.adopt(stand.plan)
        // Its end has given the lock up.
        #expect(flock(other, LOCK_EX | LOCK_NB) == 0)
        try stand.close(exchanges: 0)
    }
}

@Suite struct `Limits of the process` {
    @Test func `a budget is exact`() throws {
        let budget = ConnectionBudget(limit: 2)
        #expect(budget.take())
        #expect(budget.take())
        #expect(!budget.take())
        #expect(budget.count == 2)
        budget.setLimit(1)
        budget.give()
        #expect(!budget.take())
        budget.give()
        #expect(budget.take())
        #expect(budget.count == 1)
    }

    @Test func `a connection beyond the ceiling is told so, and room comes back`() throws {
        let stand = try Stand(maxConnections: 2)
        let first = try stand.client()
        let second = try stand.client()
        try stand.turn(until: "two connections") { stand.budget.count == 2 }
        let third = try stand.client()
        #expect(try stand.readHead(third).contains("x-weir-reason: ceiling\r\n"))
        try stand.expectEnd(third)
        #expect(stand.budget.count == 2)
        first.hangUp()
        try stand.turn(until: "room") { stand.budget.count == 1 }
        let fourth = try stand.client()
        fourth.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(fourth, upTo: "\r\n\r\nok")
        #expect(stand.refusals(.ceiling) == 1)
        #expect(!second.hasEnded)
        try stand.close(exchanges: 1)
    }

    @Test func `without buffer memory requests are refused, and served again later`() throws {
        let stand = try Stand {
            $0.bufferMemory = 80 << 10
            $0.requestBuffer = 512 << 10
        }
        let large = try stand.client()
        large.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n")
        large.send([UInt8](repeating: 0x61, count: 56_000))
        try stand.turn(until: "full buffers") { stand.proxy.context.pool.isNearlyExhausted }
        let client = try stand.client()
        client.send(get)
        #expect(try stand.readHead(client).contains("x-weir-reason: resource_exhausted\r\n"))
        #expect(try stand.read(client, upTo: "}\n").contains("resource_exhausted"))
        large.send([UInt8](repeating: 0x61, count: 200_000))
        #expect(try stand.readHead(large).contains("x-weir-reason: resource_exhausted\r\n"))
        large.hangUp()
        try stand.turn(until: "free buffers") { stand.proxy.context.pool.bytesInUse == 0 }
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        #expect(stand.refusals(.resourceExhausted) == 2)
        try stand.close(exchanges: 3)
    }
}
