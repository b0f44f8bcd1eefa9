// How an endpoint behaves: a station of workers with a queue, and the faults that befall it.

package import WeirTime

/// How long pieces of work are, in multiples of the mean.
package enum ServiceLaw: Equatable, Sendable {
    case fixed
    case exponential
    /// `sigma` of the logarithm; 1 is a heavy tail.
    case lognormal(sigma: Double)

    /// A draw with mean 1.
    func draw(_ chance: inout Chance) -> Double {
        switch self {
        case .fixed: 1
        case .exponential: chance.exponential()
        case .lognormal(let sigma):
            Curve.exponential(sigma * chance.normal() - sigma * sigma / 2)
        }
    }
}

/// What an endpoint can do. Work that has been sent to it is done even if nobody waits for the
/// answer any more, as in most real servers: that waste is what overload is about.
package struct EndpointModel: Equatable, Sendable {
    /// Requests in service at a time; others wait in order of arrival.
    package var workers: Int
    /// The mean time of service while nothing else is in service.
    package var service: Interval
    package var law: ServiceLaw
    /// With `b` requests in service each takes `1 + (b / knee)²` times as long; 0 is no contention.
    package var knee: Int
    /// Requests that wait for a worker at most; others are answered 503 at once.
    package var backlog: Int
    /// Waiting work of a client that is gone is not begun.
    package var dropsAbandoned: Bool

    package init(
        workers: Int, service: Interval, law: ServiceLaw = .exponential, knee: Int = 0,
        backlog: Int = .max, dropsAbandoned: Bool = false
    ) {
        self.workers = workers
        self.service = service
        self.law = law
        self.knee = knee
        self.backlog = backlog
        self.dropsAbandoned = dropsAbandoned
    }

    /// Requests a second at most.
    package var capacity: Double {
        let peak = knee > 0 ? min(workers, knee) : workers
        let stretch = knee > 0 ? 1 + Double(peak * peak) / Double(knee * knee) : 1
        return Double(peak) / (service.seconds * stretch)
    }
}

/// Something that goes wrong with some endpoints for a time.
package struct Fault: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// Work takes so many times as long.
        case slow(Double)
        /// Nothing is begun and nothing ends.
        case pause
        /// A share is answered 500: at once and without work, or after it.
        case errors(share: Double, isFast: Bool)
        /// A share is never answered.
        case silence(share: Double)
        /// A share is answered 503 with `Retry-After`, at once.
        case busy(share: Double, retryAfter: Interval)
        /// A share is cut off without an answer, after the work.
        case resets(share: Double)
        /// Connections are refused, and what was under way is cut off.
        case dead
    }

    package var kind: Kind
    /// Since the beginning of the simulation.
    package var from: Interval
    package var until: Interval
    /// Indices of endpoints.
    package var endpoints: [Int]

    package init(_ kind: Kind, from: Interval, until: Interval, endpoints: [Int]) {
        self.kind = kind
        self.from = from
        self.until = until
        self.endpoints = endpoints
    }
}
