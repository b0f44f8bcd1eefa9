// The listening sockets of all workers: bound before a configuration is adopted, kept across it.

import Glibc
import WeirConfig
package import WeirNet
import WeirTime

/// Why a listener could not be opened.
package struct ListenFailure: Error, CustomStringConvertible {
    package let listener: String
    package let address: String
    package let error: SystemError

    package var description: String {
        let hint =
            error.code == EADDRINUSE
            ? " (is another program, or another weir, listening there?)" : ""
        return "listener '\(listener)' cannot use \(address): \(error)\(hint)"
    }
}

/// One socket a worker and address. Sockets share their port with `SO_REUSEPORT`, so that the
/// kernel spreads connections evenly over the workers.
final class ListenerSockets {
    /// What a listener was given: its address as bound, and a socket for each worker.
    struct Opened {
        var address: SocketAddress
        var sockets: [Int32]
    }

    /// A listener stays the same one as long as its address does. One that asks for any free port
    /// (port 0) has no address of its own, and goes by its name.
    fileprivate struct Identity: Hashable {
        let address: Address
        let name: String?

        init(_ listener: WeirConfig.Listener) {
            address = listener.address
            if case .ip(_, port: 0) = listener.address { name = listener.name } else { name = nil }
        }
    }

    /// How long an address that was given up may still be held by a worker that is busy.
    private static let releaseTime = Interval.seconds(2)

    private let workers: Int
    private var opened: [Identity: Opened] = [:]
    private var givenUp: Set<Identity> = []

    init(workers: Int) { self.workers = workers }

    /// Sockets opened for a configuration that is not in use yet.
    struct Pending {
        fileprivate var fresh: [Identity: Opened] = [:]
    }

    /// Opens what the listeners need and is not open yet. On failure nothing stays open.
    func open(_ listeners: [WeirConfig.Listener]) throws(ListenFailure) -> Pending {
        var pending = Pending()
        for listener in listeners where opened[Identity(listener)] == nil {
            do {
                pending.fresh[Identity(listener)] = try openReleased(listener)
            } catch {
                discard(pending)
                throw ListenFailure(
                    listener: listener.name, address: listener.address.text, error: error)
            }
        }
        return pending
    }

    /// Opens a listener; one whose address was given up before is waited for, since the workers
    /// close their sockets when they come to it.
    private func openReleased(_ listener: WeirConfig.Listener) throws(SystemError) -> Opened {
        let deadline = MonotonicClock.now() + Self.releaseTime
        while true {
            do {
                return try open(listener.address)
            } catch {
                guard error.code == EADDRINUSE, givenUp.contains(Identity(listener)),
                    MonotonicClock.now() < deadline
                else { throw error }
                usleep(5000)
            }
        }
    }

    private func open(_ address: Address) throws(SystemError) -> Opened {
        guard var target = SocketAddress(address) else {
            throw SystemError(call: "bind", code: EINVAL)
        }
        if case .unix(let path) = target { return try openLocal(path) }
        var sockets: [Int32] = []
        for index in 0..<workers {
            do {
                let fd = try Socket.listen(on: target, exclusively: index == 0)
                sockets.append(fd)
                // Port 0 asks for any free port; the other workers share the first one's.
                if let bound = Socket.localAddress(fd) { target = bound }
            } catch {
                for fd in sockets { _ = close(fd) }
                throw error
            }
        }
        return Opened(address: target, sockets: sockets)
    }

    /// Opens a unix socket, which all workers share: the kernel has no `SO_REUSEPORT` for them.
    /// Who may connect is up to its folder, as with nginx.
    private func openLocal(_ path: String) throws(SystemError) -> Opened {
        let address = SocketAddress.unix(path: path)
        try Socket.removeStale(path)
        let first = try Socket.listen(on: address, exclusively: true)
        var opened = Opened(address: address, sockets: [first])
        do throws(SystemError) {
            guard chmod(path, 0o666) == 0 else { throw SystemError.last("chmod") }
            while opened.sockets.count < workers {
                opened.sockets.append(try Socket.duplicate(first))
            }
        } catch {
            Self.abandon(opened)
            throw error
        }
        return opened
    }

    private static func abandon(_ opened: Opened) {
        for fd in opened.sockets { _ = close(fd) }
        removeFile(opened)
    }

    private static func removeFile(_ opened: Opened) {
        if case .unix(let path) = opened.address { _ = unlink(path) }
    }

    func discard(_ pending: Pending) {
        for opened in pending.fresh.values { Self.abandon(opened) }
    }

    /// Removes the files of unix sockets, at the end of the process.
    func removeFiles() {
        for opened in opened.values { Self.removeFile(opened) }
    }

    /// Takes a configuration's sockets into use. Those it no longer names are forgotten here and
    /// closed by the workers, once they have taken what waits in them.
    func commit(_ pending: Pending, _ listeners: [WeirConfig.Listener]) {
        opened.merge(pending.fresh) { _, fresh in fresh }
        let named = Set(listeners.map(Identity.init))
        givenUp.formUnion(opened.keys)
        givenUp.subtract(named)
        // What waits in a socket is still taken; nobody else gets in.
        for (identity, opened) in opened where !named.contains(identity) {
            Self.removeFile(opened)
        }
        opened = opened.filter { named.contains($0.key) }
    }

    subscript(_ listener: WeirConfig.Listener) -> Opened? { opened[Identity(listener)] }
}

extension SocketAddress {
    /// The address to bind or connect to; `nil` for what the configuration's checks exclude.
    init?(_ address: Address) {
        switch address {
        case .ip(let host, let port):
            guard let ip = IPAddress(host) else { return nil }
            self = .ip(ip, port: port)
        case .unix(let path): self = .unix(path: path)
        }
    }
}

extension Address {
    /// The address as an operator writes it.
    var text: String { SocketAddress(self)?.description ?? "?" }
}
