// The exchange's one timer: how long it waits, and for whom.

import WeirHTTP
import WeirNet
import WeirTime

extension Exchange {
    /// Limits the wait for a response; until the request is complete, that for the endpoint to
    /// take some of it or to ask for it.
    func armResponseTimer(_ route: RoutePlan) {
        guard route.timeout == .max else {
            return proxy.loop.timers.arm(timer, at: now + route.timeout)
        }
        if isRequestComplete {
            proxy.loop.timers.disarm(timer)
        } else {
            proxy.loop.timers.arm(timer, at: now + route.idleTimeout)
        }
    }

    /// The client waits to be asked for its body.
    var awaitsContinue: Bool {
        head.expectsContinue && !hasContinued && record.requestBodyBytes == 0 && !isDiscarding
    }

    /// A byte moved: the stream is not idle.
    func touch() {
        // Once a turn is enough, however many parts of the message came in it.
        guard hasResponseBegun, touchedAt != now, let matched else { return }
        touchedAt = now
        proxy.loop.timers.arm(timer, at: now + matched.use { $0.idleTimeout })
    }

    /// It is not the endpoint that is waited for: the timer goes on. The client's own pace is
    /// watched by its connection.
    var isWaitingForClient: Bool {
        guard let upstream else { return false }
        if hasResponseBegun {
            guard let downstream, downstream.queuedBytes > 0 else { return false }
            touch()
            return true
        }
        if isRequestComplete || awaitsContinue { return false }
        let before = acknowledged
        acknowledged = upstream.bytesAcknowledged
        guard upstream.queuedBytes == 0 || acknowledged > before else { return false }
        if let route { armResponseTimer(route) }
        return true
    }
}
