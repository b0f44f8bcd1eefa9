// What a request must pass before an endpoint is sought: who it is from, how much it matters,
// whether its tenant, its route and all traffic have budget left, whether a breaker is open.

import WeirHTTP
import WeirPolicy
import WeirTelemetry
import WeirTime

extension Exchange {
    /// Asks the governors about a request; `false` when one of them has refused it, which has been
    /// answered then. The order is that of the price of undoing: what is charged comes late.
    func isAdmitted(_ route: RoutePlan, _ common: CommonRules) -> Bool {
        readDeadline()
        readAttempt()
        if let tenants = common.tenants { identifyTenant(tenants, seed: common.seed) }
        classify(route, common)
        if ticket.deadline <= now {
            refuse(.deadline)
            return false
        }
        return isWithinRates(route, common) && isPassedByBreakers(route)
            && isWithinConcurrency(common)
    }

    // MARK: Classification

    /// The class that a trusted proxy names, else the route's, the plan's or the default.
    private func classify(_ route: RoutePlan, _ common: CommonRules) {
        let rules = common.priorities
        if let header = rules.header, record.isPeerTrusted, let value = headerValue(header) {
            for (index, name) in rules.names.enumerated()
            where Bytes.areEqual(value, ignoringCase: name.bytes) {
                ticket.priority = UInt8(truncatingIfNeeded: index)
                return
            }
        }
        if let priority = route.rules.priority {
            ticket.priority = priority
        } else if let tenants = common.tenants, let plan = plan(tenants)?.priority {
            ticket.priority = plan
        } else {
            ticket.priority = rules.fallback
        }
    }

    private func plan(_ tenants: TenantRules) -> TenantPlanRules? {
        let index = Int(ticket.plan)
        return index < tenants.plans.count ? tenants.plans[index] : nil
    }

    /// Milliseconds that the client still waits for an answer, counted from the request's head.
    private func readDeadline() {
        guard !head.deadline.isEmpty,
            let left = message.bytes[head.deadline].decimal(atMost: 86_400_000)
        else { return }
        ticket.deadline = now + .milliseconds(left)
    }

    /// Attempts that proxies before this one have made: they count, so that they do not multiply.
    private func readAttempt() {
        guard record.isPeerTrusted, !head.attempt.isEmpty,
            let number = message.bytes[head.attempt].decimal(atMost: 100)
        else { return }
        ticket.attemptsBefore = max(0, Int(number) - 1)
    }

    // MARK: Rates

    /// Charges all limits that the request falls under, the tenant's first; or none of them.
    private func isWithinRates(_ route: RoutePlan, _ common: CommonRules) -> Bool {
        charges.removeAll()
        if let tenants = common.tenants, let plan = plan(tenants), let law = plan.rate {
            charges.append(
                RateCharge(
                    key: TenantRules.bucket(of: ticket.tenant), law: law,
                    isShadow: tenants.isShadow))
        }
        for rule in route.rules.rates { append(rule, common, routeSalt: route.salt) }
        for rule in common.rates { append(rule, common, routeSalt: route.salt) }
        if charges.isEmpty { return true }
        let verdict = charges.withCharges { common.governor.charge($0, now: now) }
        if verdict.wouldDeny != 0 { record.wouldRefuse(.rateLimited) }
        if verdict.level >= 0 {
            ticket.quota = RateQuota(
                limit: charges[verdict.level].law.burst, remaining: verdict.remaining,
                untilFull: verdict.fullAfter)
        }
        guard verdict.isAdmitted else {
            ticket.retryAfter = verdict.retryAfter
            record.rule = name(ofLevel: verdict.level, route, common)
            refuse(.rateLimited)
            return false
        }
        ticket.isCharged = true
        return true
    }

    /// What the limit at a level is called: a plan, or a rule of the route or of all routes.
    private func name(
        ofLevel level: Int, _ route: RoutePlan, _ common: CommonRules
    ) -> Text? {
        var rest = level
        if let tenants = common.tenants, let plan = plan(tenants), plan.rate != nil {
            if rest == 0 { return plan.name }
            rest -= 1
        }
        if rest < route.rules.rates.count { return route.rules.rates[rest].name }
        rest -= route.rules.rates.count
        return rest < common.rates.count ? common.rates[rest].name : nil
    }

