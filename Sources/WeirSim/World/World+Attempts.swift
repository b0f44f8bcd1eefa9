// Attempts: how they begin at a station, how they end, and whether another one follows.

import WeirPolicy
import WeirTime

extension World {
    /// How long it takes to be refused a connection, or to be answered at the door.
    private static let doorTime: Int64 = 500_000

    /// Begins an attempt with the permit that the request has.
    ///
    /// - Parameter start: when the permit was taken.
    mutating func attempt(_ slot: Int, at endpoint: Int, since start: Int64) {
        requests[slot].startedAt = start
        requests[slot].endpoint = Int32(endpoint)
        requests[slot].phase = .underWay
        requests[slot].step &+= 1
        requests[slot].attempts += 1
        if requests[slot].serial == options.watched { watchedAttempts += 1 }
        recorder.attempts(at: now)
        recorder.decide(requests[slot].serial << 16 | UInt64(endpoint) << 4 | 9)
        oracles.attempts(
            requests[slot], most: routes[Int(requests[slot].route)].mostAttempts, now)
        let subject = Subject.word(slot, requests[slot].step)
        let limit = routes[Int(requests[slot].route)].tryTimeout
        if limit != .max, later(limit) < requests[slot].dueAt {
            queue.planTimer(.tryTimeout, after: limit, subject: subject)
        }
        send(slot, to: endpoint, subject)
    }

    // MARK: The endpoint

    private mutating func send(_ slot: Int, to endpoint: Int, _ subject: UInt64) {
        let condition = stations[endpoint].condition
        requests[slot].answer = .success
        if condition.isDead {
            requests[slot].answer = .connectFailure
        } else if outcomes.isHit(condition.silence) {
            return
        } else if outcomes.isHit(condition.busy) {
            requests[slot].answer = .busy(retryAfter: condition.retryAfter)
        } else if outcomes.isHit(condition.errors) {
            requests[slot].answer = .serverError(status: 503)
            if !condition.isFast { return work(slot, at: endpoint, subject) }
        } else {
            if outcomes.isHit(condition.resets) { requests[slot].answer = .reset }
            return work(slot, at: endpoint, subject)
        }
        queue.plan(.answer, at: now + Self.doorTime, subject: subject)
    }

    private mutating func work(_ slot: Int, at endpoint: Int, _ subject: UInt64) {
        let job = Job(attempt: subject, work: size(slot, endpoint))
        if stations[endpoint].busy < stations[endpoint].model.workers,
            stations[endpoint].pause.until <= now
        {
            return start(job, at: endpoint)
        }
        guard stations[endpoint].queue.count < stations[endpoint].model.backlog else {
            requests[slot].answer = .serverError(status: 503)
            return queue.plan(.answer, at: now + Self.doorTime, subject: subject)
        }
        stations[endpoint].queue.append(job)
    }

    /// A request's work is its own: it is as large whoever does it and whenever.
    private func size(_ slot: Int, _ endpoint: Int) -> Int64 {
        let mean = stations[endpoint].meanWork
        let number = requests[slot].serial &* 16 &+ UInt64(requests[slot].attempts)
        var chance = Chance(seed: workSeed ^ (number &* 0xD6E8_FEB8_6659_FD93))
        let scale = sources[Int(requests[slot].stream)].work
        let work = stations[endpoint].model.law.draw(&chance) * mean * scale
        return Int64(max(min(work, 1e14), 1))
    }

    private mutating func start(_ job: Job, at endpoint: Int) {
        stations[endpoint].busy += 1
        queue.plan(
            .workDone, at: now + stations[endpoint].duration(job.work),
            index: endpoint << 2 | stations[endpoint].era, subject: job.attempt)
    }

    mutating func workDone(_ event: Event) {
        let endpoint = event.index >> 2
        guard event.index & 3 == stations[endpoint].era else { return }
        if stations[endpoint].pause.until > now {
            // What stood still meanwhile takes as much longer.
            let rest = now - stations[endpoint].pause.from
            queue.plan(
                .workDone, at: stations[endpoint].pause.until + rest, index: event.index,
                subject: event.subject)
            return
        }
        stations[endpoint].busy -= 1
        startWaiting(at: endpoint)
        if isLive(event) { answered(Subject(event.subject).slot) }
    }

    private mutating func startWaiting(at endpoint: Int) {
        while stations[endpoint].busy < stations[endpoint].model.workers,
            let job = stations[endpoint].queue.popFirst()
        {
            let subject = Subject(job.attempt)
            if stations[endpoint].model.dropsAbandoned,
                requests[subject.slot].step != subject.count
            {
                continue
            }
            start(job, at: endpoint)
        }
    }

    mutating func pauseOver(_ endpoint: Int) {
        guard stations[endpoint].pause.until <= now else { return }
        startWaiting(at: endpoint)
    }

    // MARK: Ends

