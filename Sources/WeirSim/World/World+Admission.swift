// From the decision to forward to an endpoint: a permit, or a wait for one.

import WeirPolicy
import WeirTime

extension World {
    /// How often another pick is made where the last place of an endpoint was just taken.
    private static let races = 4

    var instant: Instant { Instant(nanoseconds: now) }

    func cluster(_ slot: Int) -> Int { Int(requests[slot].cluster) }

    /// The governing stages before dispatch.
    mutating func govern(_ slot: Int) {
        let tenant = Int(requests[slot].tenant)
        if let refusal = rates.begin(slot, tenant: tenant, now: instant) {
            return refuse(slot, refusal.reason, retryAfter: refusal.retryAfter)
        }
        oracles.charged(&requests[slot], now)
        let cluster = cluster(slot)
        if let breaker = breakers[cluster] {
            let verdict = breaker.ask(now: instant)
            if case .open(let after) = verdict {
                if settings.clusters[cluster].breaker.mode == .enforce {
                    return refuse(slot, .breakerOpen, retryAfter: after)
                }
            } else {
                requests[slot].breaker = verdict
                oracles.breakerPasses(cluster, verdict, now)
            }
        }
        clusters[cluster].retryBudget.deposit(now: instant)
        oracles.deposits(cluster, now)
        admit(slot)
    }

    /// Looks for a permit, and waits for one where there is none.
    mutating func admit(_ slot: Int) {
        let cluster = cluster(slot)
        guard !ranges[cluster].isEmpty else { return refuse(slot, .noEndpoint) }
        guard let endpoint = search(slot, cluster) else { return wait(slot, cluster) }
        oracles.admitsDirectly(requests[slot], endpoint, endpoints, cluster, now)
        hold(slot, endpoint)
        attempt(slot, at: endpoint, since: now)
    }

    private mutating func search(_ slot: Int, _ cluster: Int) -> Int? {
        let governor = clusters[cluster]
        guard governor.isQueueEmpty, governor.take() else { return nil }
        let isPanicking = governor.isPanicking
        for _ in 0..<Self.races {
            guard let picked = pick(slot, cluster, isPanicking) else { break }
            if endpoints[picked].acquire(now: instant, isPanicking: isPanicking) { return picked }
        }
        governor.cancel(now: instant, verdicts: &verdicts)
        return nil
    }

    private mutating func pick(_ slot: Int, _ cluster: Int, _ isPanicking: Bool) -> Int? {
        let tried = requests[slot].tried
        let first = ranges[cluster].lowerBound
        if !tried.isEmpty,
            let other = pick(cluster, isPanicking, excluding: { tried.contains(first + $0) })
        {
            return other
        }
        // Where nobody else has room, rather the same endpoint again than none.
        return pick(cluster, isPanicking) { _ in false }
    }

    private mutating func pick(
        _ cluster: Int, _ isPanicking: Bool, excluding: (Int) -> Bool
    ) -> Int? {
        let endpoints = endpoints
        let first = ranges[cluster].lowerBound
        let now = instant
        let index = balancers[cluster].pick(
            chance: &balancing, hash: nil,
            load: { endpoints[first + $0].requestsInFlight },
            latency: { endpoints[first + $0].latency(now: now) },
            scale: { endpoints[first + $0].weightScale(now: now) },
            excluding: {
                excluding($0) || !endpoints[first + $0].hasRoom(isPanicking: isPanicking)
            })
        return index.map { first + $0 }
    }

    /// A request has a place at an endpoint, and one of its cluster's.
    private mutating func hold(_ slot: Int, _ endpoint: Int) {
        requests[slot].endpoint = Int32(endpoint)
        stations[endpoint].inFlight += 1
        oracles.holds(&requests[slot], endpoints, clusters[cluster(slot)], now)
    }

    // MARK: Waiting

