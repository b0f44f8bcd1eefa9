// Watches a simulation for what must never happen: the invariants, as far as one run shows them.

import WeirPolicy
import WeirTime

/// Keeps books of its own beside the governors and compares.
///
/// I1 to I7, I10 and I11 are properties of single policies and tested there; the rest is seen here.
struct Oracles {
    enum Extent: Sendable {
        case cheap
        /// Everything that waits or is free is looked at in every turn.
        case all
    }

    let extent: Extent
    private(set) var violations: [Violation] = []
    private static let maxViolations = 20

    let settings: SimSettings
    let ranges: [Range<Int>]
    /// By cluster, then class: requests that wait, by our own count.
    var waiting: [[Int]]
    var books: [RetryBook]
    /// By cluster: probes of an open breaker under way.
    var probes: [Int]
    /// By endpoint: the ends of ejections; probations; attempts in the present one.
    var ejectedUntil: [Int64]
    var trials: [UInt32]
    var onTrial: [Int]
    private let isStrict: [Bool]

    init(_ settings: SimSettings, ranges: [Range<Int>], extent: Extent) {
        self.extent = extent
        self.settings = settings
        self.ranges = ranges
        let classes = max(settings.classes.count, 1)
        waiting = ranges.map { _ in [Int](repeating: 0, count: classes) }
        books = settings.clusters.map { RetryBook($0.retryBudget) }
        probes = ranges.map { _ in 0 }
        let count = ranges.last?.upperBound ?? 0
        ejectedUntil = [Int64](repeating: .min, count: count)
        trials = [UInt32](repeating: 1, count: count)
        onTrial = [Int](repeating: 0, count: count)
        // A class below a strict one has no declared share of what is better.
        isStrict = (0..<classes).map { priority in
            settings.clusters.allSatisfy { cluster in
                let shares = cluster.queue.minimumShares
                return priority >= shares.count || shares[priority] == 0
            }
        }
    }

    mutating func expect(
        _ holds: Bool, _ invariant: String, _ now: Int64, _ text: () -> String
    ) {
        guard !holds, violations.count < Self.maxViolations else { return }
        violations.append(
            Violation(invariant: invariant, at: Interval(nanoseconds: now), text: text()))
    }
}

// MARK: The queue

extension Oracles {
    mutating func queued(_ request: SimRequest, _ cluster: Int, _ now: Int64) {
        waiting[cluster][Int(request.priority)] += 1
        let bound = settings.clusters[cluster].queue
        let longest = min(now + bound.maxWait.nanoseconds, request.dueAt)
        expect(request.expiry <= longest, "I13", now) {
            "request \(request.serial) may wait until \(request.expiry), not \(longest)"
        }
    }

    mutating func leaves(_ request: SimRequest, _ cluster: Int, _ now: Int64) {
        waiting[cluster][Int(request.priority)] -= 1
        expect(request.expiry >= now, "I13", now) {
            "request \(request.serial) waited beyond \(request.expiry)"
        }
    }

    /// A verdict: a permit, or none.
    mutating func decided(
        _ request: SimRequest, _ cluster: Int, _ requests: ContiguousArray<SimRequest>,
        _ now: Int64
    ) {
        let priority = Int(request.priority)
        waiting[cluster][priority] -= 1
        expect(request.expiry >= now, "I13", now) {
            "request \(request.serial) waited beyond \(request.expiry)"
        }
        if request.endpoint >= 0 {
            guard isStrict[priority] else { return }
            for better in 0..<priority where waiting[cluster][better] > 0 {
                let passed = waits(cluster, class: better, requests, now)
                expect(!passed, "I8", now) {
                    "class \(priority) gets a permit while class \(better) waits"
                }
            }
        } else if request.calledRefusal == .pushedOut {
            noLowerWaits(cluster, priority, requests, "I9", now)
        }
    }

    /// Whether a request of a class waits whose time is not up. Counts are fast; this is sure.
    private func waits(
        _ cluster: Int, class priority: Int, _ requests: ContiguousArray<SimRequest>,
        _ now: Int64
    ) -> Bool {
        requests.contains {
            $0.phase == .queued && Int($0.priority) == priority && $0.expiry > now
                && $0.enteredAt < now && clusterOf($0) == cluster
        }
    }

    private func clusterOf(_ request: SimRequest) -> Int { Int(request.cluster) }

