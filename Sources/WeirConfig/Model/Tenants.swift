// Who a request belongs to, and what each of them is allowed.

package import WeirPolicy

/// The `tenants` section.
package struct Tenants: Equatable, Sendable {
    /// Tried in order; the first that yields a value names the tenant. A request for which none
    /// does belongs to a tenant of its own.
    package var identify: [TenantIdentity]
    /// In the order of the file; names are unique.
    package var plans: [TenantPlan]
    /// The plan of tenants that are not assigned to one.
    package var defaultPlan: String
    package var assignments = Assignments.none
    /// Tenants whose buckets are kept at once.
    package var maxTracked = 100_000
    /// The response fields that tell clients about their rate limits.
    package var headers = RateHeaders.ietf
    /// Of the plans' rates and concurrency caps.
    package var mode = Mode.enforce

    package init(identify: [TenantIdentity], plans: [TenantPlan], defaultPlan: String) {
        self.identify = identify
        self.plans = plans
        self.defaultPlan = defaultPlan
    }

    /// Which tenant has which plan.
    package enum Assignments: Equatable, Sendable {
        case none
        /// By tenant key.
        case inline([String: String])
        /// A file of `key,plan` lines, which is watched.
        case file(String)
    }
}

/// How rate limits are announced.
package enum RateHeaders: String, CaseIterable, Sendable {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    case ietf
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    case xRatelimit = "x_ratelimit"
    case none
}

/// One way to tell tenants apart.
package enum TenantIdentity: Equatable, Sendable {
    /// The value of this field; lower case.
    case header(String)
    /// The client's address, cut to a prefix: 1...32 bits and 1...128 bits.
    case clientIP(v4Prefix: Int, v6Prefix: Int)
    /// A segment of the path, the first being 1.
    case pathSegment(Int)
    /// The value of this query parameter.
    case query(String)
    case jwtClaim(JWTClaim)
    /// The URI, or else the DNS name, of the client's verified certificate.
    case clientCertificate
}

/// A claim of a JSON web token.
package struct JWTClaim: Equatable, Sendable {
    /// The field that carries the token, after `Bearer ` if that precedes it; lower case.
    package var header = "authorization"
    package var claim: String
    package var verification: Verification

    package init(claim: String, verification: Verification) {
        self.claim = claim
        self.verification = verification
    }

    package enum Verification: Equatable, Sendable {
        /// The token is believed as it is: anyone can claim to be anyone.
        case unverified
        /// A token that does not hold by it yields no value, nor does one out of its times.
        case key(Key)
    }

    /// What a token is checked with.
    package struct Key: Equatable, Sendable {
        package var algorithm: Algorithm
        package var file: String
        /// What the token's `iss` must be; `nil` asks for none.
        package var issuer: String?
        /// One of these must be among the token's `aud`; empty asks for none.
        package var audiences: [String] = []

        package init(algorithm: Algorithm, file: String) {
            self.algorithm = algorithm
            self.file = file
        }
    }

    package enum Algorithm: String, CaseIterable, Sendable {
        case hs256 = "HS256"
        case rs256 = "RS256"
        case es256 = "ES256"
    }
}

/// What tenants of one kind are allowed.
package struct TenantPlan: Equatable, Sendable {
    package var name: String
    /// `nil` is no limit.
    package var rate: RateLimit?
    /// Its share in a queue, relative to others': 1...1000.
    package var weight = 1
    /// Requests under way at once; `nil` is no limit.
    package var concurrency: Int?
    /// The class of its requests where the route names none.
    package var priority: String?

    package init(name: String) { self.name = name }
}
