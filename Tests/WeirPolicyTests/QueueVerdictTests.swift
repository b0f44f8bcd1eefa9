// Which endpoint a request that waited gets.

import Testing
import WeirTime

@testable import WeirPolicy

@Suite struct `A retry that waited` {
    private let now = Instant(nanoseconds: 1)
    private let endpoints = [1, 2, 3].map { EndpointGovernor(id: $0) }
    private let cluster: ClusterGovernor

    init() {
        var settings = ClusterSettings()
        settings.maxRequests = 1
        settings.hasQueue = true
        let queue = QueueSettings()
        cluster = ClusterGovernor(
            settings: settings, queue: queue, budget: RetryBudget(RetryBudgetSettings()))
        cluster.update(settings: settings, queue: queue, endpoints: endpoints)
    }

    /// Where a request goes that has been at `tried`, when the first endpoint's place comes free.
    private func verdict(tried ids: UInt32...) throws -> UInt32 {
        var verdicts: [WaitVerdict] = []
        try #require(cluster.take() && endpoints[0].acquire(now: now, isPanicking: false))
        var tried = TriedEndpoints()
        for id in ids { tried.insert(id) }
        let request = AdmissionQueue.Request(
            priority: 0, tenant: 0, weight: 1, deadline: .distantFuture, waiter: 7, isRetry: true,
            tried: tried)
        _ = cluster.wait(request, now: now, verdicts: &verdicts)
        try #require(verdicts.isEmpty)
        Permit(cluster: cluster, endpoint: endpoints[0], startedAt: now)
            .settle(.success, now: now, verdicts: &verdicts)
        let endpoint = try #require(verdicts.first?.endpoint)
        #expect(verdicts.count == 1 && cluster.requestsInFlight == 1)
        #expect(endpoints.map(\.requestsInFlight).reduce(0, +) == 1)
        Permit(cluster: cluster, endpoint: endpoint, startedAt: now)
            .settle(.success, now: now, verdicts: &verdicts)
        return endpoint.id
    }

    @Test func `goes where it has not been`() throws {
        #expect(try verdict() == 1)
        #expect(try verdict(tried: 2) == 1)
        #expect(try verdict(tried: 1) == 2)
        #expect(try verdict(tried: 1, 2) == 3)
    }

    @Test func `goes there again where nobody else has room`() throws {
        #expect(try verdict(tried: 1, 2, 3) == 1)
        endpoints[1].drain()
        endpoints[2].drain()
        #expect(try verdict(tried: 1) == 1)
    }
}
