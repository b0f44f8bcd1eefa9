// The names of DNS clusters: resolved before a configuration is used, watched while it is.

import WeirConfig
import WeirNet
import WeirTelemetry
import WeirTime

/// One watch for each name that clusters are discovered by.
final class NameDirectory {
    /// What is watched.
    struct Name: Hashable {
        var host: String
        var port: UInt16
        var every: Interval?
    }

    /// How long a configuration waits for its new names; a slower one joins later.
    private static let patience = Interval.seconds(2)

    private let loop: EventLoop
    private let resolver: Resolver
    private let onChange: () -> Void
    private var watches: [Name: NameWatch] = [:]
    /// What was found before the watch had its first answer.
    private var first: [Name: [SocketAddress]] = [:]
    private var failing: Set<Name> = []
    private var chance: Chance

    init(loop: EventLoop, seed: UInt64, onChange: @escaping () -> Void) throws(SystemError) {
        self.loop = loop
        resolver = try Resolver(loop: loop)
        chance = Chance(seed: seed)
        self.onChange = onChange
    }

    static func names(_ configuration: Configuration) -> Set<Name> {
        var names: Set<Name> = []
        for cluster in configuration.clusters {
            if case .dns(let host, let port, let every) = cluster.source {
                names.insert(Name(host: host, port: port, every: every))
            }
        }
        return names
    }

    /// Looks up the names that are new, so that a cluster does not begin without endpoints. Waits
    /// on a loop of its own: the control thread does nothing else meanwhile.
    func prepare(_ names: Set<Name>) {
        let fresh = names.filter { watches[$0] == nil }
        guard !fresh.isEmpty, let waiting = try? EventLoop(),
            let once = try? Resolver(loop: waiting)
        else { return }
        var open = fresh.count
        for name in fresh {
            once.resolve(name.host, port: name.port) { [self] answer in
                if case .success(let found) = answer { first[name] = found.addresses }
                open -= 1
            }
        }
        let deadline = MonotonicClock.now() + Self.patience
        while open > 0, MonotonicClock.now() < deadline {
            waiting.turn(maxWait: deadline - MonotonicClock.now())
        }
        once.shutdown()
        waiting.turn(maxWait: .zero)
    }

    /// Watches exactly these names from now on.
    func watch(_ names: Set<Name>) {
        for (name, watch) in watches where !names.contains(name) {
            watch.stop()
            watches[name] = nil
            first[name] = nil
        }
        for name in names where watches[name] == nil {
            watches[name] = NameWatch(
                loop: loop, resolver: resolver, name: name.host, port: name.port,
                every: name.every, chance: Chance(seed: chance.next())
            ) { [self] news in
                report(news, of: name)
                onChange()
            }
        }
        failing.formIntersection(names)
    }

    /// Logs the beginning and the end of a failure; addresses that change are daily business.
    private func report(_ news: NameSchedule.News, of name: Name) {
        switch news {
        case .failed(let reason):
            failing.insert(name)
            ProcessLog.warn(
                "a name does not resolve; its last addresses stay in use",
                [
                    "name": name.host, "error": "\(reason)",
                    "addresses": "\(addresses(name).count)",
                ])
        case .addresses, .recovered:
            guard failing.remove(name) != nil else { return }
            ProcessLog.info("a name resolves again", ["name": name.host])
        }
    }

    /// The addresses that a name stands for now; empty when it never resolved.
    func addresses(_ name: Name) -> [SocketAddress] {
        let known = watches[name]?.addresses ?? []
        return known.isEmpty ? first[name] ?? [] : known
    }

    /// Why the last lookup of a name failed.
    func failure(_ name: Name) -> String? { watches[name]?.failure?.description }

    func stop() {
        watch([])
        resolver.shutdown()
    }
}
