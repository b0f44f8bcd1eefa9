// A stream at work: when its next request comes, and whose it is.

import WeirTime

struct Source {
    // What each request asks for, apart from what must be copied with care.
    let route: Int
    let priority: UInt8?
    let sendsDeadline: Bool
    let isIdempotent: Bool
    let work: Double
    let retries: ClientRetries
    let slo: Int64
    let patience: Int64
    /// Users of a closed loop; 0 for an open one.
    let users: Int
    private let think: Interval
    private let points: [RatePoint]
    /// The point that the present rate comes from.
    private var segment = 0
    private var arrivals: Chance
    private var owners: Chance
    private let firstTenant: Int
    private let tenantCount: UInt32
    /// Zipf: the sums of shares up to and with each tenant, of 2^32; empty where shares are even.
    private let sums: [UInt64]

    init(_ stream: Stream, seed: UInt64) {
        route = stream.route
        priority = stream.priority
        sendsDeadline = stream.sendsDeadline
        isIdempotent = stream.isIdempotent
        work = stream.work
        retries = stream.retries
        slo = stream.slo.nanoseconds
        patience = stream.patience.nanoseconds
        arrivals = Chance(seed: seed, label: "arrivals of \(stream.name)")
        owners = Chance(seed: seed, label: "tenants of \(stream.name)")
        switch stream.arrivals {
        case .open(let points): (self.points, users, think) = (points, 0, .zero)
        case .closed(let users, let think): (points, self.users, self.think) = ([], users, think)
        }
        switch stream.tenants {
        case .one(let tenant): (firstTenant, tenantCount, sums) = (tenant, 1, [])
        case .even(let first, let count):
            (firstTenant, tenantCount, sums) = (first, UInt32(max(count, 1)), [])
        case .zipf(let first, let count, let exponent):
            firstTenant = first
            tenantCount = UInt32(max(count, 1))
            sums = Self.zipf(max(count, 1), exponent)
        }
    }

    private static func zipf(_ count: Int, _ exponent: Double) -> [UInt64] {
        let weights = (1...count).map {
            Curve.exponential(-exponent * Curve.logarithm(Double($0)))
        }
        let total = weights.reduce(0, +)
        var sum = 0.0
        return weights.map {
            sum += $0
            return share32(sum / total)
        }
    }

    mutating func tenant() -> Int {
        if tenantCount == 1 { return firstTenant }
        if sums.isEmpty { return firstTenant + Int(owners.below(tenantCount)) }
        let number = owners.next() >> 32
        var (low, high) = (0, sums.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if sums[middle] > number { high = middle } else { low = middle + 1 }
        }
        return firstTenant + low
    }

    /// How long a user thinks.
    mutating func thought() -> Int64 {
        Int64(Double(think.nanoseconds) * arrivals.exponential())
    }

    /// The next arrival after `now`; `nil` when there is none any more.
    ///
    /// Where the rate changes, arrivals of the higher rate are thinned out (Lewis and Shedler,
    /// 1979), so that a ramp is one.
    mutating func nextArrival(after now: Int64) -> Int64? {
        var time = Double(now)
        while segment < points.count {
            let from = points[segment]
            let start = Double(from.at.nanoseconds)
            let isLast = segment + 1 == points.count
            let to = isLast ? from : points[segment + 1]
            let stop = isLast ? Double.infinity : Double(to.at.nanoseconds)
            time = max(time, start)
            let peak = max(from.perSecond, to.perSecond)
            if peak <= 0, isLast { return nil }
            if peak > 0, stop > time {
                let candidate = time + arrivals.exponential() * 1e9 / peak
                if candidate < stop {
                    time = candidate
                    let share = isLast ? 0 : (time - start) / (stop - start)
                    let rate = from.perSecond + (to.perSecond - from.perSecond) * share
                    if rate >= peak || arrivals.unit() * peak <= rate {
                        return Int64(min(time, 9e18))
                    }
                    continue
                }
            }
            time = stop
            segment += 1
        }
        return nil
    }
}
