// The control thread's turns, faults that come and go, and points of the time series.

import WeirPolicy
import WeirTime

extension World {
    mutating func tick() {
        for index in watches.indices {
            events.removeAll(keepingCapacity: true)
            watches[index].tick(
                now: instant, governor: clusters[index], chance: &control, events: &events)
            for event in events {
                oracles.happens(event, index, endpoints, now)
                if case .limitChanged = event.kind { continue }
                recorder.decide(UInt64(event.endpoint) << 8 | 7)
                recorder.events.append(LoggedEvent(cluster: index, event: event))
            }
            clusters[index].dispatch(near: nil, now: instant, verdicts: &verdicts)
            oracles.ticked(index, watches[index], endpoints, clusters[index], now)
        }
        queue.plan(.tick, at: now + settings.controlInterval.nanoseconds)
    }

    mutating func sample() {
        var limit: Int? = 0
        var ejected = 0
        for endpoint in endpoints {
            let own = endpoint.currentLimit
            limit = own == .max ? nil : limit.map { $0 + own }
            if endpoint.isEjected || endpoint.isOnProbation { ejected += 1 }
        }
        recorder.sample(
            at: now, limit: limit, inFlight: clusters.reduce(0) { $0 + $1.requestsInFlight },
            waiting: clusters.reduce(0) { $0 + $1.requestsWaiting }, ejected: ejected)
        if now < end { queue.plan(.sample, at: now + recorder.sampleEvery.nanoseconds) }
    }

    // MARK: Faults

    mutating func changeFaults(_ index: Int) {
        let fault = scenario.faults[index]
        for endpoint in fault.endpoints where stations.indices.contains(endpoint) {
            let wasDead = stations[endpoint].condition.isDead
            stations[endpoint].condition = condition(endpoint)
            if fault.kind == .pause { pause(endpoint, fault) }
            if stations[endpoint].condition.isDead, !wasDead { crash(endpoint) }
        }
    }

    private func condition(_ endpoint: Int) -> Station.Condition {
        var condition = Station.Condition()
        for fault in scenario.faults
        where fault.endpoints.contains(endpoint) && fault.from.nanoseconds <= now
            && fault.until.nanoseconds > now
        {
            switch fault.kind {
            case .slow(let factor): condition.slowness = max(condition.slowness, factor)
            case .pause: break
            case .errors(let share, let isFast):
                condition.errors = share32(share)
                condition.isFast = isFast
            case .silence(let share): condition.silence = share32(share)
            case .busy(let share, let retryAfter):
                condition.busy = share32(share)
                condition.retryAfter = retryAfter
            case .resets(let share): condition.resets = share32(share)
            case .dead: condition.isDead = true
            }
        }
        return condition
    }

    private mutating func pause(_ endpoint: Int, _ fault: Fault) {
        guard fault.until.nanoseconds > now, stations[endpoint].pause.until <= now else { return }
        stations[endpoint].pause = (now, fault.until.nanoseconds)
        queue.plan(.pauseOver, at: fault.until.nanoseconds, index: endpoint)
    }

    /// The endpoint's process is gone, and with it all connections.
    private mutating func crash(_ endpoint: Int) {
        stations[endpoint].crash()
        for slot in requests.indices
        where requests[slot].phase == .underWay && requests[slot].endpoint == Int32(endpoint) {
            requests[slot].answer = .reset
            queue.plan(
                .answer, at: now, subject: Subject.word(slot, requests[slot].step))
        }
    }
}