    private mutating func noLowerWaits(
        _ cluster: Int, _ priority: Int, _ requests: ContiguousArray<SimRequest>,
        _ invariant: String, _ now: Int64
    ) {
        for lower in min(priority + 1, waiting[cluster].count)..<waiting[cluster].count
        where waiting[cluster][lower] > 0 {
            let stays = waits(cluster, class: lower, requests, now)
            expect(!stays, invariant, now) {
                "class \(priority) is refused while class \(lower) waits"
            }
        }
    }

    /// weir refuses a request, for whatever reason.
    mutating func refuses(
        _ request: SimRequest, _ refusal: Refusal, _ requests: ContiguousArray<SimRequest>,
        _ now: Int64
    ) {
        if refusal == .queueFull {
            noLowerWaits(Int(request.cluster), Int(request.priority), requests, "I9", now)
        }
        expect(refusal != .noEndpoint || ranges[Int(request.cluster)].isEmpty, "I22", now) {
            "request \(request.serial) finds no endpoint"
        }
    }

    /// A permit without a wait.
    mutating func admitsDirectly(
        _ request: SimRequest, _ endpoint: Int, _ endpoints: ContiguousArray<EndpointGovernor>,
        _ cluster: Int, _ now: Int64
    ) {
        let others = waiting[cluster].reduce(0, +)
        expect(others == 0, "I8", now) {
            "request \(request.serial) goes ahead of \(others) that wait"
        }
        guard extent == .all, request.tried.contains(endpoint) else { return }
        for other in ranges[cluster] where !request.tried.contains(other) {
            let isWeighted =
                settings.clusters[cluster].endpoints[
                    other - ranges[cluster].lowerBound
                ].weight > 0
            expect(!isWeighted || !endpoints[other].hasRoom(isPanicking: false), "I19", now) {
                "request \(request.serial) goes to endpoint \(endpoint) again, and not to \(other)"
            }
        }
    }
}

// MARK: Attempts

extension Oracles {
    /// A request has a place at an endpoint.
    mutating func holds(
        _ request: inout SimRequest, _ endpoints: ContiguousArray<EndpointGovernor>,
        _ cluster: ClusterGovernor, _ now: Int64
    ) {
        let endpoint = Int(request.endpoint)
        let governor = endpoints[endpoint]
        let (count, limit) = (governor.requestsInFlight, governor.currentLimit)
        expect(count <= limit, "I15", now) {
            "endpoint \(endpoint) has \(count) requests at a limit of \(limit)"
        }
        let isOut = governor.isEjected && !cluster.isPanicking
        expect(!isOut, "I23", now) { "endpoint \(endpoint) is ejected and gets a request" }
        request.trial = 0
        guard governor.isOnProbation, !cluster.isPanicking else { return }
        request.trial = trials[endpoint]
        onTrial[endpoint] += 1
        let probes = onTrial[endpoint]
        expect(probes <= 1, "I23", now) {
            "endpoint \(endpoint) is on probation and has \(probes) requests"
        }
    }

    mutating func attempts(_ request: SimRequest, most: Int, _ now: Int64) {
        expect(request.dueAt > now, "I19", now) {
            "attempt of request \(request.serial) after its deadline"
        }
        expect(Int(request.attempts) <= most, "I19", now) {
            "attempt \(request.attempts) of request \(request.serial), which may have \(most)"
        }
    }

    mutating func settles(_ request: inout SimRequest) {
        let endpoint = Int(request.endpoint)
        // One that hangs from an earlier probation is not part of this one.
        if request.trial != 0, request.trial == trials[endpoint] { onTrial[endpoint] -= 1 }
        request.trial = 0
    }

    mutating func charged(_ request: inout SimRequest, _ now: Int64) {
        expect(!request.isCharged, "I20", now) { "request \(request.serial) is charged twice" }
        request.isCharged = true
    }
}

// MARK: The breaker

extension Oracles {
    mutating func breakerPasses(_ cluster: Int, _ verdict: Breaker.Verdict, _ now: Int64) {
        guard case .probe = verdict else { return }
        probes[cluster] += 1
        let bound = max(settings.clusters[cluster].breaker.probes, 1)
        let count = probes[cluster]
        expect(count <= bound, "I26", now) {
            "\(count) probes of a breaker that allows \(bound)"
        }
    }

    mutating func breakerSettles(_ cluster: Int, _ verdict: Breaker.Verdict) {
        if case .probe = verdict { probes[cluster] -= 1 }
    }
}
