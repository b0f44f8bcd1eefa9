// What the oracles compare after each turn, each tick, and at the end.

import WeirPolicy
import WeirTime

extension Oracles {
    mutating func deposits(_ cluster: Int, _ now: Int64) { books[cluster].deposit(now) }

    mutating func withdraws(_ cluster: Int, _ now: Int64) {
        let isWithin = books[cluster].withdraw(now)
        expect(isWithin, "I18", now) { "a retry beyond the budget of cluster \(cluster)" }
    }

    mutating func refunds(_ cluster: Int, _ takenAt: Int64) { books[cluster].refund(takenAt) }

    /// An endpoint's state has changed.
    mutating func happens(
        _ event: EndpointEvent, _ cluster: Int, _ endpoints: ContiguousArray<EndpointGovernor>,
        _ now: Int64
    ) {
        let index = Int(event.endpoint) - 1
        guard ejectedUntil.indices.contains(index) else { return }
        switch event.kind {
        case .ejected(_, let length, isShadow: false):
            let longest = settings.clusters[cluster].outlier.maxEjectionTime
            expect(length <= longest && length > .zero, "I24", now) {
                "endpoint \(index) is ejected for \(length.seconds) s"
            }
            ejectedUntil[index] = event.at.nanoseconds + length.nanoseconds
        case .probation:
            ejectedUntil[index] = .min
            trials[index] &+= 1
            onTrial[index] = 0
        case .readmitted:
            ejectedUntil[index] = .min
        default: break
        }
    }

    /// After a tick of the control thread.
    mutating func ticked(
        _ cluster: Int, _ watch: ClusterWatch, _ endpoints: ContiguousArray<EndpointGovernor>,
        _ governor: ClusterGovernor, _ now: Int64
    ) {
        let range = ranges[cluster]
        guard !range.isEmpty else { return }
        expect(watch.probing <= 1, "I16", now) { "\(watch.probing) endpoints are probed at once" }
        let outlier = settings.clusters[cluster].outlier
        var ejected = 0
        var usable = 0
        for index in range {
            let endpoint = endpoints[index]
            if endpoint.isEjected { ejected += 1 }
            if endpoint.isAvailable || endpoint.isOnProbation { usable += 1 }
            let isOverdue =
                endpoint.isEjected && ejectedUntil[index] != .min
                && now > ejectedUntil[index] + 2 * settings.controlInterval.nanoseconds
            expect(!isOverdue, "I24", now) { "endpoint \(index) stays ejected beyond its time" }
            checkLimit(index, endpoint, settings.clusters[cluster].concurrency, now)
        }
        let most = max(range.count * outlier.maxEjectionPercent / 100, range.count > 1 ? 1 : 0)
        expect(ejected <= most, "I21", now) { "\(ejected) of \(range.count) are ejected" }
        expect(usable > 0 || governor.isPanicking, "I22", now) {
            "no endpoint of cluster \(cluster) may be used"
        }
    }

    private mutating func checkLimit(
        _ index: Int, _ endpoint: EndpointGovernor, _ concurrency: ConcurrencySettings,
        _ now: Int64
    ) {
        let limit = endpoint.currentLimit
        guard concurrency.mode == .enforce else {
            return expect(limit == .max, "I17", now) { "endpoint \(index) has a limit of \(limit)" }
        }
        let isWithin = limit >= 1 && limit <= concurrency.maximum
        expect(isWithin, "I17", now) { "endpoint \(index) has a limit of \(limit)" }
    }
}

extension World {
    /// After each turn: nothing is free that somebody waits for, and the books agree.
    mutating func checkTurn() {
        for (index, endpoint) in endpoints.enumerated() {
            let (seen, known) = (endpoint.requestsInFlight, stations[index].inFlight)
            oracles.expect(seen == known, "I15", now) {
                "endpoint \(index) counts \(seen) requests that are \(known)"
            }
        }
        for (cluster, governor) in clusters.enumerated() {
            let live = oracles.waiting[cluster].reduce(0, +)
            let bound = settings.clusters[cluster].queue.maxLength
            oracles.expect(live <= max(bound, 0), "I13", now) {
                "\(live) wait in a queue of \(bound)"
            }
            guard live > 0, governor.requestsInFlight < ceiling(cluster) else { continue }
            let isPanicking = governor.isPanicking
            for index in ranges[cluster] where endpoints[index].hasRoom(isPanicking: isPanicking) {
                let isWaiting = requests.contains {
                    $0.phase == .queued && Int($0.cluster) == cluster && $0.expiry > now
                }
                oracles.expect(!isWaiting, "I12", now) {
                    "endpoint \(index) has room while \(live) wait"
                }
            }
        }
    }

    private func ceiling(_ cluster: Int) -> Int {
        let ceilings = settings.clusters[cluster].ceilings
        return min(ceilings.maxRequests, ceilings.maxConnections)
    }

    /// At the end, when nothing is left to happen.
    mutating func finishChecks() {
        let open = requests.count - freePlaces.count
        oracles.expect(open == 0, "I27", now) { "\(open) requests never ended" }
        let (came, ended) = (recorder.arrivals, recorder.ends)
        oracles.expect(came == ended, "I28", now) { "\(came) requests came and \(ended) ended" }
        for (index, governor) in clusters.enumerated() {
            let (held, waiting) = (governor.requestsInFlight, governor.requestsWaiting)
            oracles.expect(held == 0, "I15", now) { "cluster \(index) still counts \(held)" }
            oracles.expect(waiting == 0, "I27", now) { "\(waiting) still wait" }
            let retries = governor.retriesInFlight
            oracles.expect(retries == 0, "I27", now) { "\(retries) retries are still held" }
            oracles.expect(oracles.books[index].isWithin(now), "I18", now) {
                "more retries than the budget of cluster \(index) over the whole time"
            }
        }
        for (index, endpoint) in endpoints.enumerated() {
            let held = endpoint.requestsInFlight
            oracles.expect(held == 0, "I15", now) { "endpoint \(index) still counts \(held)" }
        }
    }
}
