// Limits and health checks in shadow mode: they keep state of their own, and stand in nobody's way.

import Testing
import WeirTime

@testable import WeirPolicy

private func governor(_ change: (inout ClusterSettings) -> Void) -> ClusterGovernor {
    var settings = ClusterSettings()
    change(&settings)
    return ClusterGovernor(
        settings: settings, queue: QueueSettings(), budget: RetryBudget(RetryBudgetSettings()))
}

@Suite struct `A health check in shadow mode` {
    @Test func `is reported and takes nobody out`() {
        let endpoint = EndpointGovernor(id: 1)
        let watch = ClusterWatch()
        watch.update(
            outlier: OutlierSettings(), concurrency: ConcurrencySettings(), slowStart: .zero,
            endpoints: [endpoint])
        let cluster = governor { _ in }
        var chance = Chance(seed: 1)
        func events() -> [EndpointEvent.Kind] {
            var events: [EndpointEvent] = []
            watch.tick(
                now: Instant(nanoseconds: 1), governor: cluster, chance: &chance, events: &events)
            return events.map(\.kind)
        }
        #expect(events() == [])
        endpoint.setHealthyInShadow(false)
        #expect(endpoint.isAvailable && endpoint.inspection.wouldBeUnhealthy)
        #expect(events() == [.wouldBeUnhealthy])
        #expect(events() == [])
        endpoint.setHealthyInShadow(true)
        #expect(events() == [.wouldBeHealthy])
        #expect(!endpoint.inspection.wouldBeUnhealthy)
    }
}

@Suite struct `Limits in shadow mode` {
    @Test func `let all pass, and say who would have found no place`() {
        let governor = governor { $0.shadow.maxRequests = 2 }
        for _ in 0..<4 { #expect(governor.take()) }
        #expect(governor.enterInShadow() && governor.enterInShadow())
        #expect(!governor.enterInShadow())
        // Who would have been refused has no place to give back.
        governor.leaveInShadow()
        #expect(governor.enterInShadow())
        #expect(!governor.enterInShadow())
        #expect(governor.requestsInFlight == 4)
    }

    @Test func `count the room of their queue`() {
        let governor = governor {
            $0.shadow.maxRequests = 2
            $0.shadow.queueLength = 3
        }
        #expect((0..<7).map { _ in governor.enterInShadow() }.count { $0 } == 5)
    }

    @Test func `are none where none is set`() {
        let governor = governor { $0.shadow.queueLength = 3 }
        for _ in 0..<10_000 { #expect(governor.enterInShadow()) }
        #expect(!governor.isQueueFullInShadow)
    }

    @Test func `hold for retries`() {
        let governor = governor { $0.shadow.maxRetries = 1 }
        #expect(governor.takeRetry() && governor.takeRetry())
        #expect(governor.takeRetryInShadow())
        #expect(!governor.takeRetryInShadow())
        governor.retryEndedInShadow()
        #expect(governor.takeRetryInShadow())
    }

    @Test func `hold for requests that wait`() {
        let governor = governor {
            $0.maxRequests = 0
            $0.hasQueue = true
            $0.shadow.maxWaiting = 1
        }
        var verdicts: [WaitVerdict] = []
        for waiter in 1...2 as ClosedRange<UInt64> {
            let request = AdmissionQueue.Request(
                priority: 0, tenant: 0, weight: 1, deadline: .distantFuture, waiter: waiter,
                isRetry: false)
            _ = governor.wait(request, now: Instant(nanoseconds: 1), verdicts: &verdicts)
            #expect(governor.isQueueFullInShadow == (waiter == 2))
        }
    }

    @Test func `that are found by measurement add up over the endpoints in use`() {
        var concurrency = ConcurrencySettings()
        concurrency.mode = .shadow
        (concurrency.minimum, concurrency.initial, concurrency.maximum) = (3, 3, 3)
        let governor = governor { $0.shadow.queueLength = 1 }
        let endpoints = [1, 2].map { EndpointGovernor(id: $0) }
        let watch = ClusterWatch()
        var chance = Chance(seed: 1)
        var events: [EndpointEvent] = []
        func places() -> Int {
            watch.tick(
                now: Instant(nanoseconds: 1), governor: governor, chance: &chance, events: &events)
            var count = 0
            while count < 100, governor.enterInShadow() { count += 1 }
            for _ in 0..<count { governor.leaveInShadow() }
            return count
        }
        func update() {
            watch.update(
                outlier: OutlierSettings(), concurrency: concurrency, slowStart: .zero,
                endpoints: endpoints)
        }
        update()
        #expect(places() == 7)
        endpoints[0].drain()
        #expect(places() == 4)
        endpoints[0].readmit(now: Instant(nanoseconds: 1))
        #expect(places() == 7)
        concurrency.mode = .enforce
        update()
        #expect(places() == 100, "what is enforced is no shadow")
    }
}
