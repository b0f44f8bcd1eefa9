// One endpoint, in the whole process: its places, its limit, whether it is fit for traffic.

public import Synchronization
public import WeirTime

/// Shared by all workers; one for each cluster and address, across reloads.
///
/// An attempt costs a compare-and-swap for its place and a handful of relaxed additions for what
/// is learnt from it; nothing here waits or allocates. The control thread reads the counts in
/// `ClusterWatch` and sets the limit and the condition. Only a failure that completes a row, and
/// the end of a probation, take the mutex of the cluster's `EjectionLedger`.
///
///     available --failures in a row, or what a tick finds--> ejected --time--> probation
///     probation --5 good answers--> available;  --a failure, a late answer--> ejected, for longer
///
/// `draining`, `unhealthy` and `paused` hold beside these states and independently of them.
public final class EndpointGovernor: Sendable {
    /// The endpoint's number in the process; begins with 1.
    public let id: UInt32
    @usableFromInline let inFlight = Atomic<Int>(0)
    @usableFromInline let limit = Atomic<Int>(.max)
    @usableFromInline let conditions = Atomic<UInt32>(0)
    /// The limit that a shadow policy would set.
    let shadowLimit = Atomic<Int>(.max)
    let refusedInShadow = Atomic<Int>(0)
    /// What health checks in shadow mode have found.
    let unhealthyInShadow = Atomic<Bool>(false)
    /// The most requests in flight since the control thread last looked.
    let peak = Atomic<Int>(0)

    let latencies = LatencyHistogram()
    let unfinished = UnfinishedRing()
    private let average = LatencyAverage()
    /// Failures since the endpoint is known; those among them that are samples of latency, too.
    let failures = Atomic<UInt32>(0)
    let timeouts = Atomic<UInt32>(0)
    let busyAnswers = Atomic<UInt32>(0)
    /// When the oldest request without an answer began, as a tick has seen it; `.max` for none.
    let oldestStart = Atomic<Int64>(.max)

    // Rows of failures; 0 is off.
    let limit5xx = Atomic<UInt32>(0)
    let limitGateway = Atomic<UInt32>(0)
    private let row5xx = Atomic<UInt32>(0)
    private let rowGateway = Atomic<UInt32>(0)
    private let rowBusy = Atomic<UInt32>(0)
    /// Attempts that began before this instant say nothing about the endpoint as it is now.
    let countsFrom = Atomic<Int64>(.min)

    // Probation: when the one request began, and good answers so far.
    let probe = Atomic<Int64>(EndpointGovernor.noProbe)
    let hasProbeAnswered = Atomic<Bool>(false)
    let goodAnswers = Atomic<UInt32>(0)
    /// Nanoseconds beyond which an answer is late, by the measure of the peers.
    let lateAfter = Atomic<Int64>(.max)

    let pausedUntil = Atomic<Int64>(.min)
    // Slow start: nanoseconds; `.min` is long over.
    let rampStart = Atomic<Int64>(.min)
    let rampLength = Atomic<Int64>(0)
    /// The limiter is to begin low again.
    let wantsRestart = Atomic<Bool>(false)
    let book = Mutex(Book())

    /// Where the endpoint belongs, and what the control thread last found; for the slow paths.
    struct Book {
        var ledger: EjectionLedger?
        var baseline: Interval?
        var median: Interval?
        var p99: Interval?
    }

    static let noProbe = Int64.min
    /// Good answers that end a probation.
    static let probationAnswers: UInt32 = 5
    /// Busy answers in a row after which the endpoint is left alone for as long as it asks: one may
    /// be meant for a single client of it.
    static let busyRow: UInt32 = 3
    /// A pause lasts no longer, whatever the endpoint asks for.
    static let longestPause = Interval.seconds(30)

    package init(id: UInt32) { self.id = id }
}

// MARK: A place

extension EndpointGovernor {
    /// Attempts under way.
    @inlinable public var requestsInFlight: Int { inFlight.load(ordering: .relaxed) }

    /// Whether `acquire` would have given a place just now.
    ///
    /// - Parameter isPanicking: too few endpoints are available; only drained ones are left out.
    @inlinable public func hasRoom(isPanicking: Bool) -> Bool {
        guard inFlight.load(ordering: .relaxed) < limit.load(ordering: .relaxed) else {
            return false
        }
        let seen = EndpointCondition(rawValue: conditions.load(ordering: .relaxed))
        return seen.isEmpty || isOpen(seen, isPanicking: isPanicking)
    }

    @usableFromInline
    func isOpen(_ condition: EndpointCondition, isPanicking: Bool) -> Bool {
        if condition.contains(.draining) { return false }
        if isPanicking { return true }
        guard condition == .probation else { return condition.isEmpty }
        return probe.load(ordering: .relaxed) == Self.noProbe
    }

