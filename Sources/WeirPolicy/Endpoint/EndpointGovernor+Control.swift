// An endpoint's conditions and limit, for the control thread, the operator and the balancer.

import Synchronization
public import WeirTime

extension EndpointGovernor {
    // MARK: By hand

    /// Puts the endpoint out of balancing for a time, whatever the cluster's bounds say.
    ///
    /// - Returns: `false` when no cluster in use has the endpoint.
    @discardableResult
    package func eject(for length: Interval, now: Instant) -> Bool {
        ledger?.ejectByHand(id, for: length, now: now) ?? false
    }

    /// Ends an ejection, a probation, a pause or a drain at once; slow start follows.
    package func readmit(now: Instant) {
        let was = clear([.draining, .paused])
        if was.contains(.draining) { beginSlowStart(now) }
        ledger?.readmit(id, now: now)
    }

    /// No new requests from now on; what is under way ends in its own time.
    package func drain() { set(.draining) }

    // MARK: Health checks

    /// What weir's own probes have found. Beginning and end are reported by the next tick.
    package func setHealthy(_ isHealthy: Bool, now: Instant) {
        if isHealthy {
            guard clear(.unhealthy).contains(.unhealthy) else { return }
            if !condition.contains(.ejected) { beginSlowStart(now) }
        } else {
            set(.unhealthy)
        }
    }

    /// The same of probes in shadow mode: it is reported, and nothing follows from it.
    package func setHealthyInShadow(_ isHealthy: Bool) {
        unhealthyInShadow.store(!isHealthy, ordering: .relaxed)
    }

    // MARK: Conditions

    var condition: EndpointCondition {
        EndpointCondition(rawValue: conditions.load(ordering: .relaxed))
    }

    /// Fit for normal traffic.
    package var isAvailable: Bool { condition.isEmpty }
    /// Gets requests, be it one at a time; the only question is room.
    package var isUsable: Bool { condition.subtracting(.probation).isEmpty }
    package var isEjected: Bool { condition.contains(.ejected) }
    package var isOnProbation: Bool { condition.contains(.probation) }
    package var isUnhealthy: Bool { condition.contains(.unhealthy) }
    package var isDraining: Bool { condition.contains(.draining) }
    /// Health checks in shadow mode would have taken it out.
    package var wouldBeUnhealthy: Bool { unhealthyInShadow.load(ordering: .relaxed) }

    func set(_ bits: EndpointCondition) {
        conditions.bitwiseOr(bits.rawValue, ordering: .sequentiallyConsistent)
    }

    /// - Returns: the bits before.
    @discardableResult
    func clear(_ bits: EndpointCondition) -> EndpointCondition {
        let change = conditions.bitwiseAnd(~bits.rawValue, ordering: .sequentiallyConsistent)
        return EndpointCondition(rawValue: change.oldValue)
    }

    // MARK: Slow start

    /// The share of its weight that the endpoint should get, as 16.16 fixed point: from a tenth to
    /// all of it, in a straight line over the cluster's `slow_start`.
    public func weightScale(now: Instant) -> Int {
        let start = rampStart.load(ordering: .relaxed)
        let length = rampLength.load(ordering: .relaxed)
        guard start != .min, length > 0 else { return 1 << 16 }
        let elapsed = (now - Instant(nanoseconds: start)).nanoseconds
        guard elapsed < length else { return 1 << 16 }
        let share = Double(max(elapsed, 0)) / Double(length)
        return max(Int(share * 65536), 6554)
    }

    func beginSlowStart(_ now: Instant) {
        wantsRestart.store(true, ordering: .relaxed)
        rampStart.store(now.nanoseconds, ordering: .relaxed)
    }

    // MARK: For the status page

    /// Requests at a time; `Int.max` is no limit.
    package var currentLimit: Int { limit.load(ordering: .relaxed) }
    /// The limit of a policy in shadow mode.
    package var limitInShadow: Int { shadowLimit.load(ordering: .relaxed) }
    /// Requests that a limit in shadow mode would have sent elsewhere, or made wait.
    package var wouldExceed: Int { refusedInShadow.load(ordering: .relaxed) }

    /// One endpoint as the status page shows it.
    package struct Inspection: Sendable {
        package let state: StaticString
        package let requestsInFlight: Int
        package let limit: Int
        /// The limit that shadow mode has found, and the requests beyond it; `nil` where there is
        /// none.
        package let shadow: (limit: Int, exceeded: Int)?
        package let wouldBeUnhealthy: Bool
        /// The latency without a queue, by which the limit is found.
        package let baseline: Interval?
        package let median: Interval?
        package let p99: Interval?
        /// Times it was ejected without a minute of health for each in between.
        package let ejections: Int
        package let ejectedUntil: Instant?
        package let reason: EjectionReason?
    }

    package var inspection: Inspection {
        let book = book.withLock { $0 }
        let record = book.ledger?.record(of: id)
        let isOut = !condition.isDisjoint(with: [.ejected, .probation])
        return Inspection(
            state: condition.name, requestsInFlight: requestsInFlight, limit: currentLimit,
            shadow: limitInShadow == .max ? nil : (limitInShadow, wouldExceed),
            wouldBeUnhealthy: wouldBeUnhealthy, baseline: book.baseline, median: book.median,
            p99: book.p99,
            ejections: record?.ejections ?? 0, ejectedUntil: record?.until,
            reason: isOut ? record?.reason : isUnhealthy ? .healthCheck : nil)
    }
}
