// A slow route is no slow endpoint, and a slow endpoint is one on every route.

import Testing
import WeirPolicy
import WeirTime

@Suite struct RouteTempoTests {
    private let cluster = ClusterGovernor(
        settings: ClusterSettings(), queue: QueueSettings(),
        budget: RetryBudget(RetryBudgetSettings()))
    private let endpoints = (1...3).map { EndpointGovernor(id: $0) }
    private let watch = ClusterWatch()
    private let tempos = [RouteTempo(), RouteTempo()]
    private let start = Instant(nanoseconds: 1_000_000_000_000)

    init() {
        var outlier = OutlierSettings()
        outlier.mode = .enforce
        outlier.latencyFactor = 3
        outlier.latencyMinRequests = 50
        watch.update(
            outlier: outlier, concurrency: ConcurrencySettings(), slowStart: .zero,
            endpoints: endpoints)
        cluster.update(
            settings: ClusterSettings(), queue: QueueSettings(), endpoints: endpoints)
    }

    /// A quarter of a minute with a request each 5 ms at each endpoint, of which one in ten is
    /// slow; at endpoint 0 nine in ten, if its mix is another one.
    ///
    /// - Returns: who was ejected for its latency.
    private func run(
        _ tempos: [RouteTempo], isMixed: Bool = false, slowness: Int64 = 1, part: Int64 = 0
    ) -> Set<UInt32> {
        watch.update(routes: tempos)
        var chance = Chance(seed: 1)
        var events: [EndpointEvent] = []
        var verdicts: [WaitVerdict] = []
        for turn in (part * 3000)..<((part + 1) * 3000) {
            let now = start + .milliseconds(5 * turn)
            for (index, endpoint) in endpoints.enumerated() where endpoint.isUsable {
                let isSlow = (turn % 10 == 0) != (isMixed && index == 0)
                let usual: Int64 = isSlow ? 160 : 10
                let from = now - .milliseconds(usual * (index == 0 ? slowness : 1))
                guard cluster.take(), endpoint.acquire(now: from, isPanicking: false) else {
                    continue
                }
                var permit = Permit(cluster: cluster, endpoint: endpoint, startedAt: from)
                let tempo = tempos.isEmpty ? nil : tempos[isSlow ? 1 : 0]
                permit.answered(.success, tempo: tempo, now: now)
                permit.settle(.success, now: now, verdicts: &verdicts)
            }
            guard turn % 10 == 0 else { continue }
            watch.tick(now: now, governor: cluster, chance: &chance, events: &events)
        }
        return Set(
            events.compactMap {
                if case .ejected(.latency, _, _) = $0.kind { $0.endpoint } else { nil }
            })
    }

    @Test func `an endpoint with most of the slow route is ejected if routes are not told apart`() {
        #expect(run([]) == [])
        #expect(run([], isMixed: true, part: 1) == [1])
    }

    @Test func `and stays if they are`() {
        #expect(run(tempos) == [])
        // One in ten takes 160 ms: 25 ms on average.
        let scales = tempos.map { Double($0.scale) / 65536 }
        #expect((2.4...2.6).contains(scales[0]))
        #expect((0.15...0.165).contains(scales[1]))
        #expect(run(tempos, isMixed: true, part: 1) == [])
    }

    @Test func `a slow endpoint is slow on every route`() {
        #expect(run(tempos) == [])
        #expect(run(tempos, slowness: 12, part: 1) == [1])
    }

    @Test func `a route that is alone counts as it is`() {
        _ = run(tempos)
        watch.update(routes: [tempos[1]])
        #expect(tempos[1].scale == 1 << 16)
    }
}
