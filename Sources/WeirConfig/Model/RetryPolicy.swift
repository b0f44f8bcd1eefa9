// What is sent again, or sent twice.

package import WeirPolicy
package import WeirTime

/// One of `retry_policies`.
package struct RetryPolicy: Equatable, Sendable {
    package var name: String
    package var mode = Mode.enforce
    /// `gatewayError` and `serverError` come with `perTryTimeout`.
    package var conditions: RetryConditions
    /// What `listedStatus` means, ascending: 400...599.
    package var statuses: [Int] = []
    /// Retries after the first try: 1...10.
    package var attempts = 2
    /// `nil` is no limit of its own.
    package var perTryTimeout: Interval?
    package var backoffBase = Interval.milliseconds(25)
    package var backoffMax = Interval.milliseconds(250)
    /// Full jitter; without it the wait is the whole backoff.
    package var hasJitter = true
    package var budget = RetryBudgetSettings()
    /// What may be sent twice; others are sent again only when nothing was sent.
    package var methods = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
    /// Bytes of a request's body that are kept for a retry: 0...1 MiB.
    package var bodyBuffer = 64 << 10

    package init(name: String, conditions: RetryConditions) {
        self.name = name
        self.conditions = conditions
    }

    /// The longest that all tries and the waits between them can take; `nil` where a try has no
    /// limit of its own. Saturates.
    package var longestPlan: Interval? {
        guard let perTryTimeout else { return nil }
        var total = perTryTimeout
        for retry in 0..<attempts { total = total + backoff(retry) + perTryTimeout }
        return total
    }

    /// The longest wait before a retry, the first being 0: the base doubled, up to the maximum.
    package func backoff(_ retry: Int) -> Interval {
        var wait = backoffBase
        for _ in 0..<max(retry, 0) where wait < backoffMax { wait = wait + wait }
        return min(wait, backoffMax)
    }
}

/// Sends a second request when the first takes long. Only GET and HEAD are hedged, and each hedge
/// is paid for from the cluster's retry budget.
package struct Hedge: Equatable, Sendable {
    package var mode = Mode.enforce
    package var after: After
    /// Of the route's requests: 1...10.
    package var percent = 1

    package init(after: After) { self.after = after }

    package enum After: Equatable, Sendable {
        /// This percentile of the route's answers, as measured: 50...99.
        case percentile(Int)
        case delay(Interval)
    }
}

extension Configuration {
    /// The retry budget of a cluster: that of the first route that leads there with a retry
    /// policy, else the default one, which hedges draw on as well.
    package func retryBudget(ofCluster name: String) -> RetryBudgetSettings {
        for route in routes where route.action == .forward(cluster: name) {
            guard let retry = route.retry else { continue }
            let policy = retryPolicies.first { $0.name == retry }
            if let policy, policy.mode != .off { return policy.budget }
        }
        return RetryBudgetSettings()
    }
}
