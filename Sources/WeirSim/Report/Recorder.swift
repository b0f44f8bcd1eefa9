// Writes down what happens while a simulation runs: tallies by window, points in time, decisions.

package import WeirPolicy
package import WeirTime

/// One point of the time series.
package struct SeriesPoint: Equatable, Sendable {
    /// The end of the time that the point tells of.
    package var at: Interval
    /// By class: requests that arrived in that time, and those among them that were served.
    package var offered: [Int]
    package var servedOfOffered: [Int]
    /// By class: requests whose answer came in that time.
    package var served: [Int]
    package var attempts = 0
    /// Of answers that came in that time.
    package var p99: Interval?
    /// The sum of the endpoints' limits; `nil` where one has none.
    package var limit: Int?
    package var inFlight = 0
    package var waiting = 0
    package var ejected = 0
}

/// An endpoint's change of state.
package struct LoggedEvent: Equatable, Sendable {
    package var cluster: Int
    package var event: EndpointEvent
}

struct Recorder {
    /// The first one is the whole time.
    let windows: [Window]
    let sampleEvery: Interval
    /// Tenants that are told apart.
    static let maxTenants = 32

    var classes: [[Tally]]
    var tenants: [[Tally]]
    var series: [SeriesPoint] = []
    var events: [LoggedEvent] = []
    /// Requests by end, of all tenants.
    var arrivals = 0
    var ends = 0
    var clientTries = 0
    var wishes = 0
    var wishesGranted = 0
    var retries = 0
    var retriesOverBudget = 0
    let classCount: Int
    private var recent = LatencyCounts()
    private var digest: UInt64 = 0xCBF2_9CE4_8422_2325

    init(_ scenario: Scenario, classes count: Int) {
        let whole = Window("all", .zero, .max)
        windows = [whole] + scenario.windows
        let steps = scenario.length.nanoseconds / 600
        let tenth: Int64 = 100_000_000
        sampleEvery = Interval(nanoseconds: max(tenth, (steps + tenth - 1) / tenth * tenth))
        classCount = count
        classes = windows.map { _ in [Tally](repeating: Tally(), count: count) }
        let told = min(scenario.tenants, Self.maxTenants)
        tenants = windows.map { _ in [Tally](repeating: Tally(), count: told) }
        let points = Int(scenario.length.nanoseconds / sampleEvery.nanoseconds) + 2
        series = (1...max(points, 1)).map {
            SeriesPoint(
                at: Interval(nanoseconds: Int64($0) * sampleEvery.nanoseconds),
                offered: [Int](repeating: 0, count: count),
                servedOfOffered: [Int](repeating: 0, count: count),
                served: [Int](repeating: 0, count: count))
        }
    }

    func point(_ time: Int64) -> Int {
        min(Int(time / sampleEvery.nanoseconds), series.count - 1)
    }

    // MARK: Decisions

    /// FNV-1a over 64-bit words (Fowler, Noll and Vo): equal decisions make equal digests.
    @inline(__always)
    mutating func decide(_ word: UInt64) {
        digest = (digest ^ word) &* 0x100_0000_01B3
        digest ^= digest >> 29
    }

    var decisionHash: UInt64 { digest }

    // MARK: Requests

    mutating func arrives(_ request: SimRequest) {
        arrivals += 1
        if request.tries == 0 { wishes += 1 } else { clientTries += 1 }
        update(request) { $0.offered += 1 }
        series[point(request.arrivedAt)].offered[Int(request.priority)] += 1
    }

    mutating func serves(_ request: SimRequest, slo: Int64, at now: Int64) {
        ends += 1
        wishesGranted += 1
        let latency = now - request.arrivedAt
        let attempts = Int(request.attempts)
        let isInTime = latency <= slo
        update(request) { tally in
            tally.served += 1
            tally.attempts += attempts
            if isInTime { tally.inTime += 1 }
            tally.latency.add(latency)
        }
        recent.add(latency)
        let priority = Int(request.priority)
        series[point(request.arrivedAt)].servedOfOffered[priority] += 1
        series[point(now)].served[priority] += 1
    }

    /// - Parameter refusal: `nil` where the endpoint's failure was passed on.
    mutating func fails(_ request: SimRequest, _ refusal: Refusal?, at now: Int64) {
        ends += 1
        let latency = now - request.arrivedAt
        let attempts = Int(request.attempts)
        update(request) { tally in
            tally.attempts += attempts
            guard let refusal else { return tally.failed += 1 }
            tally.refuse(refusal)
            if refusal.isOwn { tally.refusalLatency.add(latency) }
        }
    }

    @inline(__always)
    private mutating func update(_ request: SimRequest, _ change: (inout Tally) -> Void) {
        let tenant = Int(request.tenant)
        for index in windows.indices {
            guard request.arrivedAt >= windows[index].from.nanoseconds,
                request.arrivedAt < windows[index].until.nanoseconds
            else { continue }
            change(&classes[index][Int(request.priority)])
            if tenant < tenants[index].count { change(&tenants[index][tenant]) }
        }
    }

    mutating func attempts(at now: Int64) { series[point(now)].attempts += 1 }

    /// Ends a point of the series.
    mutating func sample(
        at now: Int64, limit: Int?, inFlight: Int, waiting: Int, ejected: Int
    ) {
        let index = point(max(now - 1, 0))
        series[index].p99 = recent.quantile(0.99)
        series[index].limit = limit
        series[index].inFlight = inFlight
        series[index].waiting = waiting
        series[index].ejected = ejected
        recent.removeAll()
    }
}