    private mutating func wait(_ slot: Int, _ cluster: Int) {
        let tenant = Int(requests[slot].tenant)
        requests[slot].step &+= 1
        let waiter = Subject.word(slot + 1, requests[slot].step)
        let isSwapped = options.sabotage == .swapsClasses
        let request = AdmissionQueue.Request(
            priority: isSwapped ? 7 - requests[slot].priority : requests[slot].priority,
            tenant: RateBook.key(of: tenant),
            weight: rates.weight(of: tenant),
            deadline: Instant(nanoseconds: requests[slot].dueAt), waiter: waiter,
            isRetry: requests[slot].attempts > 0, tried: requests[slot].tried)
        // Known to wait before the verdicts that may come at once.
        requests[slot].phase = .queued
        requests[slot].waiter = waiter
        requests[slot].enteredAt = now
        requests[slot].expiry = .max
        let answer = clusters[cluster].wait(request, now: instant, verdicts: &verdicts)
        switch answer {
        case .refused(let refusal):
            requests[slot].phase = .backoff
            refuse(slot, refusal)
        case .queued(let handle, let expiry):
            requests[slot].handle = handle
            requests[slot].expiry = expiry.nanoseconds
            oracles.queued(requests[slot], cluster, now)
            queue.planTimer(
                .waitExpired, after: expiry.nanoseconds - now,
                subject: Subject.word(slot, requests[slot].step))
        }
    }

    /// The wait has lasted as long as it may.
    mutating func waitExpired(_ slot: Int) {
        guard requests[slot].phase == .queued else { return }
        // Otherwise the verdict is on its way.
        guard clusters[cluster(slot)].leave(requests[slot].handle, waiter: requests[slot].waiter)
        else { return }
        oracles.leaves(requests[slot], cluster(slot), now)
        requests[slot].phase = .backoff
        refuseWaiting(slot, .queueTimeout)
    }

    private mutating func refuseWaiting(_ slot: Int, _ refusal: Refusal) {
        let isLate = refusal == .queueTimeout && requests[slot].deadline <= now
        refuse(slot, isLate ? .deadline : refusal)
    }

    /// The client of a waiting request is gone.
    mutating func leaveQueue(_ slot: Int) {
        _ = clusters[cluster(slot)].leave(
            requests[slot].handle, waiter: requests[slot].waiter)
        oracles.leaves(requests[slot], cluster(slot), now)
    }

    // MARK: Verdicts

    /// Hands out what the queue has decided in this turn. What follows may decide more.
    mutating func deliverVerdicts() {
        if verdicts.isEmpty { return }
        var index = 0
        while index < verdicts.count {
            decided(verdicts[index])
            index += 1
        }
        verdicts.removeAll(keepingCapacity: true)
    }

    private mutating func decided(_ verdict: WaitVerdict) {
        let subject = Subject(verdict.waiter)
        let slot = subject.slot - 1
        guard slot >= 0, slot < requests.count, requests[slot].step == subject.count,
            requests[slot].phase == .queued
        else {
            if let endpoint = verdict.endpoint { giveBack(endpoint, verdict) }
            return
        }
        requests[slot].phase = .called
        requests[slot].step &+= 1
        requests[slot].calledRefusal = verdict.refusal
        requests[slot].endpoint = verdict.endpoint.map { Int32($0.id) - 1 } ?? -1
        requests[slot].startedAt = verdict.startedAt.nanoseconds
        oracles.decided(requests[slot], cluster(slot), requests, now)
        if let endpoint = verdict.endpoint { hold(slot, Int(endpoint.id) - 1) }
        guard settings.verdictDelay > .zero else { return verdictArrives(slot) }
        queue.plan(
            .verdict, at: now + settings.verdictDelay.nanoseconds,
            subject: Subject.word(slot, requests[slot].step))
    }

    mutating func verdictArrives(_ slot: Int) {
        let endpoint = Int(requests[slot].endpoint)
        requests[slot].phase = .backoff
        guard endpoint >= 0 else { return refuseWaiting(slot, requests[slot].calledRefusal) }
        guard now < requests[slot].dueAt else {
            // The verdict was longer under way than there was time.
            giveBackCalled(slot)
            return refuseWaiting(slot, .queueTimeout)
        }
        attempt(slot, at: endpoint, since: requests[slot].startedAt)
    }

    private mutating func giveBack(_ endpoint: EndpointGovernor, _ verdict: WaitVerdict) {
        Permit(cluster: verdict.cluster, endpoint: endpoint, startedAt: verdict.startedAt)
            .settle(.unsent, now: instant, verdicts: &verdicts)
    }

    /// The client of a request that has been called is gone: so is whatever it was called for.
    mutating func giveBackCalled(_ slot: Int) {
        let endpoint = Int(requests[slot].endpoint)
        guard endpoint >= 0 else { return }
        stations[endpoint].inFlight -= 1
        oracles.settles(&requests[slot])
        Permit(
            cluster: clusters[cluster(slot)], endpoint: endpoints[endpoint],
            startedAt: Instant(nanoseconds: requests[slot].startedAt)
        ).settle(.unsent, now: instant, verdicts: &verdicts)
    }
}
