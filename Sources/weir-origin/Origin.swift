// One port's state, shared by the worker threads: its settings and its counts.

import Synchronization

/// An origin: what answers on one port.
final class Origin: Sendable {
    let name: String
    let port: UInt16
    /// How many workers share its capacity.
    let workers: Int
    /// Connections open now, and ever.
    let open = Counter()
    let connections = Counter()
    let requests = Counter()
    /// Those of clients: no question about statistics, change of settings or health check.
    let clientRequests = Counter()
    let answers = Counter()
    let malformed = Counter()
    let bodyBytes = Counter()
    /// Requests whose head was read and whose answer is not complete.
    let inFlight = Counter()
    /// Requests that wait for the capacity to be served, and those that have it.
    let queued = Counter()
    let serving = Counter()

    private let initial: Settings
    private let current: Mutex<Settings>

    init(name: String, port: UInt16, workers: Int, settings: Settings) {
        self.name = name
        self.port = port
        self.workers = workers
        initial = settings
        current = Mutex(settings)
    }

    var settings: Settings { current.withLock { $0 } }

    /// Applies the pairs of `/__set` all together, or none when one is wrong; returns that one.
    func change(_ query: Query) -> String? {
        current.withLock { settings in
            var changed = query.isSet("reset") ? initial : settings
            for (key, value) in query.pairs where key != "reset" {
                guard changed.set(key, to: value) == .done else { return "\(key)=\(value)" }
            }
            settings = changed
            return nil
        }
    }

    /// The counts as JSON.
    var statistics: String {
        let named: [(String, Counter)] = [
            ("connections", open), ("connections_total", connections), ("requests", requests),
            ("client_requests", clientRequests),
            ("answers", answers), ("malformed", malformed), ("body_bytes", bodyBytes),
            ("in_flight", inFlight), ("queued", queued), ("serving", serving),
        ]
        let members = named.map { "\"\($0.0)\":\($0.1.value)" }.joined(separator: ",")
        return "{\"origin\":\"\(name)\",\"port\":\(port),\(members)}\n"
    }
}

/// A number that several threads count on.
final class Counter: Sendable {
    private let count = Atomic(0)

    var value: Int { count.load(ordering: .relaxed) }
    func add(_ amount: Int) { count.add(amount, ordering: .relaxed) }
}
