// Bodies in both directions: early answers, interim ones, slow peers, and peers that stop.

import Glibc
import Testing
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

@testable import WeirProxy

private let get = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
private let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
private let longAnswer = "HTTP/1.1 200 OK\r\ncontent-length: 41943040\r\n\r\n"
private let longRequest = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 41943040\r\n\r\n"

@Suite struct `Streams` {
    @Test func `an answer that comes before the body's end is passed on, then the end`() throws {
        let stand = try Stand { $0.requestBuffer = 0 }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc")
        let origin = try stand.accept()
        _ = try stand.read(origin, upTo: "abc")
        origin.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        #expect(try stand.read(client, upTo: "\r\n\r\nno").hasPrefix("HTTP/1.1 413"))
        try stand.expectEnd(client)
        try stand.expectEnd(origin)
        #expect(stand.count(.connectionsIdle) == 0, "its request was never complete")
        try stand.close(exchanges: 1)
    }

    @Test func `an answer may begin while the body is still sent, and both go on`() throws {
        let stand = try Stand { $0.requestBuffer = 0 }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        let origin = try stand.accept()
        _ = try stand.read(origin, upTo: "3\r\nabc\r\n")
        origin.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        _ = try stand.read(client, upTo: "2\r\nhi\r\n")
        client.send("3\r\ndef\r\n")
        #expect(try stand.read(origin, upTo: "def\r\n") == "3\r\ndef\r\n")
        client.send("0\r\n\r\n")
        #expect(try stand.read(origin, upTo: "0\r\n\r\n") == "0\r\n\r\n")
        origin.send("0\r\n\r\n")
        #expect(try stand.read(client, upTo: "0\r\n\r\n") == "0\r\n\r\n")
        #expect(stand.count(.connectionsIdle) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `a body is gathered before the endpoint is bothered`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
        #expect(try !stand.hasNewConnection())
        client.send("def")
        let origin = try stand.accept()
        #expect(try stand.read(origin, upTo: "abcdef").contains("content-length: 6\r\n"))
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.close(exchanges: 1)
    }

    @Test func `interim answers are passed on before the final one`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        let origin = try stand.accept()
        #expect(try stand.readHead(origin).contains("expect: 100-continue\r\n"))
        origin.send("HTTP/1.1 100 Continue\r\n\r\n")
        #expect(try stand.readHead(client) == "HTTP/1.1 100 Continue\r\n\r\n")
        client.send("abc")
        _ = try stand.read(origin, upTo: "abc")
        origin.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x\r\nx: y\r\n\r\n" + ok)
        #expect(
            try stand.readHead(client) == "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(try stand.read(client, upTo: "ok") == "ok")
        #expect(stand.count(.connectionsIdle) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `an HTTP 1_0 client is spared interim answers`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.send("GET / HTTP/1.0\r\n\r\n")
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send("HTTP/1.1 103 Early Hints\r\n\r\n" + ok)
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 200 OK\r\n"))
        try stand.expectEnd(client)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that stops reading stops the endpoint, within bounds`() throws {
        let stand = try Stand()
        let client = try stand.client()
        client.isReading = false
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        let body = [UInt8](repeating: 0x61, count: 40 << 20)
        origin.send(Array(longAnswer.utf8) + body)
        var stalled = 0
        var before = -1
        try stand.turn(until: "a stall") {
            stalled = origin.unsent == before ? stalled + 1 : 0
            before = origin.unsent
            return stalled > 50
        }
        #expect(origin.unsent > 8 << 20, "most of it never left the endpoint")
        #expect(stand.proxy.context.pool.bytesInUse <= 2 << 20)
        client.isReading = true
        let head = try stand.readHead(client)
        client.isCounting = true
        let all = head.utf8.count + (40 << 20)
        try stand.turn(until: "all of it") { client.totalReceived >= all }
        #expect(client.totalReceived == all && origin.unsent == 0)
        try stand.turn(until: "the connection is kept") { stand.count(.connectionsIdle) == 1 }
        #expect(stand.proxy.context.pool.bytesInUse == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `an endpoint that stops reading stops the client, within bounds`() throws {
        let stand = try Stand { $0.requestBuffer = 0 }
        let client = try stand.client()
        client.send(longRequest)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.isReading = false
        client.send([UInt8](repeating: 0x62, count: 40 << 20))
        var stalled = 0
        var before = -1
        try stand.turn(until: "a stall") {
            stalled = client.unsent == before ? stalled + 1 : 0
            before = client.unsent
            return stalled > 50
        }
        #expect(client.unsent > 8 << 20)
        #expect(stand.proxy.context.pool.bytesInUse <= 2 << 20)
        origin.isReading = true
        origin.isCounting = true
        let start = origin.totalReceived
        try stand.turn(until: "all of it") { origin.totalReceived == start + (40 << 20) }
        origin.send(ok)
        _ = try stand.read(client, upTo: "\r\n\r\nok")
        try stand.close(exchanges: 1)
    }

    @Test func `a head that does not come to its end is a 408`() throws {
        var settings = ListenerSettings()
        settings.headerTimeout = .milliseconds(40)
        let stand = try Stand(settings)
        let client = try stand.client()
        client.send("GET / HT")
        let head = try stand.readHead(client)
        #expect(head.hasPrefix("HTTP/1.1 408 "))
        #expect(head.contains("x-weir-reason: client_too_slow\r\n"))
        #expect(head.contains("connection: close\r\n"))
        _ = try stand.read(client, upTo: "}\n")
        try stand.expectEnd(client)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that says nothing is let go without a word`() throws {
        var settings = ListenerSettings()
        settings.headerTimeout = .milliseconds(40)
        let stand = try Stand(settings)
        let client = try stand.client()
        try stand.expectEnd(client)
        #expect(client.received.isEmpty)
        try stand.close(exchanges: 0)
    }

