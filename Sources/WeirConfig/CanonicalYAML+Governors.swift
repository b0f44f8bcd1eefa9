// The governors' part of the canonical form.

import WeirPolicy
import WeirTime

extension Tenants {
    func write(to out: inout CanonicalWriter) {
        out.line("tenants:")
        out.indented { out in
            out.list("identify", identify) { $0.line($1.text) }
            out.line("plans:")
            out.indented { for plan in plans { $0.field(quote(plan.name), plan.text) } }
            out.field("default_plan", quote(defaultPlan))
            switch assignments {
            case .none: break
            case .file(let path): out.field("assignments", flow([("file", quote(path))]))
            case .inline(let plans):
                out.line("assignments:")
                out.indented { out in
                    let items = plans.sorted { $0.key < $1.key }
                    out.field("inline", flow(items.map { (quote($0.key), quote($0.value)) }))
                }
            }
            out.field("max_tracked", "\(maxTracked)")
            out.field("headers", headers.rawValue)
            out.field("mode", mode.word)
        }
    }
}

extension TenantIdentity {
    fileprivate var text: String {
        switch self {
        case .header(let name): "header: \(quote(name))"
        case .clientIP(let v4, let v6): "client_ip: { v4_prefix: \(v4), v6_prefix: \(v6) }"
        case .pathSegment(let index): "path_segment: \(index)"
        case .query(let name): "query: \(quote(name))"
        case .jwtClaim(let token): "jwt_claim: \(token.text)"
        case .clientCertificate: "client_certificate: san"
        }
    }
}

extension JWTClaim {
    fileprivate var text: String {
        let trust: (String, String?)
        switch verification {
        case .unverified: trust = ("unverified", "true")
        case .key(let key):
            let audiences = key.audiences.isEmpty ? nil : flow(key.audiences.map(quote))
            trust = (
                "verify",
                flow([
                    ("algorithm", key.algorithm.rawValue), ("key_file", quote(key.file)),
                    ("issuer", key.issuer.map(quote)), ("audiences", audiences),
                ])
            )
        }
        return flow([("header", quote(header)), ("claim", quote(claim)), trust])
    }
}

extension RateLimit {
    fileprivate var fields: [(String, String?)] {
        [("rate", Quantity.text(count: count, per: period)), ("burst", "\(burst)")]
    }
}

extension TenantPlan {
    fileprivate var text: String {
        flow(
            (rate?.fields ?? []) + [
                ("weight", "\(weight)"), ("concurrency", concurrency.map { "\($0)" }),
                ("priority", priority.map(quote)),
            ])
    }
}

extension Priorities {
    func write(to out: inout CanonicalWriter) {
        let names = classes.map { item in
            item.minShare == 0
                ? quote(item.name)
                : flow([("name", quote(item.name)), ("min_share", "\(item.minShare)")])
        }
        out.line("priorities:")
        out.indented {
            $0.field("classes", flow(names))
            $0.field("default_class", quote(defaultClass))
            $0.field("request_header", requestHeader.map(quote) ?? "off")
        }
    }
}

extension RetryPolicy {
    func write(to out: inout CanonicalWriter) {
        out.line("\(quote(name)):")
        out.indented {
            $0.field("mode", mode.word)
            $0.field("on", flow(words))
            $0.field("attempts", "\(attempts)")
            $0.field("per_try_timeout", perTryTimeout.map { Quantity.text($0) } ?? "off")
            $0.field(
                "backoff",
                flow([
                    ("base", Quantity.text(backoffBase)), ("max", Quantity.text(backoffMax)),
                    ("jitter", hasJitter ? "full" : "none"),
                ]))
            $0.field(
                "budget",
                flow([
                    ("percent", "\(budget.percent)"), ("min_per_second", "\(budget.minPerSecond)"),
                    ("window", Quantity.text(budget.window)),
                ]))
            $0.field("methods", flow(methods.map(quote)))
            $0.field("body_buffer", Quantity.text(bytes: Int64(bodyBuffer)))
        }
    }

    /// Each condition by its own word, and the statuses.
    private var words: [String] {
        let isAlone = conditions.isDisjoint(with: [.gatewayError, .serverError])
        return RetryCondition.words.filter { word, condition in
            conditions.isSuperset(of: condition) && (isAlone || condition != .perTryTimeout)
        }.map(\.0) + statuses.map { "\($0)" }
    }
}

extension RateRule {
    func write(to out: inout CanonicalWriter) {
        out.line(
            flow(
                [("name", name.map(quote)), ("key", flow(key.map(\.text)))] + limit.fields + [
                    ("cost", "\(cost)"), ("mode", mode.word),
                ]))
    }
}

extension RateKey {
    fileprivate var text: String {
        switch self {
        case .tenant: "tenant"
        case .route: "route"
        case .clientIP: "client_ip"
        case .method: "method"
        case .host: "host"
        case .header(let name): flow([("header", quote(name))])
        case .query(let name): flow([("query", quote(name))])
        case .pathSegment(let index): flow([("path_segment", "\(index)")])
        }
    }
}

extension Route {
    func writeGovernors(to out: inout CanonicalWriter) {
        if let priority { out.field("priority", quote(priority)) }
        if let retry { out.field("retry", quote(retry)) }
        if let hedge { out.field("hedge", hedge.text) }
        if !rateLimits.isEmpty { out.list("rate_limits", rateLimits) { $1.write(to: &$0) } }
        breaker?.write(to: &out)
    }
}

