// How long a refused client should wait, and what is left of a budget, as response fields.

import WeirHTTP
import WeirPolicy
import WeirTime

extension Exchange {
    /// Seconds after which the request may be sent again; `nil` where waiting does not help.
    ///
    /// For a rate limit that is the true wait, rounded up. A cluster that sheds asks lower classes
    /// to wait longer, and everybody for a random part: who was refused together must not come back
    /// together.
    func retryAfter(_ refusal: Refusal) -> Int64? {
        switch refusal {
        case .rateLimited, .breakerOpen:
            return ticket.retryAfter.map { max(1, ($0.millisecondsRoundedUp + 999) / 1000) }
        case .tenantConcurrency: return 1
        case .ceiling, .queueFull, .pushedOut, .queueTimeout:
            return 1 + Int64(ticket.priority) + Int64(proxy.chance.below(2))
        default: return nil
        }
    }
}

/// Writes what is left of the budget that is nearest to its end.
enum RateLimitFields {
    @inline(__always)
    static func write(_ exchange: Exchange, _ out: inout ByteWriter) {
        guard let quota = exchange.ticket.quota else { return }
        write(quota, exchange, &out)
    }

    private static func write(_ quota: RateQuota, _ exchange: Exchange, _ out: inout ByteWriter) {
        guard let under = exchange.under else { return }
        let reset = Int(max(0, (quota.untilFull.millisecondsRoundedUp + 999) / 1000))
        switch under.use({ $0.plan.common.fields }) {
        case .none: return
        case .ietf:
            out.append("ratelimit-policy: \"default\";q=")
            out.append(decimal: Int(quota.limit))
            out.append("\r\nratelimit: \"default\";r=")
            out.append(decimal: Int(quota.remaining))
            out.append(";t=")
            out.append(decimal: reset)
        case .xRateLimit:
            out.append("x-ratelimit-limit: ")
            out.append(decimal: Int(quota.limit))
            out.append("\r\nx-ratelimit-remaining: ")
            out.append(decimal: Int(quota.remaining))
            out.append("\r\nx-ratelimit-reset: ")
            out.append(decimal: reset)
        }
        out.append("\r\n")
    }
}
