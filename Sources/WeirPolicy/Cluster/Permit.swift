// A request's place at an endpoint, which is settled exactly once.

public import WeirTime

/// What an attempt holds while it is under way: one of the endpoint's places and one of the
/// cluster's. Whoever takes it must settle it; one that is dropped traps in debug builds.
public struct Permit: ~Copyable {
    // Not counted: whoever holds the permit holds the plan that holds these.
    @usableFromInline let cluster: Unmanaged<ClusterGovernor>
    @usableFromInline let endpoint: Unmanaged<EndpointGovernor>
    /// When the attempt began.
    public let startedAt: Instant
    @usableFromInline var hasAnswered = false
    /// Nanoseconds until an answer began whose end says what it is worth; -1 for any other.
    @usableFromInline var begunAfter: Int64 = -1

    /// Names what `ClusterGovernor.take` and `EndpointGovernor.acquire` have given, or a verdict.
    @inlinable public init(cluster: ClusterGovernor, endpoint: EndpointGovernor, startedAt: Instant)
    {
        self.cluster = .passUnretained(cluster)
        self.endpoint = .passUnretained(endpoint)
        self.startedAt = startedAt
    }

    /// The head of the answer has come: the time until now is the endpoint's latency, however long
    /// the body takes. At most once.
    ///
    /// - Parameter tempo: that of the route, where several lead to the cluster: a slow route is no
    ///   slow endpoint.
    public mutating func answered(
        _ outcome: AttemptOutcome, tempo: RouteTempo? = nil, now: Instant
    ) {
        guard !hasAnswered else { return }
        hasAnswered = true
        let startedAt = startedAt
        var routeScale = RouteTempo.one
        if let tempo, case .success = outcome {
            routeScale = tempo.scale
            tempo.add(now - startedAt)
        }
        endpoint._withUnsafeGuaranteedRef {
            $0.answered(outcome, startedAt: startedAt, routeScale: routeScale, now: now)
        }
    }

    /// The head of an answer has come whose end will say what it is worth: the time until now is
    /// the endpoint's latency all the same. At most once, in place of `answered`.
    public mutating func begun(tempo: RouteTempo?, now: Instant) {
        guard !hasAnswered else { return }
        hasAnswered = true
        let startedAt = startedAt
        let routeScale = tempo?.scale ?? RouteTempo.one
        tempo?.add(now - startedAt)
        begunAfter = endpoint._withUnsafeGuaranteedRef {
            $0.begun(startedAt: startedAt, routeScale: routeScale, now: now)
        }
    }

    /// Gives both places back and says how the attempt ended.
    ///
    /// - Parameter verdicts: who waited and has the places now.
    public consuming func settle(
        _ outcome: AttemptOutcome, now: Instant, verdicts: inout [WaitVerdict]
    ) {
        let startedAt = startedAt
        let hasAnswered = hasAnswered
        let begunAfter = begunAfter
        let cluster = cluster
        endpoint._withUnsafeGuaranteedRef { endpoint in
            if begunAfter >= 0 {
                endpoint.judge(outcome, startedAt: startedAt, latency: begunAfter, now: now)
            }
            endpoint.finish(
                outcome, startedAt: startedAt, hasAnswered: hasAnswered, now: now)
            cluster._withUnsafeGuaranteedRef {
                $0.permitReturned(by: endpoint, now: now, verdicts: &verdicts)
            }
        }
        discard self
    }

    deinit { assertionFailure("a permit was dropped instead of settled") }
}
