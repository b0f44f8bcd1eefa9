// A client's connection, whichever version of HTTP it speaks.

import WeirNet
import WeirTelemetry
import WeirTime

/// What connections of both versions have: a listener, a client, a timer and a place among the
/// worker's connections.
class DownstreamConnection: Connection, Linked {
    /// How long a connection that is done with still reads, so that what it has sent last is not
    /// lost in a reset.
    private static let lingerTime = Interval.seconds(2)

    let listener: Listener
    let peer: SocketAddress
    /// The peer's address; `nil` on a unix socket.
    var peerAddress: IPAddress? { peer.ip }
    let proxy: Proxy
    /// Where the connection was going before it was redirected; `nil` where it was not.
    var originalDestination: SocketAddress? {
        listener.settings.isTransparent ? OriginalDestination.of(fd) : nil
    }
    /// It is one of its address's connections, which are bounded.
    var isCountedByAddress = false
    final var next: Borrowed<DownstreamConnection>?
    final var previous: Borrowed<DownstreamConnection>?
    private(set) var timer = TimerID.none
    private var countedBytesSent: UInt64 = 0

    init(fd: Int32, peer: SocketAddress, listener: Listener, proxy: Proxy) {
        self.peer = peer
        self.listener = listener
        self.proxy = proxy
        super.init(fd: fd, context: proxy.context)
    }

    /// Takes the place of a connection that turns out to speak another version.
    init(replacing other: DownstreamConnection) {
        peer = other.peer
        listener = other.listener
        proxy = other.proxy
        isCountedByAddress = other.isCountedByAddress
        countedBytesSent = other.countedBytesSent
        other.leaveList()
        super.init(replacing: other)
    }

    // MARK: To be overridden

    /// Ends an idle connection now, and any other after what is under way on it.
    func drain() {}

    /// The next configuration is about to be taken up.
    func configurationWillChange() {}

    /// The configuration no longer has the connection's listener.
    func listenerRemoved() {}

    /// Ends the connection now, whatever it is doing; who still waits for an answer is told why.
    func cut() {}

    /// Ends the connection without a word.
    func close() {}

    // MARK: The end

    /// All has been sent: ends this side, and gives the client time to end its own.
    final func finishSending() {
        if hasPeerEnded, !isReadable { return close() }
        endSending()
        arm(after: Self.lingerTime)
        if isReadable { context.loop.defer(self) }
    }

    // MARK: The worker's books

    /// Takes its place among the worker's connections.
    final func enterList() {
        proxy.downstreams.insert(Borrowed(self))
        timer = context.loop.timers.add(self)
    }

    private func leaveList() {
        context.loop.timers.remove(timer)
        timer = .none
        proxy.downstreams.remove(self)
    }

    final func arm(after interval: Interval) { arm(at: context.loop.now + interval) }

    final func arm(at instant: Instant) { context.loop.timers.arm(timer, at: instant) }

    final func countSent() {
        proxy.counters.add(.bytesSent, bytesSent &- countedBytesSent)
        countedBytesSent = bytesSent
    }

    override final func secured() {
        proxy.counters.add(.handshakes)
        if tls?.isResumed == true { proxy.counters.add(.handshakesResumed) }
    }

    /// Closes the socket and strikes the connection out. `connectionEnded` of the proxy is to
    /// follow once nothing refers to the connection any more.
    final func leave() {
        countSent()
        leaveList()
        proxy.counters.subtract(.connectionsActive)
        if let tls, !tls.isEstablished, hasBegunHandshake {
            proxy.counters.add(.handshakeFailures)
        }
        proxy.budget.give()
        if isCountedByAddress, let address = peer.ip { proxy.budget.byAddress.give(address) }
        closeNow()
    }
}
