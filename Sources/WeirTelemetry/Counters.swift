// What a worker counts. One writer, many readers; summed when scraped.

public import CWeir

/// A block of counters of one worker. Only that worker adds; any thread may read.
///
/// Public like `ByteWriter`, so that adding is inlined: a call costs five times the addition.
public final class CounterBlock: @unchecked Sendable {
    @usableFromInline let cells: UnsafeMutablePointer<UInt64>
    /// How many counters there are.
    public let count: Int

    /// All zero.
    public init(count: Int) {
        self.count = count
        // Whole cache lines: two workers' blocks must not share one.
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: (count * MemoryLayout<UInt64>.stride + 63) & ~63, alignment: 64)
        cells = memory.bindMemory(to: UInt64.self, capacity: count)
        cells.initialize(repeating: 0, count: count)
    }

    deinit { UnsafeMutableRawPointer(cells).deallocate() }

    /// Adds to a counter. Owner thread only.
    @inlinable
    public func add(_ index: Int, _ amount: UInt64 = 1) {
        precondition(index >= 0 && index < count)
        cweir_counter_add(cells + index, amount)
    }

    /// Takes away from a gauge. Owner thread only.
    @inlinable
    public func subtract(_ index: Int, _ amount: UInt64 = 1) {
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
public enum WorkerCounter: Int, CaseIterable, Sendable {
    case connectionsAccepted, connectionsActive, requestsActive
    case bytesReceived, bytesSent
    case logLinesDropped
    /// Listeners were paused since descriptors ran out.
    case acceptFailures
    /// TLS handshakes with clients that were completed, those of them that took up an earlier
    /// session, and those that came to nothing.
    case handshakes, handshakesResumed, handshakeFailures
    /// Connections without a PROXY header where there had to be one.
    case greetingFailures
    /// Connections that were refused since there were enough, in all or of their address.
    case refusedConnections, refusedByAddress
    /// Connections that spoke HTTP/2, and those of them that were cut off for asking too much, for
    /// breaking the protocol, and for a head that did not end in time.
    case http2Connections, http2Floods, http2Faults, http2HeadTimeouts
}

/// What is counted for each route, before the duration buckets.
package enum RouteCounter: Int, CaseIterable, Sendable {
    case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    /// Ended without a status: the client went away.
    case aborted
    case durationSumNanoseconds, durationCount
}

/// What is counted for each cluster.
public enum ClusterCounter: Int, CaseIterable, Sendable {
    case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    case attempts, replays
    case retries, retriesOverBudget, hedges
    /// What policies in shadow mode would have sent, and would have refused to send.
    case wouldRetry, wouldHedge, wouldNotRetry
    case connects, connectFailures, connectTimeouts
    case connectionsActive, connectionsIdle, requestsActive
    case failedReset, failedProtocol, failedTimeout, failedNoEndpoint, failedExhausted
    case bytesSent, bytesReceived
}
