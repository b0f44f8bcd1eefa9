// What a worker counts. One writer, many readers; summed when scraped.

import CWeir

/// A block of counters of one worker. Only that worker adds; any thread may read.
package final class CounterBlock: @unchecked Sendable {
    private let cells: UnsafeMutablePointer<UInt64>
    package let count: Int

    package init(count: Int) {
        self.count = count
        // Whole cache lines: two workers' blocks must not share one.
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: (count * MemoryLayout<UInt64>.stride + 63) & ~63, alignment: 64)
        cells = memory.bindMemory(to: UInt64.self, capacity: count)
        cells.initialize(repeating: 0, count: count)
    }

    deinit { UnsafeMutableRawPointer(cells).deallocate() }

    /// Adds to a counter. Owner thread only.
    @inline(__always)
    package func add(_ index: Int, _ amount: UInt64 = 1) {
        precondition(index >= 0 && index < count)
        cweir_counter_add(cells + index, amount)
    }

    /// Takes away from a gauge. Owner thread only.
    @inline(__always)
    package func subtract(_ index: Int, _ amount: UInt64 = 1) {
        precondition(index >= 0 && index < count)
        cweir_counter_add(cells + index, 0 &- amount)
    }

    /// Reads a counter. Any thread.
    package func load(_ index: Int) -> UInt64 {
        precondition(index >= 0 && index < count)
        return cweir_counter_load(cells + index)
    }

    /// Sets a gauge. Owner thread only.
    @inline(__always)
    package func store(_ index: Int, _ value: UInt64) {
        precondition(index >= 0 && index < count)
        cweir_counter_store(cells + index, value)
    }
}

/// What concerns a whole worker.
package enum WorkerCounter: Int, CaseIterable, Sendable {
    case connectionsAccepted, connectionsActive, requestsActive
    case bytesReceived, bytesSent
    case logLinesDropped
    /// Listeners were paused since descriptors ran out.
    case acceptFailures
}

/// What is counted for each route, before the duration buckets.
package enum RouteCounter: Int, CaseIterable, Sendable {
    case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    /// Ended without a status: the client went away.
    case aborted
    case durationSumNanoseconds, durationCount
}

/// What is counted for each cluster.
package enum ClusterCounter: Int, CaseIterable, Sendable {
    case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    case attempts, replays
    case connects, connectFailures, connectTimeouts
    case connectionsActive, connectionsIdle, requestsActive
    case failedReset, failedProtocol, failedTimeout, failedNoEndpoint, failedExhausted
    case bytesSent, bytesReceived
}
