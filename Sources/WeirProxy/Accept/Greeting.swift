// A connection whose load balancer has yet to say whom it is from.

import Glibc
import WeirNet
import WeirTelemetry
import WeirTime

/// Reads the PROXY protocol's header and hands the connection on; what follows the header is left
/// to whoever serves it, since it is only looked at until the header is complete.
final class Greeting: EventSource {
    private let peer: SocketAddress
    private let acceptor: Acceptor
    private unowned let proxy: Proxy
    private let version: ProxyHeader.Version
    private var timer = TimerID.none

    init(
        fd: Int32, peer: SocketAddress, version: ProxyHeader.Version, acceptor: Acceptor,
        proxy: Proxy
    ) {
        self.peer = peer
        self.version = version
        self.acceptor = acceptor
        self.proxy = proxy
        super.init(fd: fd)
    }

    /// Begins to wait for the header; the connection is in the loop.
    func start() {
        timer = proxy.loop.timers.add(self)
        proxy.loop.timers.arm(
            timer, at: proxy.loop.now + acceptor.listener.settings.headerTimeout)
        proxy.greetings[ObjectIdentifier(self)] = self
    }

    override func timerFired() { refuse() }

    override func ready(_ events: Events) {
        let buffer = proxy.context.readBuffer
        let count = recv(fd, buffer, ProxyHeader.maxBytes, Int32(MSG_PEEK))
        guard count > 0 else {
            // Spurious, or the peer is gone.
            return count == 0 || !events.isDisjoint(with: .hungUp) ? refuse() : ()
        }
        switch ProxyHeader.read(UnsafeRawBufferPointer(start: buffer, count: count), version) {
        case .needsMore: if !events.isDisjoint(with: [.peerEnded, .hungUp]) { refuse() }
        case .malformed: refuse()
        case .complete(let header, let length):
            guard recv(fd, buffer, length, 0) == length else { return refuse() }
            leave()
            let socket = proxy.loop.release(self)
            acceptor.serve(socket, header.source ?? peer)
        }
    }

    private func refuse() {
        proxy.counters.add(.greetingFailures)
        cut()
    }

    private func leave() {
        proxy.loop.timers.remove(timer)
        timer = .none
        proxy.greetings[ObjectIdentifier(self)] = nil
    }

    /// Ends the connection without a word.
    func cut() {
        guard fd >= 0 else { return }
        leave()
        proxy.budget.give()
        proxy.loop.remove(self)
    }
}
