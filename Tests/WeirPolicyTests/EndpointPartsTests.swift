// The parts that an endpoint's governor is made of: counts by duration and age, averages, health.

import Testing
import WeirPolicy
import WeirTime

@Suite struct EndpointPartsTests {
    @Test func `quantiles are true to within three percent`() {
        var chance = Chance(seed: 1)
        for magnitude in [20.0, 900, 15_000, 4_000_000] {
            var counts = LatencyCounts()
            var values: [Double] = []
            for _ in 0..<2000 {
                let microseconds = magnitude * (1 + 9 * Stand.share(&chance))
                counts.add(Interval(nanoseconds: Int64(microseconds * 1000)))
                values.append(microseconds * 1000)
            }
            values.sort()
            for share in [0.05, 0.5, 0.99] {
                let truth = values[Int(share * 2000)]
                let found = counts.quantile(share)
                #expect(abs(found / truth - 1) < 0.03, "\(share) of \(magnitude): \(found)")
            }
        }
    }

    @Test func `a window forgets what is taken out of it`() {
        var window = LatencyCounts()
        var slot = LatencyCounts()
        for _ in 0..<10 { slot.add(.milliseconds(100)) }
        window.add(slot)
        for _ in 0..<10 { window.add(.milliseconds(5)) }
        #expect(window.quantile(0.9) > 90e6)
        window.subtract(slot)
        #expect(window.total == 10)
        #expect(window.quantile(0.99) < 6e6)
    }

    @Test func `the slowest twentieth does not move the mean`() {
        var counts = LatencyCounts()
        for _ in 0..<96 { counts.add(.milliseconds(10)) }
        let before = counts.mean(cappedAt: 0.95)
        for _ in 0..<4 { counts.add(.seconds(30)) }
        #expect(abs(counts.mean(cappedAt: 0.95) / before - 1) < 0.05)
    }

    @Test func `unfinished requests are counted by age, never as older than they are`() {
        let ring = UnfinishedRing()
        let start = Instant(nanoseconds: 77_000_000_000)
        for number in 0..<10 { ring.add(start + .milliseconds(Int64(number) * 100)) }
        let now = start + .milliseconds(1000)
        #expect(ring.count(olderThan: 0, now: now) == 10)
        // Ages are 1000, 900, ... 100 ms; a slot is 34 ms.
        #expect((4...5).contains(ring.count(olderThan: 500_000_000, now: now)))
        #expect(ring.oldest(now: now).map { now.nanoseconds - $0 } ?? 0 >= 1_000_000_000)
        for number in 0..<10 { ring.remove(start + .milliseconds(Int64(number) * 100)) }
        #expect(ring.count(olderThan: 0, now: now) == 0)
        #expect(ring.oldest(now: now) == nil)
    }

    @Test func `a request that outlives the ring is taken for younger`() {
        let ring = UnfinishedRing()
        let start = Instant(nanoseconds: 5_000_000_000)
        ring.add(start)
        let later = start + Interval(nanoseconds: UnfinishedRing.span) + .milliseconds(200)
        #expect(ring.count(olderThan: 1_000_000_000, now: later) == 0)
        #expect(ring.count(olderThan: 1_000_000_000, now: later + .seconds(2)) == 1)
    }

    @Test func `health turns after as many probes in a row as the settings say`() {
        var settings = HealthCheckSettings()
        (settings.unhealthy, settings.healthy) = (3, 2)
        var state = HealthState()
        for isSuccess in [false, false, true, false, false] {
            #expect(state.record(isSuccess: isSuccess, settings) == nil)
        }
        #expect(state.record(isSuccess: false, settings) == .becameUnhealthy)
        #expect(!state.isHealthy)
        #expect(state.record(isSuccess: false, settings) == nil)
        #expect(state.record(isSuccess: true, settings) == nil)
        #expect(state.record(isSuccess: false, settings) == nil)
        #expect(state.record(isSuccess: true, settings) == nil)
        #expect(state.record(isSuccess: true, settings) == .becameHealthy)
    }

    @Test func `the latency rises at once, falls slowly and fades without samples`() {
        let endpoint = EndpointGovernor(id: 1)
        var now = Instant(nanoseconds: 1_000_000_000)
        func answer(after latency: Interval) {
            #expect(endpoint.acquire(now: now, isPanicking: false))
            let start = now
            now = now + latency
            endpoint.answered(.success, startedAt: start, routeScale: 1 << 16, now: now)
            endpoint.finish(.success, startedAt: start, hasAnswered: true, now: now)
        }
        answer(after: .milliseconds(10))
        answer(after: .milliseconds(500))
        #expect(endpoint.latency(now: now) == 500_000_000)
        for _ in 0..<100 { answer(after: .milliseconds(10)) }
        // A second later: e^-0.1.
        let fallen = Double(endpoint.latency(now: now)) / 1e6
        #expect((400...480).contains(fallen), "\(fallen)")
        let faded = Double(endpoint.latency(now: now + .seconds(30))) / 1e6
        #expect((15...30).contains(faded), "\(faded)")
    }

    @Test func `a failure makes an endpoint look slow, however fast it is`() {
        let endpoint = EndpointGovernor(id: 1)
        let start = Instant(nanoseconds: 1_000_000_000)
        #expect(endpoint.acquire(now: start, isPanicking: false))
        let now = start + .milliseconds(1)
        endpoint.finish(.connectFailure, startedAt: start, hasAnswered: false, now: now)
        #expect(endpoint.latency(now: now) == 1_000_000_000)
    }

    @Test func `a slow route's latency is scaled before it counts`() {
        let endpoint = EndpointGovernor(id: 1)
        let start = Instant(nanoseconds: 1_000_000_000)
        #expect(endpoint.acquire(now: start, isPanicking: false))
        let now = start + .milliseconds(80)
        endpoint.answered(.success, startedAt: start, routeScale: 1 << 13, now: now)
        endpoint.finish(.success, startedAt: start, hasAnswered: true, now: now)
        #expect(endpoint.latency(now: now) == 10_000_000)
    }
}
