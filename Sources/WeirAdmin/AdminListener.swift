// Accepts admin connections, also when the process has run out of file descriptors.

import Glibc
import WeirNet
import WeirTime

/// The listening socket of an admin server. It holds one descriptor in reserve, so that an
/// operator can still look when there are no others.
final class AdminListener: TimerTarget {
    private static let pause = Interval.milliseconds(100)

    private unowned let server: AdminServer
    private var source: ReadinessWatch?
    private var reserve: Int32 = -1
    private var timer = TimerID.none

    init(server: AdminServer) {
        self.server = server
        super.init()
        timer = server.loop.timers.add(self)
        refillReserve()
    }

    /// The listening socket.
    var descriptor: Int32 { source?.fd ?? -1 }

    /// Starts accepting on `fd`, which this owns from now on.
    func watch(_ fd: Int32) throws(SystemError) {
        let source = ReadinessWatch(fd: fd) { [unowned self] in accept() }
        try server.loop.addForReading(source)
        self.source = source
    }

    private func accept() {
        guard let source else { return }
        while true {
            do throws(SystemError) {
                guard let (fd, peer) = try Socket.accept(source.fd) else { return }
                if server.hasRoom {
                    if case .ip = peer { Socket.setNoDelay(fd) }
                    server.adopt(fd)
                } else {
                    _ = Glibc.close(fd)
                }
            } catch {
                guard error.isExhaustion, spendReserve() else { return rest() }
            }
        }
    }

    /// A socket that cannot be accepted from stays readable: not looking at it for a while is what
    /// keeps the loop from spinning.
    private func rest() {
        guard let source else { return }
        server.loop.setReading(source, false)
        server.loop.timers.arm(timer, at: server.loop.now + Self.pause)
    }

    override func timerFired() {
        refillReserve()
        if let source { server.loop.setReading(source, true) }
    }

    func refillReserve() {
        if reserve < 0 { reserve = open("/dev/null", O_RDONLY | O_CLOEXEC) }
    }

    private func spendReserve() -> Bool {
        guard reserve >= 0 else { return false }
        _ = Glibc.close(reserve)
        reserve = -1
        return true
    }

    func close() {
        server.loop.timers.remove(timer)
        timer = .none
        _ = spendReserve()
        if let source { server.loop.remove(source) }
        source = nil
    }
}
