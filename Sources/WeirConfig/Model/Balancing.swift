// How a cluster's endpoints are picked, and how much the whole cluster takes.

package import WeirPolicy

extension Cluster {
    /// The `load_balancing` section.
    package struct Balancing: Equatable, Sendable {
        package var kind = Kind.roundRobin
        /// There exactly where `kind` hashes.
        package var hashOn: HashKey?
        /// Where `kind` hashes: times its fair share that an endpoint may be loaded, 1...16;
        /// `nil` is no bound.
        package var boundedLoad: Double?

        package init() {}

        /// In the words of the file.
        package enum Kind: String, CaseIterable, Sendable {
            case roundRobin = "round_robin"
            case leastRequest = "least_request"
            case peakEWMA = "peak_ewma"
            case ringHash = "ring_hash"
            case maglev

            package var isHash: Bool { self == .ringHash || self == .maglev }
        }
    }

    /// What a hash policy sends to the same endpoint.
    package enum HashKey: Equatable, Sendable {
        /// Lower case.
        case header(String)
        case tenant
        case cookie(String)
        case path
        case clientIP
        case query(String)
    }

    /// Hard caps for the whole cluster, in the whole process; `nil` is no limit.
    package struct Ceilings: Equatable, Sendable {
        package var mode = Mode.enforce
        package var maxConnections: Int?
        /// Requests that wait.
        package var maxPendingRequests: Int?
        /// Requests in flight.
        package var maxRequests: Int?
        /// Retries in flight.
        package var maxRetries: Int?

        package init() {}
    }
}
