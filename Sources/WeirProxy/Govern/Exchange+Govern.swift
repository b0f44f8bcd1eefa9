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
        common.tenants?.use { identifyTenant($0, seed: common.seed) }
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
        if record.isPeerTrusted, let named = priorityInHead(common.priorities) {
            ticket.priority = named
            return
        }
        ticket.priority =
            route.rules.priority ?? ticket.allowance.priority ?? common.priorities.fallback
    }

    private func priorityInHead(_ rules: PriorityRules) -> UInt8? {
        guard let header = rules.header, let value = headerValue(header) else { return nil }
        let index = rules.names.firstIndex { Bytes.areEqual(value, ignoringCase: $0.bytes) }
        return index.map { UInt8(truncatingIfNeeded: $0) }
    }

    /// Milliseconds that the client still waits for an answer, counted from the request's head.
    private func readDeadline() {
        if isGRPC { readCallTimeout() }
        guard !head.deadline.isEmpty,
            let left = message.bytes[head.deadline].decimal(atMost: 86_400_000)
        else { return }
        ticket.deadline = min(ticket.deadline, now + .milliseconds(left))
    }

    private func readCallTimeout() {
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            guard FieldValue.equals(message.bytes[nameOf: field], "grpc-timeout") else { continue }
            guard let limit = GRPC.timeout(message.bytes[valueOf: field]) else { return }
            ticket.deadline = now + limit
            return
        }
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
        if let tenants = common.tenants, let law = ticket.allowance.rate {
            charges.append(
                RateCharge(
                    key: TenantRules.bucket(of: ticket.tenant), law: law,
                    isShadow: tenants.use { $0.isShadow }))
        }
        append(route.rules.rates, common.seed, routeSalt: route.salt)
        append(common.rates, common.seed, routeSalt: route.salt)
        return charges.isEmpty || charge(route, common)
    }

    private func charge(_ route: RoutePlan, _ common: CommonRules) -> Bool {
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
        if let tenants = common.tenants, ticket.allowance.rate != nil {
            if rest == 0 { return tenants.object.plans[ticket.plan].name }
            rest -= 1
        }
        if rest < route.rules.rates.count { return route.rules.rates[rest].name }
        rest -= route.rules.rates.count
        return rest < common.rates.count ? common.rates[rest].name : nil
    }

    // By index: a rule that is taken out of the array is copied, its references counted.
    private func append(_ rules: [RateRulePlan], _ seed: KeySeed, routeSalt: UInt64) {
        for index in rules.indices {
            var key = rules[index].salt
            for part in rules[index].parts.indices {
                key = KeyHasher.key(hash(rules[index].parts[part], seed, routeSalt), rule: key)
            }
            charges.append(
                RateCharge(
                    key: key, law: rules[index].law, cost: rules[index].cost,
                    isShadow: rules[index].isShadow))
        }
    }

    /// The hash of a part of a limit's key; tenant and route have been hashed already. What a
    /// request does not have counts as empty: it is one key like any other, not a way around the
    /// limit.
    private func hash(_ part: RateKeyPart, _ seed: KeySeed, _ routeSalt: UInt64) -> UInt64 {
        switch part {
        case .tenant: ticket.tenant
        case .route: routeSalt
        default: hashBytes(part, seed)
        }
    }

    // Apart, since the loop above would make a hasher ready for each part.
    @inline(never)
    private func hashBytes(_ part: RateKeyPart, _ seed: KeySeed) -> UInt64 {
        var hasher = KeyHasher(seed: seed)
        switch part {
        case .tenant, .route: break
        case .clientAddress:
            if !hashClientAddress(32, 64, &hasher) { hasher.update(0) }
        case .header(let name): hasher.update(headerValue(name) ?? AccessRecord.nothing)
        case .query(let name): hasher.update(queryValue(name) ?? AccessRecord.nothing)
        case .pathSegment(let number): hasher.update(message.path(head).segment(number))
        case .method: hasher.update(message.bytes[head.methodName])
        case .host: hasher.update(message.host(head))
        }
        return hasher.finish()
    }

    // MARK: Breakers and concurrency

    private func isPassedByBreakers(_ route: RoutePlan) -> Bool {
        let breakers = route.rules.breakers
        for index in breakers.indices {
            let verdict = breakers[index].breaker.use { $0.ask(now: now) }
            ticket.breakers[index] = verdict
            if case .probe = verdict { ticket.holdsProbe = true }
            guard case .open(let after) = verdict else { continue }
            if breakers[index].isShadow {
                record.wouldRefuse(.breakerOpen)
                continue
            }
            ticket.retryAfter = after
            answerWhileOpen(breakers[index])
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
        let limit = ticket.allowance.concurrency
        if limit == .max { return true }
        if let hold = common.places.acquire(ticket.tenant, limit: limit) {
            ticket.hold = hold
            return true
        }
        if common.tenants?.object.isShadow ?? false {
            record.wouldRefuse(.tenantConcurrency)
            return true
        }
        refuse(.tenantConcurrency)
        return false
    }

    // MARK: Settling

    /// Gives back what the request did not use. Called once, when it ends.
    func settleTicket() {
        givePlacesBack()
        if ticket.retryPaidAt != .distantPast {
            cluster?.governor.use { $0.retryBudget.refund(takenAt: ticket.retryPaidAt) }
        }
        if ticket.isCharged || ticket.hold != nil {
            under?.use { settleTenant($0.plan.common) }
        }
        settleBreakers()
    }

    private func settleTenant(_ common: CommonRules) {
        if ticket.isCharged {
            ticket.isCharged = false
            // Whatever reached an endpoint has been worked on, and is paid for; so is what a client
            // has got wrong. One that has only gone away pays nothing.
            if record.attempts == 0, record.endedBy != .client || record.refusal == .clientGone {
                charges.withCharges { common.governor.refund($0) }
            }
        }
        if let hold = ticket.hold {
            ticket.hold = nil
            common.places.release(hold)
        }
    }

    /// Tells the breakers how the request has ended, those that have not been told yet.
    ///
    /// - Parameter isAtHead: an answer has only begun. That has said enough about a probe: what
    ///   follows, as in a stream, may go on for hours, and would keep the probe's place.
    func settleBreakers(isAtHead: Bool = false) {
        matched?.use { settle($0.rules.breakers, isAtHead: isAtHead) }
    }

    private func settle(_ breakers: [BreakerPlan], isAtHead: Bool) {
        if breakers.isEmpty { return }
        let hasFailed: Bool? =
            switch outcome {
            case .cancelled, .unsent: isAtHead ? false : nil
            default: record.attempts == 0 ? nil : outcome.isFailure
            }
        for index in breakers.indices {
            guard let verdict = ticket.breakers[index] else { continue }
            if isAtHead { guard case .probe = verdict else { continue } }
            ticket.breakers[index] = nil
            breakers[index].breaker.use { $0.settle(verdict, isFailure: hasFailed, now: now) }
        }
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes as a decimal number; `nil` when they are none, or larger than `limit`.
    func decimal(atMost limit: Int64) -> Int64? {
        guard count > 0, count <= 9 else { return nil }
        var value: Int64 = 0
        for byte in self {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return value <= limit ? value : nil
    }
}
