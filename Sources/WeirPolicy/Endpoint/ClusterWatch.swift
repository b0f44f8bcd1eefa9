// One cluster's ticks: limits, comparisons, ejections and their end, panic.

import Synchronization
package import WeirTime

/// What the control thread does for one cluster, every 50 to 100 ms; the simulator calls the same.
///
/// Lives as long as the cluster's name does: a reload updates it, and endpoints that stay keep
/// what is known of them.
package final class ClusterWatch {
    private let ledger = EjectionLedger()
    private var outlier = OutlierSettings()
    private var concurrency = ConcurrencySettings()
    private var watches: [EndpointWatch] = []
    private var joining: [EndpointGovernor] = []
    private var detector = OutlierDetector()
    private var routes = RouteComparison()
    private var slotEnd = Instant.distantPast
    private var isStarted = false
    private var wasQueueStanding = false
    /// The last that the cluster's governor was told.
    private var sumInShadow = Int.max

    package init() {}

    deinit {
        // The endpoints name the ledger and the ledger the endpoints.
        ledger.update(OutlierSettings(), [])
        for watch in watches { Self.release(watch.governor) }
    }

    /// Takes up new settings and endpoints. Who is new joins with the next tick: with a slow start
    /// if the cluster has been at work before.
    package func update(
        outlier: OutlierSettings, concurrency: ConcurrencySettings, slowStart: Interval,
        endpoints: [EndpointGovernor]
    ) {
        let isModeNew = concurrency.mode != self.concurrency.mode
        (self.outlier, self.concurrency) = (outlier, concurrency)
        let named = Set(endpoints.map(\.id))
        for watch in watches where !named.contains(watch.governor.id) {
            Self.release(watch.governor)
        }
        watches.removeAll { !named.contains($0.governor.id) }
        let known = Set(watches.map(\.governor.id))
        joining = endpoints.filter { !known.contains($0.id) }
        for governor in endpoints {
            governor.book.withLock { $0.ledger = ledger }
            let isInline = outlier.mode != .off
            governor.limit5xx.store(
                isInline ? UInt32(clamping: outlier.consecutive5xx) : 0, ordering: .relaxed)
            governor.limitGateway.store(
                isInline ? UInt32(clamping: outlier.consecutiveGateway) : 0, ordering: .relaxed)
            governor.rampLength.store(slowStart.nanoseconds, ordering: .relaxed)
        }
        ledger.update(outlier, endpoints)
        for index in watches.indices {
            if isModeNew { watches[index].limiter = ConcurrencyLimiter(concurrency) }
            watches[index].limiter.clamp(concurrency)
            publish(watches[index])
        }
        for governor in joining {
            publish(EndpointWatch(governor, concurrency, now: .distantPast))
        }
    }

    /// Takes up the routes that lead here, if they are several.
    package func update(routes tempos: [RouteTempo]) { routes.update(tempos) }

    private static func release(_ governor: EndpointGovernor) {
        governor.book.withLock { $0.ledger = nil }
        governor.limit.store(.max, ordering: .relaxed)
        governor.shadowLimit.store(.max, ordering: .relaxed)
    }

    /// - Parameters:
    ///   - governor: is told whether the cluster panics, and asked whether requests wait.
    ///   - events: what has happened since the last tick is appended.
    package func tick(
        now: Instant, governor: ClusterGovernor, chance: inout Chance,
        events: inout [EndpointEvent]
    ) {
        let isPanicking = tick(
            now: now, isQueueStanding: governor.requestsWaiting > 0, chance: &chance,
            events: &events)
        governor.setPanicking(isPanicking)
        let sum = limitInShadow(isPanicking: isPanicking)
        if sum != sumInShadow {
            sumInShadow = sum
            governor.setLimitInShadow(sum)
        }
    }

    /// What the endpoints that may be used would work on in all, were the limits more than a
    /// shadow; `Int.max` where they are none.
    private func limitInShadow(isPanicking: Bool) -> Int {
        guard concurrency.mode == .shadow, !watches.isEmpty else { return .max }
        return watches.reduce(0) { sum, watch in
            let isUsed = isPanicking ? !watch.governor.isDraining : watch.governor.isUsable
            return isUsed ? sum + watch.limiter.limit : sum
        }
    }

    /// - Returns: whether the cluster panics.
    package func tick(
        now: Instant, isQueueStanding: Bool, chance: inout Chance, events: inout [EndpointEvent]
    ) -> Bool {
        admit(now)
        routes.tick(now: now)
        for index in watches.indices {
            watches[index].read(now: now)
            noteHealth(index, now, &events)
        }
        compare(now, &events)
        if concurrency.mode != .off {
            limit(now, isQueueStanding: isQueueStanding, &chance, &events)
        }
        return ledger.advance(now: now, chance: &chance, events: &events)
    }

    private func admit(_ now: Instant) {
        for governor in joining {
            if isStarted { governor.beginSlowStart(now) }
            var watch = EndpointWatch(governor, concurrency, now: now)
            watch.limiter.clamp(concurrency)
            watches.append(watch)
        }
        // At the process's start all are new, and nobody is to be spared for it.
        isStarted = isStarted || !joining.isEmpty
        joining.removeAll()
    }

    private func noteHealth(_ index: Int, _ now: Instant, _ events: inout [EndpointEvent]) {
        let governor = watches[index].governor
        if governor.wouldBeUnhealthy != watches[index].wasUnhealthyInShadow {
            watches[index].wasUnhealthyInShadow.toggle()
            events.append(
                EndpointEvent(
                    kind: governor.wouldBeUnhealthy ? .wouldBeUnhealthy : .wouldBeHealthy,
                    endpoint: governor.id, at: now))
        }
        guard governor.isUnhealthy != watches[index].wasUnhealthy else { return }
        watches[index].wasUnhealthy.toggle()
        events.append(
            EndpointEvent(
                kind: governor.isUnhealthy ? .unhealthy : .healthy, endpoint: governor.id, at: now))
    }

    // MARK: Comparison

    private func compare(_ now: Instant, _ events: inout [EndpointEvent]) {
        guard now >= slotEnd else { return }
        let slot = max(outlier.interval.nanoseconds / Int64(EndpointWatch.slots), 50_000_000)
        // A tick that comes a little late must not make every slot longer.
        let isOnTime = slotEnd != .distantPast && now - slotEnd < Interval(nanoseconds: slot)
        slotEnd = (isOnTime ? slotEnd : now) + Interval(nanoseconds: slot)
        if outlier.mode != .off {
            for finding in detector.compare(&watches, outlier, now: now) {
                let id = watches[finding.index].governor.id
                guard ledger.report(id, finding.reason, now: now) else { continue }
                watches[finding.index].forget()
            }
        }
        for index in watches.indices {
            let latencies = watches[index].latencies
            let isKnown = latencies.total > 0
            let baseline = watches[index].limiter.baseline
            watches[index].governor.book.withLock { book in
                book.median = isKnown ? Self.interval(latencies.quantile(0.5)) : nil
                book.p99 = isKnown ? Self.interval(latencies.quantile(0.99)) : nil
                book.baseline = baseline.map(Self.interval)
            }
            watches[index].turn()
        }
    }

    private static func interval(_ nanoseconds: Double) -> Interval {
        Interval(nanoseconds: Int64(min(max(nanoseconds, 0), 1e18)))
    }

    // MARK: Limits

    private func limit(
        _ now: Instant, isQueueStanding: Bool, _ chance: inout Chance,
        _ events: inout [EndpointEvent]
    ) {
        for index in watches.indices {
            let before = watches[index].limiter.limit
            let governor = watches[index].governor
            if governor.wantsRestart.exchange(false, ordering: .relaxed) {
                watches[index].limiter.restart(concurrency, now: now)
            }
            watches[index].limit(
                concurrency, isQueueStanding: isQueueStanding && wasQueueStanding, now: now,
                chance: &chance)
            change(index, from: before, now, &events)
        }
        wasQueueStanding = isQueueStanding
        shareBaselines()
        probe(now, isQueueStanding: isQueueStanding, &events)
    }

    private func change(
        _ index: Int, from before: Int, _ now: Instant, _ events: inout [EndpointEvent]
    ) {
        let limit = watches[index].limiter.limit
        guard limit != before else { return }
        publish(watches[index])
        events.append(
            EndpointEvent(
                kind: .limitChanged(from: before, to: limit),
                endpoint: watches[index].governor.id, at: now))
    }

    /// Endpoints of a cluster are interchangeable: who has not been measured yet begins with the
    /// median of the others, and whose base is a guess guesses no higher than what was measured.
    private func shareBaselines() {
        guard watches.contains(where: { !$0.limiter.isBaselineMeasured }) else { return }
        let measured = watches.filter(\.limiter.isBaselineMeasured)
        let known = (measured.isEmpty ? watches : measured).compactMap(\.limiter.baseline).sorted()
        guard !known.isEmpty else { return }
        for index in watches.indices {
            watches[index].limiter.adopt(
                baseline: known[known.count / 2], isMeasured: !measured.isEmpty)
        }
    }

    /// At most one endpoint at a time is held back to be measured.
    private func probe(
        _ now: Instant, isQueueStanding: Bool, _ events: inout [EndpointEvent]
    ) {
        guard concurrency.mode == .enforce, !watches.contains(where: { $0.limiter.isProbing })
        else { return }
        let due = watches.indices.filter {
            watches[$0].governor.isAvailable
                && watches[$0].limiter.wantsProbe(now: now, isQueueStanding: isQueueStanding)
        }
        // Whose probe has been due for longest.
        guard
            let index = due.min(by: {
                watches[$0].limiter.nextProbe < watches[$1].limiter.nextProbe
            })
        else { return }
        let before = watches[index].limiter.limit
        watches[index].limiter.beginProbe(now: now)
        watches[index].beginWindow(now)
        change(index, from: before, now, &events)
    }

    private func publish(_ watch: EndpointWatch) {
        let limit = watch.limiter.limit
        let mode = concurrency.mode
        watch.governor.limit.store(mode == .enforce ? limit : .max, ordering: .relaxed)
        watch.governor.shadowLimit.store(mode == .shadow ? limit : .max, ordering: .relaxed)
    }

    // MARK: For tests and the status page

    /// Endpoints held back by a probe: none or one.
    package var probing: Int { watches.count { $0.limiter.isProbing } }
    /// Endpoints that are ejected or on probation.
    package var ejected: Int { ledger.ejectedCount }
}
