// Who sends requests: how many, of which class and tenant, and what they do when it goes wrong.

package import WeirTime

/// Requests a second at one moment; between two moments the rate changes in a straight line.
package struct RatePoint: Equatable, Sendable {
    package var at: Interval
    package var perSecond: Double

    package init(_ at: Interval, _ perSecond: Double) {
        self.at = at
        self.perSecond = perSecond
    }
}

/// When requests come.
package enum ArrivalLaw: Equatable, Sendable {
    /// Poisson, whatever becomes of requests before: an open loop hides no waiting. Before the
    /// first point nothing comes, after the last one its rate goes on.
    case open([RatePoint])
    /// Users that send a request, wait for its end and think for a while, on average `think`.
    case closed(users: Int, think: Interval)

    /// The same rate all the time.
    package static func constant(_ perSecond: Double) -> ArrivalLaw {
        .open([RatePoint(.zero, perSecond)])
    }

    /// A rate that is another one for a time.
    package static func step(
        _ base: Double, to peak: Double, from: Interval, until: Interval
    ) -> ArrivalLaw {
        .open([
            RatePoint(.zero, base), RatePoint(from, base), RatePoint(from, peak),
            RatePoint(until, peak), RatePoint(until, base),
        ])
    }
}

/// Whose requests they are.
package enum TenantLaw: Equatable, Sendable {
    case one(Int)
    /// Evenly among so many from `first` on.
    case even(first: Int, count: Int)
    /// By Zipf's law among so many from `first` on: the n-th gets a share of `1 / n^exponent`.
    case zipf(first: Int, count: Int, exponent: Double)

    /// One more than the last tenant.
    package var end: Int {
        switch self {
        case .one(let tenant): tenant + 1
        case .even(let first, let count), .zipf(let first, let count, _): first + count
        }
    }
}

/// What clients do about an answer that is none.
package struct ClientRetries: Equatable, Sendable {
    /// After the first try.
    package var count = 0
    /// Before each of them; zero is at once.
    package var delay = Interval.zero
    /// The delay is drawn from zero to its length.
    package var hasJitter = false
    /// Waits as long as a refusal asks, and up to as long again.
    package var honoursRetryAfter = false

    package init() {}

    /// Retries at once, as careless clients do.
    package static func eager(_ count: Int) -> ClientRetries {
        var retries = ClientRetries()
        retries.count = count
        return retries
    }
}

/// Requests of one kind.
package struct Stream: Equatable, Sendable {
    package var name: String
    /// An index into the settings' routes.
    package var route = 0
    /// Instead of the route's class; 0 is the best.
    package var priority: UInt8?
    package var arrivals: ArrivalLaw
    package var tenants = TenantLaw.one(0)
    /// The client goes away after this time; `.max` is never.
    package var patience = Interval.max
    /// The client says how long it will wait.
    package var sendsDeadline = false
    package var retries = ClientRetries()
    /// The request may be sent twice.
    package var isIdempotent = true
    /// A served request counts as in time within this.
    package var slo = Interval.max
    /// How much work a request is, compared with the endpoints' mean.
    package var work = 1.0

    package init(_ name: String, _ arrivals: ArrivalLaw) {
        self.name = name
        self.arrivals = arrivals
    }
}
