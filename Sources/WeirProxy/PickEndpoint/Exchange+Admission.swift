// From the decision to forward to a connection: a permit, or a wait for one.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

extension Exchange {
    /// What the exchange's timer waits for while no attempt is under way.
    enum Pause: UInt8 {
        case none
        /// For a permit, in the cluster's queue.
        case queued
        /// Before a retry.
        case backoff
    }

    func pickEndpoint() {
        guard let cluster, let route else { return }
        pickEndpoint(of: cluster, for: route)
    }

    func pickEndpoint(of cluster: Cluster, for route: RoutePlan) {
        phase = .pickEndpoint
        pause = .none
        // The rest of the body may have come with its end.
        guard ticket.deadline > now else { return refuse(.deadline) }
        if cluster.plan.goesOn, passage == nil {
            guard findPassage(cluster) else {
                cluster.plan.counters.add(.failedNoEndpoint)
                return refuse(.noEndpoint)
            }
        }
        setDue(route)
        deposit(route, cluster)
        switch cluster.search(self) {
        case .found(let pool):
            pool.use { pool in
                cluster.governor.use { cluster in
                    pool.governor.use { endpoint in
                        permit = Permit(cluster: cluster, endpoint: endpoint, startedAt: now)
                    }
                }
                if let refusal = cluster.plan.shadowRefusal { enterInShadow(cluster, refusal) }
                attempt(at: pool)
            }
        case .full: wait(for: cluster)
        case .none:
            cluster.plan.counters.add(.failedNoEndpoint)
            refuse(.noEndpoint)
        }
    }

    /// Looks up where the client's connection was going.
    private func findPassage(_ cluster: Cluster) -> Bool {
        guard let address = client?.use({ $0.originalDestination }) else { return false }
        passage = proxy.pools.passage(cluster.plan, to: address, now: now)
        return passage != nil
    }

    /// A request earns its part of the budgets for retries and hedges once, whatever its attempts.
    private func deposit(_ route: RoutePlan, _ cluster: Cluster) {
        guard !ticket.isDeposited else { return }
        ticket.isDeposited = true
        if cluster.plan.hasRetries { depositForRetries(cluster) }
        route.rules.hedge?.deposit(now: now)
    }

    // Apart, so that requests of clusters without retries do not pay for its frame.
    @inline(never)
    private func depositForRetries(_ cluster: Cluster) {
        cluster.governor.use { $0.retryBudget.deposit(now: now) }
        guard cluster.plan.hasRetriesInShadow else { return }
        cluster.governor.use { $0.shadowBudget.deposit(now: now) }
    }

    // MARK: Waiting

    private func wait(for cluster: Cluster) {
        let waiter = proxy.waitRoom.enter(self)
        let request = AdmissionQueue.Request(
            priority: ticket.priority, tenant: ticket.tenant, weight: ticket.allowance.weight,
            deadline: dueAt, waiter: waiter, isRetry: record.attempts > 0,
            tried: tried)
        let answer = cluster.governor.use {
            $0.wait(request, now: now, verdicts: &proxy.verdicts)
        }
        switch answer {
        case .refused(let refusal):
            _ = proxy.waitRoom.leave(waiter)
            refuse(refusal)
        case .queued(let handle, let expiry):
            pause = .queued
            ticket.place = (waiter, handle)
            proxy.loop.timers.arm(timer, at: expiry)
            if cluster.plan.shadowRefusal != nil,
                cluster.governor.use({ $0.isQueueFullInShadow })
            {
                record.wouldRefuse(.queueFull)
            }
        }
    }

    /// The queue has decided.
    func verdictArrived(_ verdict: WaitVerdict) {
        guard let cluster, pause == .queued else { return proxy.giveBack(verdict) }
        pause = .none
        ticket.place = (0, 0)
        guard let endpoint = verdict.endpoint else { return refuseWaiting(verdict.refusal) }
        let taken = Permit(
            cluster: cluster.plan.governor, endpoint: endpoint, startedAt: verdict.startedAt)
        guard let pool = proxy.pool(of: endpoint, in: cluster) else {
            // A reload has taken the endpoint away from this worker in between.
            taken.settle(.unsent, now: now, verdicts: &proxy.verdicts)
            return pickEndpoint()
        }
        newerPool = pool
        permit = consume taken
        if let refusal = cluster.plan.shadowRefusal { enterInShadow(cluster, refusal) }
        attempt(at: pool)
    }

