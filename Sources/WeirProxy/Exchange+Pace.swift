// The exchange's one timer: how long it waits, and for whom.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTime

extension Exchange {
    /// Sets when the answer is due, once the request is complete: over all attempts and waits.
    func setDue(_ route: RoutePlan) {
        guard !isDueSet else { return }
        dueAt = ticket.deadline
        guard isRequestComplete else { return }
        isDueSet = true
        if route.timeout != .max { dueAt = min(dueAt, now + route.timeout) }
    }

    /// Limits the wait for a response; until the request is complete, that for the endpoint to
    /// take some of it or to ask for it.
    func armResponseTimer(_ route: RoutePlan) {
        setDue(route)
        var limit = dueAt
        if !isRequestComplete {
            let patience = route.timeout == .max ? route.idleTimeout : route.timeout
            limit = min(limit, now + patience)
        }
        if let rules = route.rules.retry { limit = min(limit, now + rules.perTryTimeout) }
        limit = min(limit, hedgeAt)
        if limit == .distantFuture {
            proxy.loop.timers.disarm(timer)
        } else {
            proxy.loop.timers.arm(timer, at: limit)
        }
    }

    /// The client waits to be asked for its body.
    var awaitsContinue: Bool {
        head.expectsContinue && !hasContinued && record.requestBodyBytes == 0 && !isDiscarding
    }

    /// A byte moved: the stream is not idle.
    func touch() {
        // Once a turn is enough, however many parts of the message came in it.
        guard hasResponseBegun, !isDiscarding, touchedAt != now, let matched else { return }
        touchedAt = now
        proxy.loop.timers.arm(timer, at: now + matched.use { $0.idleTimeout })
    }

    /// It is not the endpoint that is waited for: the timer goes on. The client's own pace is
    /// watched by its connection.
    var isWaitingForClient: Bool {
        guard let upstream else { return false }
        if hasResponseBegun {
            guard let downstream, downstream.isBehind else { return false }
            touch()
            return true
        }
        if isRequestComplete || awaitsContinue || dueAt <= now { return false }
        let before = acknowledged
        acknowledged = upstream.bytesAcknowledged
        guard !upstream.isBehind || acknowledged > before else { return false }
        if let route { armResponseTimer(route) }
        return true
    }
}
