// Listening, connecting and moving bytes.

import Glibc
import Testing
import WeirNet

/// Closes a descriptor at the end of a test.
private final class Descriptor {
    let fd: Int32
    init(_ fd: Int32) { self.fd = fd }
    deinit { _ = close(fd) }
}

private let loopback = SocketAddress.ip(IPAddress(v4: 0x7F00_0001), port: 0)

@Suite struct `A listener` {
    @Test func `refuses a port where somebody listens, when it must have it alone`() throws {
        let first = Descriptor(try Socket.listen(on: loopback, exclusively: true))
        let taken = try #require(Socket.localAddress(first.fd))
        let refused = #expect(throws: SystemError.self) {
            _ = Descriptor(try Socket.listen(on: taken, exclusively: true))
        }
        #expect(refused?.code == EADDRINUSE)
    }

    @Test func `shares a port with its fellow workers`() throws {
        let first = Descriptor(try Socket.listen(on: loopback, exclusively: true))
        let taken = try #require(Socket.localAddress(first.fd))
        let second = Descriptor(try Socket.listen(on: taken, exclusively: false))
        #expect(Socket.localAddress(second.fd) == taken)
    }

    @Test func `refuses a port that a foreign socket holds`() throws {
        let foreign = Descriptor(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        #expect(Glibc.listen(foreign.fd, 1) == 0)
        let taken = try #require(Socket.localAddress(foreign.fd))
        #expect(throws: SystemError.self) {
            _ = Descriptor(
                try Socket.listen(
                    on: .ip(IPAddress(v4: 0x7F00_0001), port: taken.port), exclusively: false))
        }
    }

    @Test func `accepts and moves bytes both ways until the end of the stream`() throws {
        let listener = Descriptor(try Socket.listen(on: loopback, exclusively: false))
        #expect(try Socket.accept(listener.fd) == nil)
        let address = try #require(Socket.localAddress(listener.fd))
        let client = Descriptor(try Socket.connect(to: address))
        var waiting = pollfd(fd: listener.fd, events: Int16(POLLIN), revents: 0)
        #expect(poll(&waiting, 1, 10_000) == 1)
        let (accepted, peer) = try #require(try Socket.accept(listener.fd))
        let server = Descriptor(accepted)
        #expect(peer == Socket.localAddress(client.fd))
        #expect(Socket.pendingError(client.fd) == nil)

        var buffer = [UInt8](repeating: 0, count: 16)
        guard case .wouldBlock = Socket.receive(server.fd, into: &buffer, count: 16) else {
            Issue.record("nothing was sent yet")
            return
        }
        guard case .bytes(5) = Socket.send(client.fd, "hello", count: 5) else {
            Issue.record("five bytes fit")
            return
        }
        waiting.fd = server.fd
        #expect(poll(&waiting, 1, 10_000) == 1)
        guard case .bytes(5) = Socket.receive(server.fd, into: &buffer, count: 16) else {
            Issue.record("five bytes were sent")
            return
        }
        #expect(buffer[..<5].elementsEqual("hello".utf8))
        Socket.shutdownSending(client.fd)
        #expect(poll(&waiting, 1, 10_000) == 1)
        guard case .endOfStream = Socket.receive(server.fd, into: &buffer, count: 16) else {
            Issue.record("the client has ended its side")
            return
        }
    }

    @Test func `tells why a connect failed`() throws {
        let listener = Descriptor(try Socket.listen(on: loopback, exclusively: false))
        let address = try #require(Socket.localAddress(listener.fd))
        _ = shutdown(listener.fd, Int32(SHUT_RDWR))
        let failure: SystemError?
        do {
            let client = Descriptor(try Socket.connect(to: address))
            var waiting = pollfd(fd: client.fd, events: Int16(POLLOUT), revents: 0)
            #expect(poll(&waiting, 1, 10_000) == 1)
            failure = Socket.pendingError(client.fd)
        } catch {
            failure = error
        }
        #expect(failure?.code == ECONNREFUSED)
        #expect(failure?.description == "connect: Connection refused")
    }

    @Test func `listens on a unix socket`() throws {
        let folder = try ScratchFolder()
        let address = SocketAddress.unix(path: folder.path + "/s")
        let listener = Descriptor(try Socket.listen(on: address, exclusively: true))
        let client = Descriptor(try Socket.connect(to: address))
        let accepted = try #require(try Socket.accept(listener.fd))
        _ = Descriptor(accepted.fd)
        #expect(Socket.pendingError(client.fd) == nil)
    }
}