    /// Takes a place for an attempt that begins at `now`; `false` where there is none. Given back
    /// by `finish` with the same instant.
    public func acquire(now: Instant, isPanicking: Bool) -> Bool {
        let seen = EndpointCondition(rawValue: conditions.load(ordering: .relaxed))
        if seen.isEmpty || isPanicking {
            guard !seen.contains(.draining), takePlace() else { return false }
        } else {
            guard seen == .probation, takeProbe(now) else { return false }
        }
        unfinished.add(now)
        return true
    }

    private func takeProbe(_ now: Instant) -> Bool {
        let (isMine, _) = probe.compareExchange(
            expected: Self.noProbe, desired: now.nanoseconds, ordering: .acquiringAndReleasing)
        guard isMine else { return false }
        hasProbeAnswered.store(false, ordering: .relaxed)
        if takePlace() { return true }
        probe.store(Self.noProbe, ordering: .releasing)
        return false
    }

    private func takePlace() -> Bool {
        let most = limit.load(ordering: .relaxed)
        var seen = inFlight.load(ordering: .relaxed)
        while seen < most {
            let (won, now) = inFlight.weakCompareExchange(
                expected: seen, desired: seen + 1, ordering: .sequentiallyConsistent)
            if won {
                if seen >= peak.load(ordering: .relaxed) {
                    peak.store(seen + 1, ordering: .relaxed)
                }
                if seen >= shadowLimit.load(ordering: .relaxed) {
                    refusedInShadow.wrappingAdd(1, ordering: .relaxed)
                }
                return true
            }
            seen = now
        }
        return false
    }

    /// The head of an attempt's answer has come. At most once an attempt, before `finish`.
    ///
    /// - Parameter routeScale: what the latency is multiplied by; see `RouteTempo`.
    public func answered(
        _ outcome: AttemptOutcome, startedAt: Instant, routeScale: Int64, now: Instant
    ) {
        unfinished.remove(startedAt)
        learn(outcome, startedAt: startedAt, routeScale: routeScale, now: now)
        noteAnswer(ofProbe: startedAt)
    }

    /// The head of an attempt's answer has come whose end will say what it is worth: the latency,
    /// in nanoseconds, that `judge` is to be told. In place of `answered`.
    func begun(startedAt: Instant, routeScale: Int64, now: Instant) -> Int64 {
        unfinished.remove(startedAt)
        let latency = Self.scaled(max((now - startedAt).nanoseconds, 0), routeScale)
        latencies.add(latency)
        average.add(latency, now: now)
        noteAnswer(ofProbe: startedAt)
        return latency
    }

    private func noteAnswer(ofProbe startedAt: Instant) {
        guard probe.load(ordering: .relaxed) == startedAt.nanoseconds else { return }
        hasProbeAnswered.store(true, ordering: .relaxed)
    }

    /// An answer that has `begun` has ended; before `finish`, to which the ends that break an
    /// answer are left.
    func judge(_ outcome: AttemptOutcome, startedAt: Instant, latency: Int64, now: Instant) {
        switch outcome {
        case .success: hasDoneWell(startedAt: startedAt, latency: latency, now: now)
        case .serverError: fail(outcome, startedAt: startedAt, now: now)
        case .busy(let hint): busy(hint, elapsed: latency, startedAt: startedAt, now: now)
        case .connectFailure, .reset, .timeout, .malformed, .cancelled, .unsent: break
        }
    }

    /// Gives a place back, exactly once for each that `acquire` gave.
    ///
    /// Without an answer the outcome itself is what is learnt. After one, only an end that breaks
    /// it is: a reset amid the body is a failure although its head was none.
    public func finish(
        _ outcome: AttemptOutcome, startedAt: Instant, hasAnswered: Bool, now: Instant
    ) {
        if !hasAnswered {
            unfinished.remove(startedAt)
            learn(outcome, startedAt: startedAt, routeScale: RouteTempo.one, now: now)
        } else {
            switch outcome {
            case .reset, .timeout, .malformed: fail(outcome, startedAt: startedAt, now: now)
            case .success, .serverError, .connectFailure, .busy, .cancelled, .unsent: break
            }
        }
        if probe.load(ordering: .relaxed) == startedAt.nanoseconds {
            probe.store(Self.noProbe, ordering: .releasing)
        }
        inFlight.subtract(1, ordering: .sequentiallyConsistent)
    }
}

// MARK: What is learnt

extension EndpointGovernor {
    private func learn(
        _ outcome: AttemptOutcome, startedAt: Instant, routeScale: Int64, now: Instant
    ) {
        let elapsed = max((now - startedAt).nanoseconds, 0)
        switch outcome {
        case .success:
            let latency = Self.scaled(elapsed, routeScale)
            latencies.add(latency)
            average.add(latency, now: now)
            hasDoneWell(startedAt: startedAt, latency: latency, now: now)
        case .serverError, .connectFailure, .reset, .malformed:
            average.add(max(elapsed, 1_000_000_000), now: now)
            fail(outcome, startedAt: startedAt, now: now)
        case .timeout:
            // It would have taken longer: a sample all the same, or overload would show none.
            latencies.add(elapsed)
            timeouts.wrappingAdd(1, ordering: .relaxed)
            average.add(max(elapsed, 1_000_000_000), now: now)
            fail(outcome, startedAt: startedAt, now: now)
        case .busy(let retryAfter):
            busy(retryAfter, elapsed: elapsed, startedAt: startedAt, now: now)
        case .cancelled:
            // Waited for in vain: may make the endpoint look slower, never faster.
            if elapsed > average.value(now: now) { average.add(elapsed, now: now) }
        case .unsent:
            break
        }
    }

