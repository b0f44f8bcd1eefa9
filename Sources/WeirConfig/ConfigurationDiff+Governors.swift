// What a reload changes about governors.

import WeirPolicy
import WeirTime

extension ConfigurationDiff {
    static func tenants(_ old: Tenants?, _ new: Tenants?) -> [String] {
        guard old != new else { return [] }
        guard let new else { return ["tenants removed"] }
        guard let old else { return ["tenants added"] }
        let changes = Changes(old.plans, new.plans, name: \.name)
        var lines = changes.added.map { "plan \($0.name) added" }
        lines += changes.removed.map { "plan \($0.name) removed" }
        lines += changes.changed.map { before, after in
            "plan \(after.name): " + plan(before, after).joined(separator: ", ")
        }
        var parts: [String] = []
        if old.identify != new.identify { parts.append("identify changed") }
        if old.defaultPlan != new.defaultPlan {
            parts.append("default_plan is now \(new.defaultPlan)")
        }
        if old.assignments != new.assignments { parts.append("assignments changed") }
        if old.maxTracked != new.maxTracked {
            parts.append("max_tracked takes effect at restart")
        }
        if old.headers != new.headers { parts.append("headers \(new.headers.rawValue)") }
        if old.mode != new.mode { parts.append("mode \(new.mode.word)") }
        if changes.keptOld != changes.keptNew { parts.append("plans reordered") }
        if !parts.isEmpty { lines.append("tenants: " + parts.joined(separator: ", ")) }
        return lines
    }

    private static func plan(_ old: TenantPlan, _ new: TenantPlan) -> [String] {
        var parts: [String] = []
        if old.rate?.count != new.rate?.count || old.rate?.period != new.rate?.period {
            let rate = new.rate.map { Quantity.text(count: $0.count, per: $0.period) }
            parts.append("rate \(rate ?? "off")")
        }
        if let rate = new.rate, old.rate?.burst != rate.burst {
            parts.append("burst \(rate.burst)")
        }
        if old.weight != new.weight { parts.append("weight \(new.weight)") }
        if old.concurrency != new.concurrency {
            parts.append("concurrency \(new.concurrency.map { "\($0)" } ?? "off")")
        }
        if old.priority != new.priority { parts.append("priority \(new.priority ?? "none")") }
        return parts
    }

    static func priorities(_ old: Priorities, _ new: Priorities) -> [String] {
        var parts: [String] = []
        if old.classes != new.classes { parts.append("classes changed") }
        if old.defaultClass != new.defaultClass {
            parts.append("default_class is now \(new.defaultClass)")
        }
        if old.requestHeader != new.requestHeader {
            parts.append("request_header \(new.requestHeader ?? "off")")
        }
        return parts.isEmpty ? [] : ["priorities: " + parts.joined(separator: ", ")]
    }

    static func retryPolicies(_ old: [RetryPolicy], _ new: [RetryPolicy]) -> [String] {
        let changes = Changes(old, new, name: \.name)
        var lines = changes.added.map { "retry policy \($0.name) added" }
        lines += changes.removed.map { "retry policy \($0.name) removed" }
        for (before, after) in changes.changed {
            lines.append(
                "retry policy \(after.name): " + policy(before, after).joined(separator: ", "))
        }
        return lines
    }

    private static func policy(_ old: RetryPolicy, _ new: RetryPolicy) -> [String] {
        var parts: [String] = []
        if old.mode != new.mode { parts.append("mode \(new.mode.word)") }
        if old.conditions != new.conditions || old.statuses != new.statuses {
            parts.append("on changed")
        }
        if old.attempts != new.attempts { parts.append("attempts \(new.attempts)") }
        if old.perTryTimeout != new.perTryTimeout {
            parts.append(
                "per_try_timeout \(new.perTryTimeout.map { Quantity.text($0) } ?? "off")")
        }
        if old.backoffBase != new.backoffBase || old.backoffMax != new.backoffMax
            || old.hasJitter != new.hasJitter
        {
            parts.append("backoff changed")
        }
        if old.budget != new.budget { parts.append("budget changed") }
        if old.methods != new.methods { parts.append("methods changed") }
        if old.bodyBuffer != new.bodyBuffer {
            parts.append("body_buffer \(Quantity.text(bytes: Int64(new.bodyBuffer)))")
        }
        return parts
    }

    /// Routes whose governors changed, one line each; the ninth and those after it are counted.
    static func routeGovernors(_ changed: [(before: Route, after: Route)]) -> [String] {
        let most = 8
        let lines = changed.compactMap { old, new -> String? in
            var parts: [String] = []
            if old.priority != new.priority {
                parts.append("priority is now \(new.priority ?? "the plan's")")
            }
            if old.retry != new.retry { parts.append("retry is now \(new.retry ?? "off")") }
            if old.hedge != new.hedge { parts.append("hedge changed") }
            if old.rateLimits != new.rateLimits { parts.append("rate_limits changed") }
            if old.breaker != new.breaker { parts.append("breaker changed") }
            return parts.isEmpty ? nil : "route \(new.name): " + parts.joined(separator: ", ")
        }
        guard lines.count > most else { return lines }
        return lines.prefix(most) + ["governors of \(lines.count - most) more routes changed"]
    }

    static func governors(_ old: Cluster, _ new: Cluster) -> [String] {
        var parts: [String] = []
        if old.ceilings != new.ceilings { parts.append("circuit_breakers changed") }
        if old.concurrency != new.concurrency { parts.append("concurrency changed") }
        if old.queue != new.queue {
            parts.append(new.queue == nil ? "queue is now off" : "queue changed")
        }
        if old.outlier != new.outlier { parts.append("outlier_detection changed") }
        if old.healthCheck != new.healthCheck {
            parts.append(
                new.healthCheck == nil ? "health_check is now off" : "health_check changed")
        }
        if old.slowStart != new.slowStart {
            parts.append("slow_start is now \(new.slowStart.map { Quantity.text($0) } ?? "off")")
        }
        if old.breaker != new.breaker { parts.append("breaker changed") }
        return parts
    }
}

extension Route {
    /// The route without its governors.
    var ungoverned: Route {
        var route = self
        route.priority = nil
        route.retry = nil
        route.hedge = nil
        route.rateLimits = []
        route.breaker = nil
        return route
    }
}
