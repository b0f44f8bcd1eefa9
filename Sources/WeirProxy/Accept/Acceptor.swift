// Takes connections from one listener, and refuses them while there is no room.

import Glibc
import WeirHTTP
import WeirNet
import WeirTelemetry
import WeirTime
import WeirPolicy

/// A listener in use; its settings change in place with a reload, also for open connections.
final class Listener {
    /// May change with a reload, the address being the same.
    var name: Text { didSet { nameBytes = name.bytes } }
    /// The same, read for each request without a count.
    private(set) var nameBytes: UnsafeRawBufferPointer
    var settings: ListenerSettings
    /// What new connections speak TLS with; `nil` where they do not.
    var tls: TLSServer?
    /// The configuration no longer has it: its connections end with their next answer, which says
    /// so, rather than being closed while a request may be on its way.
    var isRemoved = false

    /// What a head may be. Field by field: a copy of the settings would retain what they refer to.
    var headLimits: HeadLimits {
        HeadLimits(
            maxBytes: settings.headBytes, maxFields: settings.headFields,
            maxTargetBytes: settings.targetBytes)
    }

    init(name: Text, settings: ListenerSettings, tls: TLSServer?) {
        self.name = name
        nameBytes = name.bytes
        self.settings = settings
        self.tls = tls
    }
}

/// One listening socket of one worker.
final class Acceptor: EventSource {
    /// Connections taken a turn, so that established ones get their turn as well.
    private static let batch = 64
    /// Connections taken between two looks at whether the turn has taken long.
    private static let atOnce = 4
    /// How long a listener rests that cannot be watched, or cannot even refuse: it stays readable,
    /// and looking at it again and again would take the worker's whole time.
    private static let pause = Interval.milliseconds(100)

    let listener: Listener
    private unowned let proxy: Proxy
    /// A descriptor held back: closing it makes room to take, tell and close one connection when
    /// the process has no other left.
    private var spare: Int32
    private var timer = TimerID.none

    init(plan: ListenerPlan, proxy: Proxy) {
        listener = Listener(name: Text(plan.name), settings: plan.settings, tls: plan.tls)
        self.proxy = proxy
        spare = Self.openSpare()
        super.init(fd: plan.fd)
        timer = proxy.loop.timers.add(self)
    }

    deinit { if spare >= 0 { _ = close(spare) } }

    private static func openSpare() -> Int32 { open("/dev/null", O_RDONLY | O_CLOEXEC) }

    /// Begins to take connections. Where the kernel has no room to watch the socket it is tried
    /// again until there is, or until `stop`: the socket stays this one's to close.
    func start() throws(SystemError) {
        do {
            try proxy.loop.addForReading(self)
        } catch {
            proxy.loop.timers.arm(timer, at: proxy.loop.now + Self.pause)
            throw error
        }
    }

    override func ready(_ events: Events) {
        for _ in 0..<Self.batch / Self.atOnce {
            guard accept(atMost: Self.atOnce), !proxy.loop.isOverdue else { return }
        }
    }

    /// Takes those who wait; `false` where there are no more, or none can be taken.
    private func accept(atMost limit: Int) -> Bool {
        for _ in 0..<limit {
            do {
                guard let (socket, peer) = try Socket.accept(fd) else { return false }
                take(socket, peer)
            } catch {
                proxy.counters.add(.acceptFailures)
                guard error.isExhaustion, refuseWithSpare() else {
                    rest()
                    return false
                }
            }
        }
        return true
    }

    private func rest() {
        proxy.loop.setReading(self, false)
        proxy.loop.timers.arm(timer, at: proxy.loop.now + Self.pause)
    }

    override func timerFired() {
        if !isWatched {
            // That it cannot be watched has been reported the first time.
            try? start()
            return
        }
        if spare < 0 { spare = Self.openSpare() }
        proxy.loop.setReading(self, true)
    }

    private func take(_ socket: Int32, _ peer: SocketAddress) {
        proxy.counters.add(.connectionsAccepted)
        guard proxy.budget.take() else {
            proxy.counters.add(.refusedConnections)
            return refuse(socket, .ceiling)
        }
        Socket.setNoDelay(socket)
        guard let version = listener.settings.proxyProtocol else { return serve(socket, peer) }
        let greeting = Greeting(
            fd: socket, peer: peer, version: version, acceptor: self, proxy: proxy)
        do {
            try proxy.loop.add(greeting)
        } catch {
            // The connection closes its descriptor as it dies.
            return giveUp()
        }
        greeting.start()
    }

    /// Serves a connection whose client is known, and for which there is room in the process.
    func serve(_ socket: Int32, _ peer: SocketAddress) {
        let limit = listener.settings.connectionsPerAddress
        let counted = limit < .max ? peer.ip : nil
        if let counted, !proxy.budget.byAddress.take(counted, limit: limit) {
            proxy.budget.give()
            proxy.counters.add(.refusedByAddress)
            return refuse(socket, .ceiling)
        }
        let connection = H1Downstream(fd: socket, peer: peer, listener: listener, proxy: proxy)
        connection.isCountedByAddress = counted != nil
        do {
            if let tls = listener.tls { try connection.secure(by: tls) }
            try proxy.loop.add(connection)
        } catch {
            if let counted { proxy.budget.byAddress.give(counted) }
            return giveUp()
        }
        connection.start()
    }

    private func giveUp() {
        proxy.budget.give()
        proxy.counters.add(.acceptFailures)
    }

    /// Takes one connection with the spare descriptor, so that its client is told at once.
    private func refuseWithSpare() -> Bool {
        guard spare >= 0 else { return false }
        _ = close(spare)
        spare = -1
        defer { spare = Self.openSpare() }
        guard let taken = try? Socket.accept(fd) else { return false }
        refuse(taken.fd, .resourceExhausted)
        return true
    }

    private func refuse(_ socket: Int32, _ refusal: Refusal) {
        proxy.snapshot.plan.unrouted.countRefusal(Int(refusal.rawValue))
        // Whoever expects TLS would not understand it, and a handshake is more than it may cost.
        if listener.tls == nil { tell(socket, refusal) }
        Socket.shutdownSending(socket)
        _ = close(socket)
    }

    private func tell(_ socket: Int32, _ refusal: Refusal) {
        let answer = LocalReply.connectionRefused(refusal)
        answer.bytes.withMemoryRebound(to: UInt8.self) { bytes in
            guard let base = bytes.baseAddress else { return }
            // One try: a socket that was just accepted takes a few hundred bytes.
            _ = Socket.send(socket, base, count: bytes.count)
        }
    }

    /// Takes what already waits, then closes the socket: a client that was promised a connection
    /// by the kernel gets it.
    func stop() {
        _ = accept(atMost: 4096)
        listener.isRemoved = true
        proxy.downstreams.forEach { if $0.listener === listener { $0.listenerRemoved() } }
        proxy.loop.timers.remove(timer)
        timer = .none
        proxy.loop.remove(self)
    }
}
