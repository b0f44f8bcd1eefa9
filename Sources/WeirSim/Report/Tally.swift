// What became of requests: counts for one class or one tenant, in one part of the time.

package import WeirPolicy
import WeirTime

/// Every request that arrived is counted once when it comes and once when it ends.
package struct Tally: Equatable, Sendable {
    package internal(set) var offered = 0
    /// Answered by an endpoint with success.
    package internal(set) var served = 0
    /// Served within what its stream calls good.
    package internal(set) var inTime = 0
    /// The endpoint's own failure was passed on.
    package internal(set) var failed = 0
    package internal(set) var attempts = 0
    /// By `Refusal.rawValue`.
    private var refusals = [Int](repeating: 0, count: Refusal.allCases.count)
    /// Of served requests, from arrival to answer.
    package internal(set) var latency = LatencyCounts()
    /// Of weir's own refusals.
    package internal(set) var refusalLatency = LatencyCounts()

    package init() {}

    package func refused(_ refusal: Refusal) -> Int { refusals[Int(refusal.rawValue)] }

    mutating func refuse(_ refusal: Refusal) { refusals[Int(refusal.rawValue)] += 1 }

    /// Ended in any way.
    package var ended: Int { served + failed + refusals.reduce(0, +) }

    /// Refused by weir itself, for want of room or right.
    package var shed: Int {
        Refusal.allCases.reduce(0) { $0 + ($1.isOwn ? refused($1) : 0) }
    }

    /// Served, among those offered; 1 when there were none.
    package var successRate: Double {
        offered == 0 ? 1 : Double(served) / Double(offered)
    }

    /// Served in time, among those offered; 1 when there were none.
    package var goodRate: Double {
        offered == 0 ? 1 : Double(inTime) / Double(offered)
    }

    package var attemptsPerRequest: Double {
        offered == 0 ? 0 : Double(attempts) / Double(offered)
    }

    /// Refusals that occurred, in the vocabulary's order.
    package var reasons: [(refusal: Refusal, count: Int)] {
        Refusal.allCases.compactMap { refused($0) > 0 ? ($0, refused($0)) : nil }
    }
}

extension Refusal {
    /// weir's decision, rather than what it says of an upstream or a client.
    var isOwn: Bool {
        switch self {
        case .ceiling, .rateLimited, .tenantConcurrency, .queueFull, .pushedOut, .queueTimeout,
            .breakerOpen, .deadline, .noEndpoint, .resourceExhausted, .draining:
            true
        default: false
        }
    }
}