    private func append(_ rule: RateRulePlan, _ common: CommonRules, routeSalt: UInt64) {
        var hasher = KeyHasher(seed: common.seed)
        hasher.update(rule.salt)
        for part in rule.parts { hash(part, routeSalt, &hasher) }
        charges.append(
            RateCharge(
                key: hasher.finish(), law: rule.law, cost: rule.cost, isShadow: rule.isShadow))
    }

    /// Adds a part of a limit's key. What a request does not have counts as empty: it is one key
    /// like any other, not a way around the limit.
    private func hash(_ part: RateKeyPart, _ routeSalt: UInt64, _ hasher: inout KeyHasher) {
        switch part {
        case .tenant: hasher.update(ticket.tenant)
        case .route: hasher.update(routeSalt)
        case .clientAddress:
            if !hashClientAddress(32, 64, &hasher) { hasher.update(0) }
        case .header(let name): hasher.update(headerValue(name) ?? AccessRecord.nothing)
        case .query(let name): hasher.update(queryValue(name) ?? AccessRecord.nothing)
        case .pathSegment(let number): hasher.update(message.path(head).segment(number))
        case .method: hasher.update(message.bytes[head.methodName])
        case .host: hasher.update(message.host(head))
        }
    }

    // MARK: Breakers and concurrency

    private func isPassedByBreakers(_ route: RoutePlan) -> Bool {
        for (index, plan) in route.rules.breakers.enumerated() {
            let verdict = plan.breaker.ask(now: now)
            if index == 0 { ticket.breakers.0 = verdict } else { ticket.breakers.1 = verdict }
            guard case .open(let after) = verdict else { continue }
            if plan.isShadow {
                record.wouldRefuse(.breakerOpen)
                continue
            }
            ticket.retryAfter = after
            answerWhileOpen(plan)
            return false
        }
        return true
    }

    /// An open breaker answers with its fallback, which is counted as what it is all the same.
    private func answerWhileOpen(_ plan: BreakerPlan) {
        guard let fallback = plan.fallback else { return refuse(.breakerOpen) }
        record.refuse(.breakerOpen)
        respond(
            LocalReply(
                status: fallback.status, contentType: fallback.contentType, body: fallback.body,
                reason: .breakerOpen))
    }

    private func isWithinConcurrency(_ common: CommonRules) -> Bool {
        guard let tenants = common.tenants, let plan = plan(tenants), plan.concurrency < .max
        else { return true }
        if let hold = common.places.acquire(ticket.tenant, limit: plan.concurrency) {
            ticket.hold = hold
            return true
        }
        if tenants.isShadow {
            record.wouldRefuse(.tenantConcurrency)
            return true
        }
        refuse(.tenantConcurrency)
        return false
    }

    // MARK: Settling

    /// Gives back what the request did not use. Called once, when it ends.
    func settleTicket() {
        endRetry()
        guard let common = snapshot?.plan.common else { return }
        if ticket.isCharged {
            ticket.isCharged = false
            // Whatever reached an endpoint has been worked on, and is paid for; so is what a client
            // has got wrong. One that has only gone away pays nothing.
            let isBlameless = record.endedBy != .client || record.refusal == .clientGone
            if record.attempts == 0, isBlameless {
                charges.withCharges { common.governor.refund($0) }
            }
        }
        if let hold = ticket.hold {
            ticket.hold = nil
            common.places.release(hold)
        }
        settleBreakers()
    }

    private func settleBreakers() {
        guard let route, !route.rules.breakers.isEmpty else { return }
        let hasFailed: Bool? =
            record.attempts == 0 || outcome == .cancelled || outcome == .unsent
            ? nil : outcome.isFailure
        for (index, plan) in route.rules.breakers.enumerated() {
            let asked = index == 0 ? ticket.breakers.0 : ticket.breakers.1
            guard let verdict = asked else { continue }
            plan.breaker.settle(verdict, isFailure: hasFailed, now: now)
        }
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes as a decimal number; `nil` when they are none, or larger than `limit`.
    fileprivate func decimal(atMost limit: Int64) -> Int64? {
        guard count > 0, count <= 9 else { return nil }
        var value: Int64 = 0
        for byte in self {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return value <= limit ? value : nil
    }
}
