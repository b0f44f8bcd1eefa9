// One cluster's admission, in the whole process: who gets a permit now, who waits, who is refused.

import Synchronization
public import WeirTime

/// What a cluster allows in all; the endpoints have limits of their own.
package struct ClusterSettings: Equatable, Sendable {
    /// Requests in flight at most; `Int.max` is no limit (`circuit_breakers.max_requests`).
    package var maxRequests = Int.max
    /// HTTP/1 needs a connection for each request in flight: beyond it requests wait.
    package var maxConnections = Int.max
    /// Retries in flight at most.
    package var maxRetries = Int.max
    /// Requests wait where no permit is free; without a queue they are refused at once.
    package var hasQueue = false
    package var shadow = Shadow()

    package init() {}

    /// What limits in shadow mode would allow. Nobody is refused for them.
    package struct Shadow: Equatable, Sendable {
        /// Requests in flight, `max_connections` among it.
        package var maxRequests = Int.max
        /// Requests in the queue that there is.
        package var maxWaiting = Int.max
        package var maxRetries = Int.max
        /// Requests beyond the limits that would wait; 0 where there would be no queue.
        package var queueLength = 0

        package init() {}
    }
}

/// What became of a request that waited, for the worker that holds it.
public struct WaitVerdict: Sendable {
    /// As given to `ClusterGovernor.wait`.
    public let waiter: UInt64
    /// Whose queue it was.
    public let cluster: ClusterGovernor
    /// The endpoint whose permit the request now has; `nil` when it is refused.
    public let endpoint: EndpointGovernor?
    /// Why not, where there is no endpoint.
    public let refusal: Refusal
    /// When the permit was taken: the endpoint knows it by this instant, and so must the `Permit`.
    public let startedAt: Instant
}

/// Whether a request may wait for a permit.
public enum WaitAnswer: Sendable {
    /// It waits until `expiry` at the latest; `handle` takes it out of the queue.
    case queued(handle: UInt32, expiry: Instant)
    case refused(Refusal)
}

/// The permits of one cluster.
///
/// While nobody waits, a request takes its permit with two compare-and-swaps: one here, one at the
/// endpoint. Only a cluster that is full takes the mutex, around a queue that is strict about order
/// (docs/adr/0014-admission-queue.md). A permit that comes free while requests wait goes to the
/// first of them, whichever worker holds it; the verdicts tell whom to wake.
public final class ClusterGovernor: Sendable {
    /// Shared by retries and hedges of all routes that lead here.
    public let retryBudget: RetryBudget
    /// The same for those that are in shadow mode, which must take nothing from the others.
    public let shadowBudget = RetryBudget(RetryBudgetSettings())
    private let requests: Ceiling
    private let retries: Ceiling
    // In shadow mode: who would have been refused takes no place, and does not stand in the way of
    // those who come later.
    private let requestsInShadow = Ceiling(.max)
    private let retriesInShadow = Ceiling(.max)
    private let maxWaitingInShadow = Atomic<Int>(.max)
    /// Mirrors the queue's count, so that the fast path need not look into it.
    private let queued = Atomic<Int>(0)
    private let panicking = Atomic<Bool>(false)
    private let mayWait: Atomic<Bool>
    private let line: Mutex<Line>

    private struct Line {
        var queue: AdmissionQueue
        var endpoints: [EndpointGovernor]
        /// Where the search for a free permit begins.
        var next = 0
        var shadow = ClusterSettings.Shadow()
        /// The sum of the limits that adaptive concurrency in shadow mode has found.
        var limitInShadow = Int.max
    }

    package init(settings: ClusterSettings, queue: QueueSettings, budget: RetryBudget) {
        retryBudget = budget
        requests = Ceiling(min(settings.maxRequests, settings.maxConnections))
        retries = Ceiling(settings.maxRetries)
        mayWait = Atomic(settings.hasQueue)
        line = Mutex(Line(queue: AdmissionQueue(queue), endpoints: []))
        line.withLock { adopt(settings.shadow, &$0) }
    }

