// Takes connections from one listener, and refuses them while there is no room.

import Glibc
import WeirNet
import WeirTelemetry
import WeirPolicy

/// A listener in use; its settings change in place with a reload, also for open connections.
final class Listener {
    let name: String
    var settings: ListenerSettings
    /// The configuration no longer has it: its connections end with their next answer, which says
    /// so, rather than being closed while a request may be on its way.
    var isRemoved = false

    init(name: String, settings: ListenerSettings) {
        self.name = name
        self.settings = settings
    }
}

/// One listening socket of one worker.
final class Acceptor: EventSource {
    /// Connections taken a turn, so that established ones get their turn as well.
    private static let batch = 64

    let listener: Listener
    private unowned let proxy: Proxy
    /// A descriptor held back: closing it makes room to take, tell and close one connection when
    /// the process has no other left.
    private var spare: Int32

    init(plan: ListenerPlan, proxy: Proxy) {
        listener = Listener(name: plan.name, settings: plan.settings)
        self.proxy = proxy
        spare = Self.openSpare()
        super.init(fd: plan.fd)
    }

    deinit { if spare >= 0 { _ = close(spare) } }

    private static func openSpare() -> Int32 { open("/dev/null", O_RDONLY | O_CLOEXEC) }

    override func ready(_ events: Events) { accept(atMost: Self.batch) }

    private func accept(atMost limit: Int) {
        for _ in 0..<limit {
            do {
                guard let (socket, peer) = try Socket.accept(fd) else { return }
                take(socket, peer)
            } catch {
                proxy.counters.add(.acceptFailures)
                guard error.isExhaustion, refuseWithSpare() else { return }
            }
        }
    }

    private func take(_ socket: Int32, _ peer: SocketAddress) {
        proxy.counters.add(.connectionsAccepted)
        guard proxy.budget.take() else { return refuse(socket, .ceiling) }
        Socket.setNoDelay(socket)
        let connection = H1Downstream(fd: socket, peer: peer, listener: listener, proxy: proxy)
        do {
            try proxy.loop.add(connection)
        } catch {
            // The connection closes its descriptor as it dies.
            proxy.budget.give()
            proxy.counters.add(.acceptFailures)
            return
        }
        connection.start()
    }

    /// Takes one connection with the spare descriptor, so that its client is told at once.
    private func refuseWithSpare() -> Bool {
        guard spare >= 0 else {
            spare = Self.openSpare()
            return false
        }
        _ = close(spare)
        spare = -1
        defer { spare = Self.openSpare() }
        guard let taken = try? Socket.accept(fd) else { return false }
        refuse(taken.fd, .resourceExhausted)
        return true
    }

    private func refuse(_ socket: Int32, _ refusal: Refusal) {
        proxy.snapshot.plan.unrouted.countRefusal(Int(refusal.rawValue))
        let answer = LocalReply.connectionRefused(refusal)
        answer.bytes.withMemoryRebound(to: UInt8.self) { bytes in
            guard let base = bytes.baseAddress else { return }
            // One try: a socket that was just accepted takes a few hundred bytes.
            _ = Socket.send(socket, base, count: bytes.count)
        }
        Socket.shutdownSending(socket)
        _ = close(socket)
    }

    /// Takes what already waits, then closes the socket: a client that was promised a connection
    /// by the kernel gets it.
    func stop() {
        accept(atMost: 4096)
        listener.isRemoved = true
        proxy.loop.remove(self)
    }
}
