// Who owns the counters: blocks keyed by name and worker, which outlive every reload.

import Synchronization

/// One route's counters on one worker.
package final class RouteCounters: Sendable {
    private static var firstBucket: Int { RouteCounter.durationCount.rawValue + 1 }
    private static var firstRefusal: Int { firstBucket + Buckets.count }

    private let block: CounterBlock
    private let firstShadow: Int

    init(refusalCodes: Int) {
        firstShadow = Self.firstRefusal + refusalCodes
        block = CounterBlock(count: firstShadow + refusalCodes)
    }

    /// Counts one request that has ended; status 0 says that the client went away before one.
    package func count(status: Int, durationNanoseconds: Int64) {
        let duration = max(0, durationNanoseconds)
        let status = status / 100
        let counter =
            status >= 1 && status <= 5
            ? RouteCounter.responses1xx.rawValue + status - 1 : RouteCounter.aborted.rawValue
        block.add(counter)
        block.add(RouteCounter.durationSumNanoseconds.rawValue, UInt64(duration))
        block.add(RouteCounter.durationCount.rawValue)
        block.add(Self.firstBucket + Buckets.index(duration))
    }

    /// Counts one refusal, by its place in the registry's list of codes.
    package func countRefusal(_ code: Int) { block.add(Self.firstRefusal + code) }

    /// Counts one refusal that a policy in shadow mode would have given.
    package func countShadow(_ code: Int) { block.add(firstShadow + code) }

    /// Reads a counter. Any thread.
    package func load(_ counter: RouteCounter) -> UInt64 { block.load(counter.rawValue) }

    /// Reads how many durations fell into one bucket. Any thread.
    package func loadBucket(_ index: Int) -> UInt64 { block.load(Self.firstBucket + index) }

    /// Reads how often one code was given. Any thread.
    package func loadRefusal(_ code: Int) -> UInt64 { block.load(Self.firstRefusal + code) }

    /// Reads how often one code would have been given. Any thread.
    package func loadShadow(_ code: Int) -> UInt64 { block.load(firstShadow + code) }
}

/// One cluster's counters on one worker.
public final class ClusterCounters: Sendable {
    @usableFromInline let block = CounterBlock(
        count: ClusterCounter.allCases.count + GRPCStatus.allCases.count)

    init() {}

    /// Counts one call's end.
    package func count(_ status: GRPCStatus) {
        block.add(ClusterCounter.allCases.count + Int(status.rawValue))
    }

    /// Calls that ended so. Any thread.
    package func load(_ status: GRPCStatus) -> UInt64 {
        block.load(ClusterCounter.allCases.count + Int(status.rawValue))
    }

    /// Counts one response of an endpoint.
    package func count(status: Int) {
        let status = status / 100
        guard status >= 1, status <= 5 else { return }
        block.add(ClusterCounter.responses1xx.rawValue + status - 1)
    }

    /// Adds to a counter or a gauge. Owner thread only.
    @inlinable public func add(_ counter: ClusterCounter, _ amount: UInt64 = 1) {
        block.add(counter.rawValue, amount)
    }

    /// Takes away from a gauge. Owner thread only.
    @inlinable public func subtract(_ counter: ClusterCounter, _ amount: UInt64 = 1) {
        block.subtract(counter.rawValue, amount)
    }

    /// Reads a counter. Any thread.
    package func load(_ counter: ClusterCounter) -> UInt64 { block.load(counter.rawValue) }
}

/// What one worker counts about itself.
public final class WorkerCounters: Sendable {
    @usableFromInline let block = CounterBlock(count: WorkerCounter.allCases.count)

    init() {}

    /// Adds to a counter or a gauge. Owner thread only.
    @inlinable public func add(_ counter: WorkerCounter, _ amount: UInt64 = 1) {
        block.add(counter.rawValue, amount)
    }

    /// Takes away from a gauge. Owner thread only.
    @inlinable public func subtract(_ counter: WorkerCounter, _ amount: UInt64 = 1) {
        block.subtract(counter.rawValue, amount)
    }

    /// Reads a counter. Any thread.
    package func load(_ counter: WorkerCounter) -> UInt64 { block.load(counter.rawValue) }
}

/// The process's counters. Blocks are keyed by name and worker and live for ever, so a reload
/// never sets a counter back.
package final class CounterRegistry: Sendable {
    /// Names of routes, and of clusters, that get counters of their own; what comes later is
    /// counted under `overflowName`.
    package static let maxNames = 16_384
    /// The name that later names share.
    package static let overflowName = "other"
    /// The route of requests that matched none.
    package static let unrouted = "-"

    /// One name's counters, one block a worker.
    package struct Named<Counters: Sendable>: Sendable {
        package let name: String
        package let workers: [Counters]
    }

    private struct Table<Counters: Sendable>: Sendable {
        var places: [String: Int] = [:]
        var rows: [Named<Counters>] = []

        mutating func row(
            _ name: String, limit: Int, make: () -> [Counters]
        ) -> Named<Counters> {
            if let place = places[name] { return rows[place] }
            // The shared name has a row of its own beyond the limit.
            let key = rows.count < limit ? name : CounterRegistry.overflowName
            if let place = places[key] { return rows[place] }
            let row = Named(name: key, workers: make())
            places[key] = rows.count
            rows.append(row)
            return row
        }
    }

    /// The refusal codes, in the order of the numbers given to `RouteCounters.countRefusal`.
    package let refusalCodes: [StaticString]
    /// One a worker.
    package let workers: [WorkerCounters]
    private let maxNames: Int
    private let routeTable = Mutex(Table<RouteCounters>())
    private let clusterTable = Mutex(Table<ClusterCounters>())

    package init(
        workers: Int, refusalCodes: [StaticString], maxNames: Int = CounterRegistry.maxNames
    ) {
        self.refusalCodes = refusalCodes
        self.workers = (0..<workers).map { _ in WorkerCounters() }
        self.maxNames = maxNames
    }

    /// The counters of a route on a worker. Takes a lock: called when a snapshot is compiled.
    package func route(_ name: String, worker: Int) -> RouteCounters {
        routeTable.withLock { table in
            table.row(name, limit: maxNames) {
                workers.map { _ in RouteCounters(refusalCodes: refusalCodes.count) }
            }
        }.workers[worker]
    }

    /// The counters of a cluster on a worker. Takes a lock: called when a snapshot is compiled.
    package func cluster(_ name: String, worker: Int) -> ClusterCounters {
        clusterTable.withLock { table in
            table.row(name, limit: maxNames) { workers.map { _ in ClusterCounters() } }
        }.workers[worker]
    }

    /// The counters of a worker.
    package func worker(_ index: Int) -> WorkerCounters { workers[index] }

    /// All routes seen so far, in the order in which they came.
    package var routes: [Named<RouteCounters>] { routeTable.withLock { $0.rows } }

    /// All clusters seen so far, in the order in which they came.
    package var clusters: [Named<ClusterCounters>] { clusterTable.withLock { $0.rows } }
}
