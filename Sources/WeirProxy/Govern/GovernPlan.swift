// What a route asks of a request before an endpoint is sought.

package import WeirPolicy

/// The priority classes, best first.
package struct PriorityRules: Sendable {
    package var names: [Text]
    /// The class of requests for which nothing says another.
    package var fallback: UInt8
    /// The header that names a class; believed from trusted proxies only.
    package var header: Text?

    package init(names: [Text], fallback: UInt8, header: Text?) {
        self.names = names
        self.fallback = fallback
        self.header = header
    }
}

/// A part of what a rate limit counts by.
package enum RateKeyPart: Sendable {
    case tenant
    case route
    case clientAddress
    case header(Text)
    case query(Text)
    case pathSegment(Int)
    case method
    case host
}

/// One rate limit of a route, or of all.
package struct RateRulePlan: Sendable {
    /// The name that answers and pages call it by.
    package var name: Text
    /// What this rule's keys begin with. Stays the same across reloads while the rule does.
    package var salt: UInt64
    package var parts: [RateKeyPart]
    package var law: RateLaw
    package var cost: Int64
    package var isShadow: Bool

    package init(
        name: Text, salt: UInt64, parts: [RateKeyPart], law: RateLaw, cost: Int64, isShadow: Bool
    ) {
        self.name = name
        self.salt = salt
        self.parts = parts
        self.law = law
        self.cost = cost
        self.isShadow = isShadow
    }
}

/// How clients are told what is left of their budget.
package enum RateFields: Sendable {
    case none
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    case ietf
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    case xRateLimit
}

/// What is governed alike on all routes, as one worker uses it.
package final class CommonRules: Sendable {
    package let priorities: PriorityRules
    /// Keeps the rules, which each request borrows.
    private let ownedTenants: TenantRules?
    let tenants: Borrowed<TenantRules>?
    /// Limits that count requests of all routes.
    package let rates: [RateRulePlan]
    package let fields: RateFields
    package let seed: KeySeed
    package let governor: RateGovernor
    package let places: TenantConcurrency

    package init(
        priorities: PriorityRules, tenants: TenantRules?, rates: [RateRulePlan],
        fields: RateFields, seed: KeySeed, governor: RateGovernor, places: TenantConcurrency
    ) {
        self.priorities = priorities
        ownedTenants = tenants
        self.tenants = tenants.map(Borrowed.init)
        self.rates = rates
        self.fields = fields
        self.seed = seed
        self.governor = governor
        self.places = places
    }
}

/// A breaker and what is answered while it is open.
package struct BreakerPlan: Sendable {
    /// Keeps the breaker, which each request borrows twice.
    private let owned: Breaker
    let breaker: Borrowed<Breaker>
    package var isShadow: Bool
    package var fallback: Fallback?

    package struct Fallback: Sendable {
        package var status: Int
        package var body: Text
        package var contentType: Text

        package init(status: Int, body: Text, contentType: Text) {
            self.status = status
            self.body = body
            self.contentType = contentType
        }
    }

    package init(breaker: Breaker, isShadow: Bool, fallback: Fallback?) {
        owned = breaker
        self.breaker = Borrowed(breaker)
        self.isShadow = isShadow
        self.fallback = fallback
    }
}

/// What one route's requests must pass before an endpoint is sought.
package struct RouteRules: Sendable {
    /// The route's class; `nil` leaves it to the tenant's plan or the default.
    package var priority: UInt8?
    package var rates: [RateRulePlan]
    /// The route's own breaker, then its cluster's.
    package var breakers: [BreakerPlan]
    /// Whether and how failed attempts are repeated; `nil` is never.
    package var retry: RetryRules?
    /// Bytes of a request body that are kept for another attempt.
    package var retryBuffer: Int
    /// When a second attempt is sent beside a slow one; `nil` is never.
    package var hedge: HedgeDelay?
    /// The second attempt is counted, and not sent.
    package var isHedgeShadow = false
    /// How long answers take beside those of the cluster's other routes; `nil` where it is alone.
    package var tempo: RouteTempo?

    package init(
        priority: UInt8? = nil, rates: [RateRulePlan] = [], breakers: [BreakerPlan] = [],
        retry: RetryRules? = nil, retryBuffer: Int = 0, hedge: HedgeDelay? = nil
    ) {
        self.priority = priority
        self.rates = rates
        self.breakers = breakers
        self.retry = retry
        self.retryBuffer = retryBuffer
        self.hedge = hedge
    }
}