    @inline(__always)
    private func hasDoneWell(startedAt: Instant, latency: Int64, now: Instant) {
        Self.clear(row5xx)
        Self.clear(rowGateway)
        Self.clear(rowBusy)
        if isOnProbation(startedAt) { passProbation(latency, now: now) }
    }

    /// Counts a failure; one that completes a row asks the ledger for the endpoint's ejection.
    private func fail(_ outcome: AttemptOutcome, startedAt: Instant, now: Instant) {
        failures.wrappingAdd(1, ordering: .relaxed)
        guard startedAt.nanoseconds >= countsFrom.load(ordering: .relaxed) else { return }
        Self.clear(rowBusy)
        if isOnProbation(startedAt) { return failProbation(nil, now: now) }
        if Self.completes(row5xx, limit5xx) {
            ledger?.report(id, .consecutive5xx, now: now)
        }
        if outcome.isGatewayFailure {
            if Self.completes(rowGateway, limitGateway) {
                ledger?.report(id, .consecutiveGateway, now: now)
            }
        } else {
            Self.clear(rowGateway)
        }
    }

    private func busy(_ hint: Interval, elapsed: Int64, startedAt: Instant, now: Instant) {
        let hint = max(min(hint, Self.longestPause), .zero)
        busyAnswers.wrappingAdd(1, ordering: .relaxed)
        average.add(max(elapsed, hint.nanoseconds, 1_000_000_000), now: now)
        // It works, whatever it says.
        Self.clear(row5xx)
        Self.clear(rowGateway)
        if isOnProbation(startedAt) { passProbation(elapsed, now: now) }
        if rowBusy.wrappingAdd(1, ordering: .relaxed).newValue >= Self.busyRow {
            Self.clear(rowBusy)
            ledger?.pause(id, until: now + hint, now: now)
        }
    }

    private static func clear(_ row: borrowing Atomic<UInt32>) {
        if row.load(ordering: .relaxed) != 0 { row.store(0, ordering: .relaxed) }
    }

    /// Exactly one of the threads that add to a row completes it. Where the ledger then has no
    /// room for one more, the next row asks again.
    private static func completes(
        _ row: borrowing Atomic<UInt32>, _ limit: borrowing Atomic<UInt32>
    ) -> Bool {
        let needed = limit.load(ordering: .relaxed)
        guard needed > 0 else { return false }
        return row.wrappingAdd(1, ordering: .relaxed).newValue % needed == 0
    }

    private static func scaled(_ nanoseconds: Int64, _ scale: Int64) -> Int64 {
        guard scale != 1 << 16 else { return nanoseconds }
        let (high, low) = nanoseconds.multipliedFullWidth(by: max(scale, 0))
        guard high < 1 << 15 else { return .max }
        return high << 48 | Int64(low >> 16)
    }

    /// Nanoseconds that the next request may take, by what is known; what `peak_ewma` compares.
    public func latency(now: Instant) -> Int64 {
        let oldest = oldestStart.load(ordering: .relaxed)
        let known = average.value(now: now)
        guard oldest != .max, requestsInFlight > 0 else { return known }
        return max(known, (now - Instant(nanoseconds: oldest)).nanoseconds)
    }

    // MARK: Probation

    private func isOnProbation(_ startedAt: Instant) -> Bool {
        let seen = EndpointCondition(rawValue: conditions.load(ordering: .relaxed))
        return seen.contains(.probation)
            && startedAt.nanoseconds >= countsFrom.load(ordering: .relaxed)
    }

    private func passProbation(_ latency: Int64, now: Instant) {
        if latency > lateAfter.load(ordering: .relaxed) { return failProbation(.latency, now: now) }
        let good = goodAnswers.wrappingAdd(1, ordering: .relaxed).newValue
        if good == Self.probationAnswers { ledger?.readmit(id, now: now) }
    }

    private func failProbation(_ reason: EjectionReason?, now: Instant) {
        goodAnswers.store(0, ordering: .relaxed)
        ledger?.relapse(id, reason, now: now)
    }

    var ledger: EjectionLedger? { book.withLock { $0.ledger } }

    /// Begins to count anew: what was under way before `now` is history.
    func forgetRows(from now: Instant) {
        countsFrom.store(now.nanoseconds, ordering: .relaxed)
        row5xx.store(0, ordering: .relaxed)
        rowGateway.store(0, ordering: .relaxed)
        rowBusy.store(0, ordering: .relaxed)
        goodAnswers.store(0, ordering: .relaxed)
    }
}
