// A second attempt beside one that is slow: whichever endpoint answers first is heard, the other
// attempt is cancelled (Dean and Barroso, "The Tail at Scale", 2013).

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

/// The second attempt of a hedged exchange, until it is known which of the two is heard.
struct Rival: ~Copyable {
    let upstream: Upstream
    unowned(unsafe) let pool: Pool
    var permit: Permit
    /// The request has been sent.
    var isSent = false

    consuming func takePermit() -> Permit { permit }
}

extension ClusterGovernor {
    fileprivate func budget(isShadow: Bool) -> RetryBudget { isShadow ? shadowBudget : retryBudget }
}

extension Exchange {
    /// When the attempt that begins now is to be hedged, if it may be: a GET or HEAD without a
    /// body.
    func planHedge(_ route: RoutePlan) {
        hedgeAt = .distantFuture
        guard let hedge = route.rules.hedge, record.attempts == 1, isRepeatable, passage == nil,
            head.method == .get || head.method == .head, !head.wantsUpgrade,
            let delay = hedge.delay()
        else { return }
        hedgeAt = now + delay
    }

    /// The time for a hedge has come: a second attempt begins at another endpoint, if both budgets
    /// and an endpoint have room for it. What there is no room for is not made up for later.
    func beginHedge() {
        hedgeAt = .distantFuture
        guard rival == nil, upstream != nil, !hasResponseBegun, let route, let cluster, let pool,
            let hedge = route.rules.hedge, cluster.governor.use({ $0.isQueueEmpty }),
            hedge.withdraw(now: now)
        else { return }
        let isShadow = route.rules.isHedgeShadow
        guard cluster.governor.use({ $0.budget(isShadow: isShadow).withdraw(now: now) }) else {
            return hedge.refund(takenAt: now)
        }
        tried.insert(pool.id)
        guard case .found(let found) = cluster.search(self) else {
            return refundHedge(takenAt: now)
        }
        let other = found.object
        let permit = Permit(
            cluster: cluster.plan.governor, endpoint: other.state.governor, startedAt: now)
        if isShadow, other !== pool {
            // There is a place for it and a budget: all but the attempt.
            permit.settle(.unsent, now: now, verdicts: &proxy.verdicts)
            record.wouldAttempt = .hedge
            return cluster.plan.counters.add(.wouldHedge)
        }
        guard other !== pool, let connection = rivalConnection(at: other) else {
            permit.settle(.unsent, now: now, verdicts: &proxy.verdicts)
            return refundHedge(takenAt: now)
        }
        cluster.plan.counters.add(.hedges)
        other.counters.add(.attempts)
        other.counters.add(.requestsActive)
        record.hedged()
        rival = Rival(upstream: connection.upstream, pool: other, permit: permit)
        connection.upstream.assign(self)
        if connection.isReady { rivalConnected() }
    }

    private func rivalConnection(at pool: Pool) -> (upstream: Upstream, isReady: Bool)? {
        try? pool.attempt(self, isFresh: false)
    }

    /// The hedge that both budgets were charged for was not sent.
    private func refundHedge(takenAt instant: Instant) {
        guard let route, let cluster else { return }
        let isShadow = route.rules.isHedgeShadow
        route.rules.hedge?.refund(takenAt: instant)
        cluster.governor.use { $0.budget(isShadow: isShadow).refund(takenAt: instant) }
    }

    /// The connection is that of the second attempt.
    func isRival(_ connection: Upstream) -> Bool {
        guard rival != nil else { return false }
        return connection != upstream
    }

    func rivalConnected() {
        guard let connection = rival?.upstream, let route, let cluster else { return }
        guard connection.sendHead(self, route: route, cluster: cluster) else {
            return dropRival(.unsent)
        }
        rival?.isSent = true
        connection.endBody(trailers: [])
        connection.flush()
    }

    /// Whether an answer's head is the one to hear; where the other attempt may still do better
    /// than a server's error, it is not.
    func isHeard(
        _ connection: Upstream, _ status: Int, _ bytes: UnsafeRawBufferPointer
    ) -> Bool {
        if status >= 500 {
            let outcome = AttemptOutcome(status: status, retryAfter: retryAfter(in: bytes))
            if isRival(connection) {
                rival?.permit.answered(outcome, now: now)
            } else {
                permit?.answered(outcome, now: now)
            }
            endOneOfTwo(connection, outcome)
            return false
        }
        if isRival(connection) { promoteRival(.cancelled) } else { dropRival(.cancelled) }
        return true
    }

    /// One of the two attempts has come to nothing: the other one goes on alone.
    func endOneOfTwo(_ connection: Upstream, _ outcome: AttemptOutcome) {
        if isRival(connection) { dropRival(outcome) } else { promoteRival(outcome) }
    }

    /// The second attempt takes the first one's place, whose connection is closed.
    func promoteRival(_ firstOutcome: AttemptOutcome) {
        guard let taken = rival.take() else { return }
        if let first = upstream {
            upstream = nil
            outcome = firstOutcome
            settlePermit()
            first.close()
        }
        upstream = taken.upstream
        target = Borrowed(taken.pool)
        isUpstreamReady = taken.isSent
        outcome = taken.isSent ? .cancelled : .unsent
        // It is like a retry from now on, in what it has cost as well.
        if !taken.isSent { ticket.retryPaidAt = taken.permit.startedAt }
        permit = taken.takePermit()
        if let route { armResponseTimer(route) }
    }

    /// Ends the second attempt.
    func dropRival(_ outcome: AttemptOutcome) {
        guard let taken = rival.take() else { return }
        if !taken.isSent { refundHedge(takenAt: taken.permit.startedAt) }
        let connection = taken.upstream
        taken.pool.counters.subtract(.requestsActive)
        taken.pool.state.count(outcome)
        taken.takePermit().settle(outcome, now: now, verdicts: &proxy.verdicts)
        connection.close()
    }
}