    /// Takes up new settings and endpoints. What waits and what is in flight stays.
    package func update(
        settings: ClusterSettings, queue: QueueSettings, endpoints: [EndpointGovernor]
    ) {
        requests.setLimit(min(settings.maxRequests, settings.maxConnections))
        retries.setLimit(settings.maxRetries)
        mayWait.store(settings.hasQueue, ordering: .relaxed)
        line.withLock { line in
            line.queue.update(queue)
            line.endpoints = endpoints
            adopt(settings.shadow, &line)
        }
    }

    // MARK: The fast path

    /// Nobody waits: a request may try to take a permit at once.
    public var isQueueEmpty: Bool { queued.load(ordering: .sequentiallyConsistent) == 0 }

    /// Too few endpoints are available to be choosy: ejected ones are used as well.
    public var isPanicking: Bool { panicking.load(ordering: .relaxed) }

    /// Takes the cluster's part of a permit; `false` at the ceiling. Given back by `cancel`, or
    /// with the permit.
    public func take() -> Bool { requests.take() }

    /// Gives the cluster's part back where no endpoint had the other.
    public func cancel(now: Instant, verdicts: inout [WaitVerdict]) {
        requests.giveBack()
        if !isQueueEmpty { dispatch(near: nil, now: now, verdicts: &verdicts) }
    }

    /// The request with this permit has ended; a waiting one may get it.
    public func permitReturned(
        by endpoint: EndpointGovernor, now: Instant, verdicts: inout [WaitVerdict]
    ) {
        requests.giveBack()
        if !isQueueEmpty { dispatch(near: endpoint, now: now, verdicts: &verdicts) }
    }

    // MARK: Waiting

    /// Puts a request into the queue. A verdict on it, or on one that it pushed out, may follow at
    /// once in `verdicts`.
    public func wait(
        _ request: AdmissionQueue.Request, now: Instant, verdicts: inout [WaitVerdict]
    ) -> WaitAnswer {
        guard mayWait.load(ordering: .relaxed) else { return .refused(.ceiling) }
        return line.withLock { line in
            switch line.queue.insert(request, now: now) {
            case .refused(let refusal):
                return .refused(refusal)
            case .queued(let handle, let expiry, let evicted):
                if evicted != 0 {
                    verdicts.append(
                        WaitVerdict(
                            waiter: evicted, cluster: self, endpoint: nil, refusal: .pushedOut,
                            startedAt: now))
                }
                // Counted before the search: a permit that comes free meanwhile is either seen by
                // the search, or its owner sees the count.
                queued.store(line.queue.count, ordering: .sequentiallyConsistent)
                serve(&line, near: nil, now: now, verdicts: &verdicts)
                return .queued(handle: handle, expiry: expiry)
            }
        }
    }

    /// Takes a request out of the queue; `false` when a verdict on it is on its way.
    public func leave(_ handle: UInt32, waiter: UInt64) -> Bool {
        line.withLock { line in
            let isRemoved = line.queue.remove(handle, waiter: waiter)
            queued.store(line.queue.count, ordering: .sequentiallyConsistent)
            return isRemoved
        }
    }

    /// Gives free permits to whoever waits: after a tick has changed limits or states.
    public func dispatch(
        near endpoint: EndpointGovernor?, now: Instant, verdicts: inout [WaitVerdict]
    ) {
        line.withLock { serve(&$0, near: endpoint, now: now, verdicts: &verdicts) }
    }

    private func serve(
        _ line: inout Line, near endpoint: EndpointGovernor?, now: Instant,
        verdicts: inout [WaitVerdict]
    ) {
        while case let expired = line.queue.popExpired(now: now), expired != 0 {
            verdicts.append(
                WaitVerdict(
                    waiter: expired, cluster: self, endpoint: nil, refusal: .queueTimeout,
                    startedAt: now))
        }
        while line.queue.count > 0, take() {
            guard let found = freeEndpoint(&line, near: endpoint, now: now) else {
                requests.giveBack()
                break
            }
            guard let next = line.queue.popNext(now: now) else {
                found.finish(.unsent, startedAt: now, hasAnswered: false, now: now)
                requests.giveBack()
                break
            }
            let endpoint = placeElsewhere(than: found, next.tried, line, now: now) ?? found
            verdicts.append(
                WaitVerdict(
                    waiter: next.waiter, cluster: self, endpoint: endpoint,
                    refusal: .queueTimeout, startedAt: now))
        }
        queued.store(line.queue.count, ordering: .sequentiallyConsistent)
    }