    @Test func `a body below the least rate is a 408`() throws {
        var settings = ListenerSettings()
        settings.bodyTimeout = .milliseconds(40)
        settings.bodyBytesPerWindow = 1000
        let stand = try Stand(settings) { $0.requestBuffer = 0 }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc")
        let origin = try stand.accept()
        #expect(try stand.readHead(client).hasPrefix("HTTP/1.1 408 "))
        try stand.expectEnd(origin)
        try stand.expectEnd(client)
        #expect(stand.refusals(.clientTooSlow) == 1)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that reads below the least rate is cut off`() throws {
        var settings = ListenerSettings()
        settings.sendTimeout = .milliseconds(40)
        settings.sendBytesPerWindow = 1000
        let stand = try Stand(settings)
        let client = try stand.client()
        client.isReading = false
        client.send(get)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        origin.send(Array(longAnswer.utf8) + [UInt8](repeating: 0x61, count: 40 << 20))
        try stand.expectEnd(origin)
        #expect(stand.refusals(.clientTooSlow) == 1)
        #expect(stand.proxy.connectionCount == 0)
        try stand.close(exchanges: 1)
    }

    @Test func `a client that does not read even the head is cut off`() throws {
        var settings = ListenerSettings()
        settings.sendTimeout = .milliseconds(40)
        settings.sendBytesPerWindow = 1000
        let stand = try Stand(settings)
        var size: Int32 = 4608
        let bytes = socklen_t(MemoryLayout.size(ofValue: size))
        // Connections that are accepted have it from there.
        setsockopt(stand.plan.listeners[0].fd, SOL_SOCKET, SO_SNDBUF, &size, bytes)
        let client = try stand.client()
        client.isReading = false
        setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &size, bytes)
        client.send(get)
        let origin = try stand.accept()
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"
        var (count, arrived): (UInt64, Int32) = (0, 0)
        repeat {
            _ = try stand.readHead(origin)
            origin.send("\(head)x: \(String(repeating: "v", count: 20_000))\r\n\r\nok")
            count += 1
            try stand.turn(until: "the answer is on its way") { stand.reported == count }
            client.send(get)
            stand.settle()
            _ = ioctl(client.fd, UInt(FIONREAD), &arrived)
        } while stand.count(WorkerCounter.bytesSent) == UInt64(arrived)
        // Its kernel has no room, and what was sent is on its way still.
        _ = try stand.readHead(origin)
        origin.send(head + "\r\n")
        stand.settle()
        #expect(stand.proxy.context.pool.bytesInUse > 0, "the head waits")
        // It is not read any more: nothing but a head is to be sent.
        origin.send("ok")
        try stand.turn(until: "the end") { stand.proxy.connectionCount == 0 }
        #expect(stand.refusals(.clientTooSlow) == 1)
        try stand.close(exchanges: count + 1)
    }

    @Test func `a body above the limit is refused, announced or not`() throws {
        var settings = ListenerSettings()
        settings.bodyBytes = 10
        let stand = try Stand(settings) { $0.requestBuffer = 0 }
        let announced = try stand.client()
        announced.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n")
        #expect(try stand.readHead(announced).hasPrefix("HTTP/1.1 413 "))
        let chunked = try stand.client()
        chunked.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        chunked.send("6\r\nabcdef\r\n")
        let origin = try stand.accept()
        _ = try stand.read(origin, upTo: "abcdef")
        chunked.send("6\r\nabcdef\r\n")
        #expect(try stand.readHead(chunked).hasPrefix("HTTP/1.1 413 "))
        try stand.expectEnd(origin)
        try stand.expectEnd(chunked)
        try stand.close(exchanges: 2)
    }

    @Test func `a short body that nobody wants is read and dropped`() throws {
        let stand = try Stand {
            $0.action = .respond(status: 200, body: Text("hi"), contentType: Text("a/b"))
        }
        let client = try stand.client()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab")
        #expect(try !stand.read(client, upTo: "\r\n\r\nhi").contains("connection: close"))
        client.send("cde" + get)
        #expect(try stand.read(client, upTo: "\r\n\r\nhi").hasPrefix("HTTP/1.1 200"))
        try stand.close(exchanges: 2)
    }

    @Test func `after a refusal nobody knows whether a body that was held back will come`() throws {
        let stand = try Stand {
            $0.action = .respond(status: 403, body: Text("no"), contentType: Text("a/b"))
        }
        let client = try stand.client()
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        #expect(try stand.read(client, upTo: "\r\n\r\nno").contains("connection: close\r\n"))
        try stand.expectEnd(client)
        try stand.close(exchanges: 1)
    }
}
