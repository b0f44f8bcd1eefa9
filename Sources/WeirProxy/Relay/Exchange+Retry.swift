// The only way back: whether a failed attempt is followed by another one, and when.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

/// Why a failed attempt was not followed by another one, though the route has a retry policy.
enum RetryRefusal: UInt8 {
    /// As many attempts as the policy allows have been made, here or before.
    case attempts
    /// The failure is none of the policy's `on`.
    case condition
    /// The method may have had an effect.
    case method
    /// The body was larger than `body_buffer`, or has not come in full.
    case body
    /// The cluster's retry budget is used up.
    case budget
    /// `max_retries` is reached.
    case ceiling
    /// Too little time is left, or the endpoint asked for more of it.
    case time

    /// As the log spells it.
    var code: StaticString {
        switch self {
        case .attempts: "attempts"
        case .condition: "condition"
        case .method: "method"
        case .body: "body"
        case .budget: "budget"
        case .ceiling: "ceiling"
        case .time: "time"
        }
    }
}

/// An attempt that a policy in shadow mode would have made.
enum ShadowAttempt: UInt8 {
    case retry, hedge

    /// As the log spells it.
    var code: StaticString {
        switch self {
        case .retry: "retry"
        case .hedge: "hedge"
        }
    }
}

extension Exchange {
    /// Arranges another attempt after one that has failed; `false` when that failure stands.
    ///
    /// - Parameters:
    ///   - condition: what the failure is in the words of the policy.
    ///   - isUnprocessed: the endpoint cannot have seen the request.
    ///   - retryAfter: what the endpoint asked for.
    func retries(
        after condition: RetryConditions, isUnprocessed: Bool, retryAfter: Interval? = nil
    ) -> Bool {
        guard let route, let rules = route.rules.retry, let cluster, !hasResponseBegun,
            !record.isTunnel
        else { return false }
        if let refusal = refusal(of: condition, isUnprocessed, rules) {
            record.retryRefusal = refusal
            return false
        }
        let made = record.attempts - 1
        guard
            let delay = rules.delay(
                attempt: made, retryAfter: retryAfter, remaining: dueAt - now,
                chance: &proxy.chance)
        else {
            record.retryRefusal = .time
            return false
        }
        if rules.isShadow {
            noteWouldRetry(cluster, isUnprocessed: isUnprocessed)
            return false
        }
        // After a status the attempt before is still under way: if it is a retry, its place is this
        // one's.
        let hasPlace = ticket.places.contains(.retry)
        guard hasPlace || cluster.governor.use({ $0.takeRetry() }) else {
            record.retryRefusal = .ceiling
            return false
        }
        // What reached nobody cannot overload anybody: one such retry is free.
        if isUnprocessed, !ticket.hasUsedFreeRetry {
            ticket.hasUsedFreeRetry = true
        } else if ticket.retryPaidAt == .distantPast {
            guard cluster.governor.use({ $0.retryBudget.withdraw(now: now) }) else {
                if !hasPlace { cluster.governor.use { $0.retryEnded() } }
                record.retryRefusal = .budget
                cluster.plan.counters.add(.retriesOverBudget)
                return false
            }
            ticket.retryPaidAt = now
        }
        ticket.places.insert(.retry)
        if cluster.plan.shadowRefusal != nil { noteRetryInShadow(cluster) }
        if let pool { tried.insert(pool.id) }
        cluster.plan.counters.add(.retries)
        isUpstreamReady = false
        pause = .backoff
        phase = .pickEndpoint
        proxy.loop.timers.arm(timer, at: now + delay)
        return true
    }

    /// The policy is a shadow: the failure stands, and what would have come of it is noted. No
    /// retry is under way, so `max_retries` is not asked.
    private func noteWouldRetry(_ cluster: Cluster, isUnprocessed: Bool) {
        guard isUnprocessed || cluster.governor.use({ $0.shadowBudget.withdraw(now: now) }) else {
            record.retryRefusal = .budget
            return
        }
        record.wouldAttempt = .retry
        cluster.plan.counters.add(.wouldRetry)
    }

    /// Asks a `max_retries` that is a shadow.
    private func noteRetryInShadow(_ cluster: Cluster) {
        if ticket.places.contains(.retryInShadow) { return }
        if cluster.governor.use({ $0.takeRetryInShadow() }) {
            ticket.places.insert(.retryInShadow)
        } else {
            record.wouldNotRetry = .ceiling
            cluster.plan.counters.add(.wouldNotRetry)
        }
    }

    private func refusal(
        of condition: RetryConditions, _ isUnprocessed: Bool, _ rules: RetryRules
    ) -> RetryRefusal? {
        guard !rules.conditions.isDisjoint(with: condition) else { return .condition }
        guard record.attempts + ticket.attemptsBefore <= rules.attempts else { return .attempts }
        guard isUnprocessed || rules.allows(head.method.bit) else { return .method }
        return canResend ? nil : .body
    }

    /// The whole request is here to be sent again.
    private var canResend: Bool { isRequestComplete && !isBodyLost }

    /// The endpoint has answered with a failure: whether another attempt is made in its place.
    func retries(afterStatus status: Int, retryAfter: Interval?) -> Bool {
        guard let route, let rules = route.rules.retry else { return false }
        let condition = rules.condition(status: status)
        if condition.isEmpty { return false }
        return retries(after: condition, isUnprocessed: false, retryAfter: retryAfter)
    }

    /// Bytes of a body that are kept for another attempt: as many as the policy allows, and what is
    /// gathered anyway where an endpoint may say that it has not looked at the request.
    func mostKept(_ route: RoutePlan, _ upstream: Upstream) -> Int {
        let limit = route.rules.retryBuffer
        return if case .h2 = upstream { max(limit, route.requestBuffer) } else { limit }
    }

    /// Keeps the request's body for another attempt.
    func keepForRetry(_ bytes: UnsafeRawBufferPointer) {
        guard let route, let upstream, case let limit = mostKept(route, upstream), limit > 0,
            !isBodyLost
        else {
            isBodyLost = true
            return
        }
        guard held.count + bytes.count <= limit, held.append(bytes, pool: proxy.context.pool)
        else {
            isBodyLost = true
            return held.clear(pool: proxy.context.pool)
        }
    }
}