    /// Takes a permit where there is one: first where one has just come free.
    private func freeEndpoint(
        _ line: inout Line, near endpoint: EndpointGovernor?, now: Instant
    ) -> EndpointGovernor? {
        let isPanicking = isPanicking
        if let endpoint, endpoint.acquire(now: now, isPanicking: isPanicking) { return endpoint }
        for _ in line.endpoints.indices {
            line.next = (line.next + 1) % line.endpoints.count
            let candidate = line.endpoints[line.next]
            if candidate.acquire(now: now, isPanicking: isPanicking) { return candidate }
        }
        return nil
    }

    /// Changes a place at an endpoint where the request has been before for one where it has not
    /// been; `nil` where it may stay, or nobody else has room. What it leaves is the next one's.
    private func placeElsewhere(
        than found: EndpointGovernor, _ tried: TriedEndpoints, _ line: borrowing Line, now: Instant
    ) -> EndpointGovernor? {
        guard tried.contains(found.id) else { return nil }
        let isPanicking = isPanicking
        for other in line.endpoints
        where !tried.contains(other.id) && other.acquire(now: now, isPanicking: isPanicking) {
            found.finish(.unsent, startedAt: now, hasAnswered: false, now: now)
            return other
        }
        return nil
    }

    // MARK: Retries

    /// Takes a retry's place under `max_retries`; `false` at the ceiling.
    public func takeRetry() -> Bool { retries.take() }

    /// A retry has ended.
    public func retryEnded() { retries.giveBack() }

    // MARK: Shadow mode

    /// Takes a place under the limits in shadow mode, for a request that has its permit; `false`
    /// where it would have been refused. Given back by `leaveInShadow`.
    ///
    /// Their queue is counted as places: a request beyond the limits would wait as long as there is
    /// room for it. How long, and whether in vain, only a real queue knows.
    public func enterInShadow() -> Bool { requestsInShadow.take() }

    /// The request that has such a place has given its permit back.
    public func leaveInShadow() { requestsInShadow.giveBack() }

    /// The same under `max_retries`, for a retry that is made.
    public func takeRetryInShadow() -> Bool { retriesInShadow.take() }

    /// The retry that has such a place has ended.
    public func retryEndedInShadow() { retriesInShadow.giveBack() }

    /// More requests wait than `max_pending_requests` in shadow mode allows.
    public var isQueueFullInShadow: Bool {
        queued.load(ordering: .relaxed) > maxWaitingInShadow.load(ordering: .relaxed)
    }

    /// Takes up the sum of the limits that adaptive concurrency in shadow mode has found.
    package func setLimitInShadow(_ limit: Int) {
        line.withLock { line in
            line.limitInShadow = limit
            limitRequestsInShadow(line)
        }
    }

    private func adopt(_ shadow: ClusterSettings.Shadow, _ line: inout Line) {
        line.shadow = shadow
        retriesInShadow.setLimit(shadow.maxRetries)
        maxWaitingInShadow.store(shadow.maxWaiting, ordering: .relaxed)
        limitRequestsInShadow(line)
    }

    private func limitRequestsInShadow(_ line: borrowing Line) {
        let (places, isNoLimit) = min(line.shadow.maxRequests, line.limitInShadow)
            .addingReportingOverflow(line.shadow.queueLength)
        requestsInShadow.setLimit(isNoLimit ? .max : places)
    }

    // MARK: For the control thread and the status page

    package func setPanicking(_ isPanicking: Bool) {
        panicking.store(isPanicking, ordering: .relaxed)
    }

    /// Permits that are out.
    package var requestsInFlight: Int { requests.count }
    /// Requests that wait.
    package var requestsWaiting: Int { queued.load(ordering: .relaxed) }
    /// Retries under way.
    package var retriesInFlight: Int { retries.count }
    /// Requests that wait, by class.
    package func waiting(classes: Int) -> [Int] {
        line.withLock { line in (0..<classes).map { line.queue.count(ofClass: $0) } }
    }
}