extension Route.DirectResponse {
    func write(_ name: String, to out: inout CanonicalWriter) {
        out.line("\(name):")
        out.indented {
            $0.field("status", "\(status)")
            $0.field("body", quote(body))
            $0.field("content_type", quote(contentType))
        }
    }
}

extension Hedge {
    fileprivate var text: String {
        let time =
            switch after {
            case .percentile(let percentile): "p\(percentile)"
            case .delay(let delay): Quantity.text(delay)
            }
        return flow([("mode", mode.word), ("after", time), ("percent", "\(percent)")])
    }
}

extension BreakerPolicy {
    fileprivate func write(to out: inout CanonicalWriter) {
        out.line("breaker:")
        out.indented {
            $0.field("mode", settings.mode.word)
            $0.field("failure_percent", "\(settings.failurePercent)")
            $0.field("min_requests", "\(settings.minRequests)")
            $0.field("window", Quantity.text(settings.window))
            $0.field("open_for", Quantity.text(settings.openFor))
            $0.field("probes", "\(settings.probes)")
            fallback?.write("fallback", to: &$0)
        }
    }
}

extension Cluster.Endpoint {
    /// With zone and priority only where there is something to say.
    var text: String {
        flow([
            ("address", quote(address.text)), ("weight", "\(weight)"), ("zone", zone.map(quote)),
            ("priority", priority == 0 ? nil : "\(priority)"),
        ])
    }
}

extension Cluster.Balancing {
    var text: String {
        flow([
            ("policy", kind.rawValue), ("hash_on", hashOn?.text),
            ("bounded_load", boundedLoad.map { Decimal.text($0) }),
        ])
    }
}

extension Cluster.HashKey {
    fileprivate var text: String {
        switch self {
        case .tenant: "tenant"
        case .path: "path"
        case .clientIP: "client_ip"
        case .header(let name): flow([("header", quote(name))])
        case .cookie(let name): flow([("cookie", quote(name))])
        case .query(let name): flow([("query", quote(name))])
        }
    }
}

extension Cluster {
    func writeGovernors(to out: inout CanonicalWriter) {
        out.field("circuit_breakers", ceilings.text)
        out.field("concurrency", concurrency.text)
        // Without a word about it, what is a shadow has one as well.
        if queue != nil || shadowQueue == nil { out.field("queue", queue?.text ?? "off") }
        outlier.write(to: &out)
        out.field("health_check", healthCheck?.text ?? "off")
        out.field("slow_start", slowStart.map { Quantity.text($0) } ?? "off")
        breaker?.write(to: &out)
    }
}

extension Cluster.Ceilings {
    fileprivate var text: String {
        func limit(_ n: Int?) -> String { n.map { "\($0)" } ?? "off" }
        return flow([
            ("mode", mode.word), ("max_connections", limit(maxConnections)),
            ("max_pending_requests", limit(maxPendingRequests)),
            ("max_requests", limit(maxRequests)), ("max_retries", limit(maxRetries)),
        ])
    }
}

extension ConcurrencySettings {
    fileprivate var text: String {
        let word = mode == .enforce ? "adaptive" : mode.word
        return flow([("mode", word), ("min", "\(minimum)"), ("max", "\(maximum)")])
    }
}

extension QueueSettings {
    fileprivate var text: String {
        flow([
            ("max_wait", Quantity.text(maxWait)), ("standing_wait", Quantity.text(standingWait)),
            ("max_length", "\(maxLength)"),
        ])
    }
}

extension OutlierSettings {
    fileprivate func write(to out: inout CanonicalWriter) {
        if self == OutlierSettings() {
            out.field("outlier_detection", "{ mode: \(mode.word) }")
            return
        }
        func count(_ n: Int) -> String { n == 0 ? "off" : "\(n)" }
        out.line("outlier_detection:")
        out.indented {
            $0.field("mode", mode.word)
            $0.field("consecutive_5xx", count(consecutive5xx))
            $0.field("consecutive_gateway", count(consecutiveGateway))
            $0.field("interval", Quantity.text(interval))
            $0.field("base_ejection_time", Quantity.text(baseEjectionTime))
            $0.field("max_ejection_time", Quantity.text(maxEjectionTime))
            $0.field("max_ejection_percent", "\(maxEjectionPercent)")
            $0.field("panic_threshold", "\(panicThreshold)")
            $0.field(
                "failure_rate",
                comparesFailures ? flow([("min_requests", "\(failureMinRequests)")]) : "off")
            $0.field(
                "latency",
                latencyFactor == 0
                    ? "off"
                    : flow([
                        ("factor", Decimal.text(latencyFactor)),
                        ("min_requests", "\(latencyMinRequests)"),
                    ]))
        }
    }
}

extension HealthCheckSettings {
    fileprivate var text: String {
        var fields: [(String, String?)] = [("mode", mode.word)]
        switch kind {
        case .tcp: fields += [("tcp", "true")]
        case .http(let path, let statuses):
            fields += [
                ("path", quote(path)),
                (
                    "statuses",
                    statuses.count == 1
                        ? "\(statuses.lowerBound)"
                        : "\(statuses.lowerBound)-\(statuses.upperBound)"
                ),
            ]
        }
        fields += [
            ("interval", Quantity.text(interval)), ("timeout", Quantity.text(timeout)),
            ("unhealthy", "\(unhealthy)"), ("healthy", "\(healthy)"),
        ]
        return flow(fields)
    }
}