    /// Gives the attempt's permit back and says how the attempt ended.
    mutating func settle(_ slot: Int, _ outcome: AttemptOutcome, hasAnswered: Bool) {
        let endpoint = Int(requests[slot].endpoint)
        if requests[slot].holdsRetry {
            requests[slot].holdsRetry = false
            requests[slot].hasPaidRetry = false
            clusters[clusterOf[endpoint]].retryEnded()
        }
        requests[slot].step &+= 1
        requests[slot].phase = .backoff
        if options.sabotage == .leaksPermits, requests[slot].serial % 100 == 0 { return }
        stations[endpoint].inFlight -= 1
        oracles.settles(&requests[slot])
        var permit = Permit(
            cluster: clusters[clusterOf[endpoint]], endpoint: endpoints[endpoint],
            startedAt: Instant(nanoseconds: requests[slot].startedAt))
        if hasAnswered {
            let tempo = routes[Int(requests[slot].route)].tempo
            permit.answered(outcome, tempo: tempo, now: instant)
        }
        permit.settle(outcome, now: instant, verdicts: &verdicts)
    }

    /// The endpoint has answered, or has shown that it will not.
    mutating func answered(_ slot: Int) {
        let outcome = requests[slot].answer
        let endpoint = Int(requests[slot].endpoint)
        switch outcome {
        case .success:
            settle(slot, outcome, hasAnswered: true)
            serve(slot)
        case .serverError(let status):
            settle(slot, outcome, hasAnswered: true)
            let condition = rules(slot)?.condition(status: status) ?? []
            if retries(slot, condition, at: endpoint) { return }
            passOn(slot)
        case .busy(let retryAfter):
            settle(slot, outcome, hasAnswered: true)
            let condition = rules(slot)?.condition(status: 503) ?? []
            if retries(slot, condition, at: endpoint, retryAfter: retryAfter) { return }
            passOn(slot)
        case .connectFailure:
            settle(slot, outcome, hasAnswered: false)
            if retries(slot, .connectFailure, at: endpoint, isUnprocessed: true) { return }
            refuse(slot, .upstreamConnect)
        case .reset:
            settle(slot, outcome, hasAnswered: false)
            if retries(slot, .resetBeforeResponse, at: endpoint) { return }
            refuse(slot, .upstreamReset)
        case .timeout, .malformed, .cancelled, .unsent:
            settle(slot, outcome, hasAnswered: false)
            refuse(slot, .upstreamProtocol)
        }
    }

    /// No answer in the time that the attempt, the route or the client gives.
    mutating func attemptTimedOut(_ slot: Int) {
        guard requests[slot].phase == .underWay else { return }
        let endpoint = Int(requests[slot].endpoint)
        // A client in a hurry says nothing about the endpoint.
        let isClients = requests[slot].deadline <= now
        settle(slot, isClients ? .cancelled : .timeout, hasAnswered: false)
        if now < requests[slot].dueAt, retries(slot, .perTryTimeout, at: endpoint) { return }
        refuse(slot, isClients ? .deadline : .upstreamTimeout)
    }

    // MARK: Another one

    private func rules(_ slot: Int) -> RetryRules? {
        settings.routes[Int(requests[slot].route)].retry
    }

    /// Arranges another attempt after one that has failed; `false` when that failure stands.
    private mutating func retries(
        _ slot: Int, _ condition: RetryConditions, at endpoint: Int, isUnprocessed: Bool = false,
        retryAfter: Interval? = nil
    ) -> Bool {
        guard let rules = rules(slot), rules.includes(condition),
            Int(requests[slot].attempts) <= rules.attempts
        else { return false }
        let isRepeatable = sources[Int(requests[slot].stream)].isIdempotent && rules.allows(1)
        guard isUnprocessed || isRepeatable else { return false }
        let remaining = Instant(nanoseconds: requests[slot].dueAt) - instant
        guard
            let delay = rules.delay(
                attempt: Int(requests[slot].attempts) - 1, retryAfter: retryAfter,
                remaining: remaining, chance: &backoffs)
        else { return false }
        let governor = clusters[clusterOf[endpoint]]
        guard governor.takeRetry() else { return false }
        // What reached nobody cannot overload anybody: one such retry is free.
        let isFree = isUnprocessed && !requests[slot].hasUsedFreeRetry
        if isFree {
            requests[slot].hasUsedFreeRetry = true
        } else if options.sabotage != .ignoresBudget, !governor.retryBudget.withdraw(now: instant) {
            governor.retryEnded()
            recorder.retriesOverBudget += 1
            return false
        }
        if !isFree { oracles.withdraws(clusterOf[endpoint], now) }
        requests[slot].holdsRetry = true
        requests[slot].hasPaidRetry = !isFree
        requests[slot].paidRetryAt = now
        requests[slot].tried.insert(endpoint)
        recorder.retries += 1
        requests[slot].phase = .backoff
        requests[slot].step &+= 1
        queue.plan(
            .backoffOver, at: later(delay.nanoseconds),
            subject: Subject.word(slot, requests[slot].step))
        return true
    }

    mutating func backoffOver(_ slot: Int) {
        guard requests[slot].phase == .backoff else { return }
        admit(slot)
    }

    /// Gives back what a retry holds that ends before, or without, an attempt.
    mutating func releaseRetry(_ slot: Int, isUnsent: Bool) {
        guard requests[slot].holdsRetry else { return }
        requests[slot].holdsRetry = false
        let cluster = cluster(slot)
        clusters[cluster].retryEnded()
        guard isUnsent, requests[slot].hasPaidRetry else { return }
        requests[slot].hasPaidRetry = false
        clusters[cluster].retryBudget.refund(
            takenAt: Instant(nanoseconds: requests[slot].paidRetryAt))
        oracles.refunds(cluster, requests[slot].paidRetryAt)
    }
}
