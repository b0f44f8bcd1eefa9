// The clients' side: requests come, end well or badly, and are sent again.

import WeirPolicy
import WeirTime

extension World {
    mutating func planSource(_ index: Int) {
        if sources[index].users == 0 { return planArrival(index) }
        for user in 0..<sources[index].users {
            queue.plan(
                .thought, at: sources[index].thought(), index: index, subject: UInt64(user))
        }
    }

    private mutating func planArrival(_ index: Int) {
        guard let next = sources[index].nextArrival(after: now), next <= end else { return }
        queue.plan(.arrival, at: next, index: index)
    }

    mutating func arrival(_ index: Int) {
        planArrival(index)
        begin(stream: index, user: -1)
    }

    /// A client begins to want something.
    mutating func begin(stream index: Int, user: Int32) {
        let slot = takePlace()
        requests[slot].stream = Int32(index)
        requests[slot].tenant = Int32(sources[index].tenant())
        requests[slot].user = user
        requests[slot].tries = 0
        requests[slot].wishedAt = now
        enter(slot)
    }

    /// A request arrives at weir.
    private mutating func enter(_ slot: Int) {
        let source = Int(requests[slot].stream)
        let route = sources[source].route
        let isHasty = sources[source].sendsDeadline
        serial += 1
        let classes = recorder.classCount
        requests[slot].use &+= 1
        requests[slot].step &+= 1
        requests[slot].serial = serial
        requests[slot].route = Int32(route)
        requests[slot].cluster = Int32(routes[route].cluster)
        requests[slot].attempts = 0
        requests[slot].holdsRetry = false
        requests[slot].hasUsedFreeRetry = false
        requests[slot].hasPaidRetry = false
        requests[slot].isCharged = false
        requests[slot].tried = TriedEndpoints()
        requests[slot].breaker = nil
        requests[slot].arrivedAt = now
        var priority = Int(sources[source].priority ?? routes[route].priority)
        if serial == options.raised { priority -= 1 }
        requests[slot].priority = UInt8(min(max(priority, 0), classes - 1))
        let patience = sources[source].patience
        let leaves = later(patience)
        requests[slot].deadline = isHasty ? leaves : .max
        requests[slot].dueAt = min(requests[slot].deadline, later(routes[route].timeout))
        requests[slot].phase = .backoff
        recorder.arrives(requests[slot])
        let subject = Subject.word(slot, requests[slot].use)
        // One that says how long it waits is answered by then.
        if patience != .max, !isHasty {
            queue.planTimer(.patienceOver, after: patience, subject: subject)
        }
        let limit = requests[slot].dueAt
        if limit != .max { queue.planTimer(.due, after: limit - now, subject: subject) }
        govern(slot)
    }

    func later(_ length: Int64) -> Int64 {
        let (sum, overflow) = now.addingReportingOverflow(length)
        return overflow ? .max : sum
    }

    // MARK: Places

    private mutating func takePlace() -> Int {
        if let free = freePlaces.popLast() { return free }
        requests.append(SimRequest())
        rates.grow(to: requests.count)
        return requests.count - 1
    }

    private mutating func leavePlace(_ slot: Int) {
        oracles.expect(requests[slot].phase != .free, "I27", now) { "a request ended twice" }
        requests[slot].phase = .free
        requests[slot].step &+= 1
        freePlaces.append(slot)
    }

    // MARK: Ends

    /// The endpoint's good answer goes to the client.
    mutating func serve(_ slot: Int) {
        settleBreaker(slot, isFailure: false)
        rates.end(slot, refunds: false)
        let slo = sources[Int(requests[slot].stream)].slo
        recorder.serves(requests[slot], slo: slo, at: now)
        recorder.decide(requests[slot].serial << 8 | 1)
        close(slot)
    }

    /// The endpoint's failure goes to the client.
    mutating func passOn(_ slot: Int) {
        settleBreaker(slot, isFailure: true)
        rates.end(slot, refunds: false)
        recorder.fails(requests[slot], nil, at: now)
        recorder.decide(requests[slot].serial << 8 | 2)
        leaveOrRetry(slot, retryAfter: nil)
    }

    /// weir answers itself, or the client is gone.
    ///
    /// - Parameter retryAfter: what the answer asks for.
    mutating func refuse(_ slot: Int, _ refusal: Refusal, retryAfter: Interval? = nil) {
        releaseRetry(slot, isUnsent: true)
        let isUpstreams = !refusal.isOwn && refusal != .clientGone
        settleBreaker(slot, isFailure: isUpstreams ? true : nil)
        rates.end(slot, refunds: requests[slot].attempts == 0)
        oracles.refuses(requests[slot], refusal, requests, now)
        recorder.fails(requests[slot], refusal, at: now)
        recorder.decide(requests[slot].serial << 8 | 16 + UInt64(refusal.rawValue))
        leaveOrRetry(slot, retryAfter: retryAfter)
    }

    private mutating func settleBreaker(_ slot: Int, isFailure: Bool?) {
        guard let verdict = requests[slot].breaker else { return }
        requests[slot].breaker = nil
        let cluster = cluster(slot)
        if case .open = verdict { return }
        oracles.breakerSettles(cluster, verdict)
        breakers[cluster]?.settle(
            verdict, isFailure: isFailure, now: Instant(nanoseconds: now))
    }

    private mutating func leaveOrRetry(_ slot: Int, retryAfter: Interval?) {
        let rules = sources[Int(requests[slot].stream)].retries
        guard requests[slot].tries < rules.count, !isClosing else { return close(slot) }
        oracles.expect(requests[slot].phase != .free, "I27", now) { "a request ended twice" }
        var wait = rules.delay.nanoseconds
        if rules.hasJitter { wait = clients.interval(upTo: rules.delay).nanoseconds }
        if rules.honoursRetryAfter, let retryAfter {
            wait += retryAfter.nanoseconds + clients.interval(upTo: retryAfter).nanoseconds
        }
        requests[slot].phase = .away
        requests[slot].step &+= 1
        queue.plan(
            .clientRetry, at: later(wait), subject: Subject.word(slot, requests[slot].step))
    }

    /// The client sends its request once more. To weir it is a new one.
    mutating func clientRetries(_ slot: Int) {
        requests[slot].tries += 1
        enter(slot)
    }

    /// The client has what it wanted, or wants it no more.
    private mutating func close(_ slot: Int) {
        let (source, user) = (Int(requests[slot].stream), requests[slot].user)
        leavePlace(slot)
        guard user >= 0, !isClosing else { return }
        queue.plan(
            .thought, at: later(sources[source].thought()), index: source,
            subject: UInt64(user))
    }

    // MARK: Going away

    /// The client waits no longer.
    mutating func patienceOver(_ slot: Int) {
        switch requests[slot].phase {
        case .queued: leaveQueue(slot)
        // Whoever delivers the verdict finds nobody, and gives the permit back.
        case .called: giveBackCalled(slot)
        case .underWay: settle(slot, .cancelled, hasAnswered: false)
        case .backoff: break
        case .free, .away: return
        }
        refuse(slot, .clientGone)
    }

    /// The whole exchange has taken as long as it may.
    mutating func due(_ slot: Int) {
        // A wait and a pause end by timers of their own, and before this one.
        if requests[slot].phase == .underWay { attemptTimedOut(slot) }
    }
}