    /// The wait has lasted as long as it may.
    func waitExpired() {
        guard let cluster else { return }
        let (waiter, handle) = ticket.place
        guard cluster.governor.use({ $0.leave(handle, waiter: waiter) }) else {
            // The verdict is on its way.
            return
        }
        _ = proxy.waitRoom.leave(waiter)
        ticket.place = (0, 0)
        pause = .none
        refuseWaiting(.queueTimeout)
    }

    private func refuseWaiting(_ refusal: Refusal) {
        refuse(refusal == .queueTimeout && ticket.deadline <= now ? .deadline : refusal)
    }

    /// Stops waiting, where the exchange ends for another reason.
    func stopWaiting() {
        guard pause == .queued, let cluster else { return pause = .none }
        pause = .none
        let (waiter, handle) = ticket.place
        ticket.place = (0, 0)
        // Whoever delivers a verdict that is on its way finds nobody, and gives the permit back.
        _ = proxy.waitRoom.leave(waiter)
        _ = cluster.governor.use { $0.leave(handle, waiter: waiter) }
    }

    // MARK: Connecting

    /// Begins an attempt with the permit that the exchange has.
    private func attempt(at picked: Pool) {
        if let passage { begin(at: passage) } else { begin(at: picked) }
    }

    private func begin(at pool: Pool) {
        target = Borrowed(pool)
        phase = .pool
        outcome = .unsent
        hedgeAt = .distantFuture
        acknowledged = 0
        record.attemptBegins(now)
        pool.counters.add(.attempts)
        pool.counters.add(.requestsActive)
        do {
            let place = try pool.attempt(self, isFresh: needsFreshConnection)
            needsFreshConnection = false
            upstream = place.upstream
            place.upstream.assign(self)
            if place.isReady { return upstreamConnected(place.upstream) }
            // The connection has a timer of its own; here only the whole of it is bounded.
            if dueAt == .distantFuture {
                proxy.loop.timers.disarm(timer)
            } else {
                proxy.loop.timers.arm(timer, at: dueAt)
            }
        } catch {
            attemptFailed(error.isExhaustion ? .exhausted : .connect)
        }
    }

    /// A kept connection. The endpoint may have closed it in this very turn: a request that could
    /// not be sent once more makes sure, for the price of a system call.
    func takeKept(_ pool: Pool) -> H1Upstream? {
        while let kept = pool.takeIdle() {
            if isRepeatable || Socket.isSilent(kept.fd) { return kept }
            kept.close()
        }
        return nil
    }

    var isRepeatable: Bool {
        // A pattern, since `==` of another module's enum is a call through a witness table.
        if case .none = head.framing { head.method.isSafe } else { false }
    }

    // MARK: Letting go

    /// The answer is complete: its connection may be used again.
    func release(_ upstream: Upstream) {
        self.upstream = nil
        settlePermit()
        upstream.release(isRequestComplete: isRequestComplete)
    }

    /// Ends the attempts under way, whatever they have come to.
    func dropUpstream() {
        if rival != nil { dropRival(.cancelled) }
        if upstream == nil { return settlePermit() }
        let dropped = upstream
        upstream = nil
        settlePermit()
        dropped?.close()
    }

    // MARK: The permit

    /// Limits in shadow mode are asked once the real ones have let the request pass.
    @inline(never)
    private func enterInShadow(_ cluster: Cluster, _ refusal: Refusal) {
        if cluster.governor.use({ $0.enterInShadow() }) {
            ticket.places.insert(.requestInShadow)
        } else {
            record.wouldRefuse(refusal)
        }
    }

    /// The attempt under way has ended, or the retry has come to nothing while it waited.
    ///
    /// - Parameter kept: what the next attempt holds.
    func givePlacesBack(keeping kept: AttemptPlaces = []) {
        let places = ticket.places.subtracting(kept)
        guard !places.isEmpty else { return }
        ticket.places.formIntersection(kept)
        cluster?.governor.use { governor in
            if places.contains(.retry) { governor.retryEnded() }
            if places.contains(.retryInShadow) { governor.retryEndedInShadow() }
            if places.contains(.requestInShadow) { governor.leaveInShadow() }
        }
    }

    /// Gives the attempt's permit back, if there is one, and says how the attempt ended.
    ///
    /// - Parameter kept: places that an attempt which follows takes over.
    func settlePermit(keeping kept: AttemptPlaces = []) {
        guard let settled = permit.take() else { return }
        target?.use {
            $0.counters.subtract(.requestsActive)
            $0.state.count(outcome)
        }
        givePlacesBack(keeping: kept)
        settled.settle(outcome, now: now, verdicts: &proxy.verdicts)
    }
}
