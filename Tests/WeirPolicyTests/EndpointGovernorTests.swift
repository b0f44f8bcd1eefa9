// One endpoint's places, rows of failures, ejection by a worker, probation, and the operator.

import Testing
import WeirPolicy
import WeirTime

/// A cluster of endpoints whose attempts the test makes one by one.
private final class Bench {
    let endpoints: [EndpointGovernor]
    let watch = ClusterWatch()
    let cluster = ClusterGovernor(
        settings: ClusterSettings(), queue: QueueSettings(),
        budget: RetryBudget(RetryBudgetSettings()))
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var chance: Chance
    var isPanicking = false
    var events: [EndpointEvent] = []
    var outlier: OutlierSettings
    var concurrency: ConcurrencySettings
    var slowStart = Interval.zero

    init(
        _ count: Int, seed: UInt64 = 1, outlier: OutlierSettings = Bench.ejecting,
        concurrency: ConcurrencySettings = ConcurrencySettings()
    ) {
        endpoints = (1...count).map { EndpointGovernor(id: UInt32($0)) }
        chance = Chance(seed: seed)
        self.outlier = outlier
        self.concurrency = concurrency
        update()
        tick()
    }

    static var ejecting: OutlierSettings {
        var settings = OutlierSettings()
        settings.mode = .enforce
        return settings
    }

    func update(_ named: [EndpointGovernor]? = nil) {
        watch.update(
            outlier: outlier, concurrency: concurrency, slowStart: slowStart,
            endpoints: named ?? endpoints)
    }

    func tick(after length: Interval = .milliseconds(50)) {
        now = now + length
        isPanicking = watch.tick(
            now: now, isQueueStanding: false, chance: &chance, events: &events)
    }

    func pass(_ length: Interval) {
        let end = now + length
        while now < end { tick() }
    }

    /// One attempt, where the endpoint has a place.
    @discardableResult
    func attempt(
        _ index: Int, _ outcome: AttemptOutcome, lasting: Interval = .milliseconds(1)
    ) -> Bool {
        let start = now
        guard endpoints[index].acquire(now: start, isPanicking: isPanicking) else { return false }
        now = now + lasting
        endpoints[index].finish(outcome, startedAt: start, hasAnswered: false, now: now)
        return true
    }

    func state(_ index: Int) -> String { "\(endpoints[index].inspection.state)" }

    var ejections: [EjectionReason] {
        events.compactMap { if case .ejected(let reason, _, _) = $0.kind { reason } else { nil } }
    }
}

@Suite struct EndpointGovernorTests {
    // MARK: Places

    @Test func `I15: places are exact, within the limit, and all come back`() async {
        var concurrency = ConcurrencySettings()
        concurrency.mode = .enforce
        (concurrency.minimum, concurrency.initial, concurrency.maximum) = (3, 3, 3)
        let bench = Bench(1, concurrency: concurrency)
        let endpoint = bench.endpoints[0]
        let start = bench.now
        let taken = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var taken = 0
                    for step in 0..<20_000 {
                        let now = start + .microseconds(Int64(step))
                        guard endpoint.acquire(now: now, isPanicking: false) else { continue }
                        taken += 1
                        #expect((1...3).contains(endpoint.requestsInFlight))
                        if step % 2 == 0 {
                            endpoint.answered(
                                .success, startedAt: now, routeScale: 1 << 16, now: now)
                        }
                        endpoint.finish(
                            .success, startedAt: now, hasAnswered: step % 2 == 0, now: now)
                    }
                    return taken
                }
            }
            return await group.reduce(0, +)
        }
        #expect(taken > 20_000)
        #expect(endpoint.requestsInFlight == 0)
        #expect(endpoint.hasRoom(isPanicking: false))
    }

    @Test func `a full endpoint has no room, with or without panic`() {
        var concurrency = ConcurrencySettings()
        concurrency.mode = .enforce
        (concurrency.minimum, concurrency.initial, concurrency.maximum) = (2, 2, 2)
        let bench = Bench(1, concurrency: concurrency)
        let endpoint = bench.endpoints[0]
        for _ in 0..<2 { #expect(endpoint.acquire(now: bench.now, isPanicking: false)) }
        for isPanicking in [false, true] {
            #expect(!endpoint.hasRoom(isPanicking: isPanicking))
            #expect(!endpoint.acquire(now: bench.now, isPanicking: isPanicking))
        }
        endpoint.finish(.cancelled, startedAt: bench.now, hasAnswered: false, now: bench.now)
        #expect(endpoint.hasRoom(isPanicking: false))
    }

    @Test func `a limit in shadow mode refuses nobody and counts whom it would have`() {
        var concurrency = ConcurrencySettings()
        concurrency.mode = .shadow
        (concurrency.minimum, concurrency.initial, concurrency.maximum) = (2, 2, 2)
        let bench = Bench(1, concurrency: concurrency)
        let endpoint = bench.endpoints[0]
        for _ in 0..<5 { #expect(endpoint.acquire(now: bench.now, isPanicking: false)) }
        #expect(endpoint.wouldExceed == 3)
        #expect(endpoint.inspection.shadow?.limit == 2)
        #expect(endpoint.currentLimit == .max)
    }

    // MARK: Rows of failures

    @Test func `five failures in a row eject, at the fifth and not before`() {
        let bench = Bench(2)
        for _ in 0..<4 { bench.attempt(0, .serverError(status: 500)) }
        bench.attempt(0, .success)
        for count in 1...5 {
            #expect(bench.state(0) == "available", "after \(count - 1)")
            bench.attempt(0, .serverError(status: 500))
        }
        #expect(bench.state(0) == "ejected")
        #expect(!bench.endpoints[0].hasRoom(isPanicking: false))
        #expect(!bench.attempt(0, .success))
        bench.tick()
        #expect(bench.ejections == [.consecutive5xx])
    }

    @Test func `what says nothing about the endpoint neither counts nor breaks a row`() {
        let bench = Bench(2)
        for _ in 0..<4 { bench.attempt(0, .connectFailure) }
        for _ in 0..<9 {
            bench.attempt(0, .cancelled)
            bench.attempt(0, .unsent)
        }
        #expect(bench.state(0) == "available")
        bench.attempt(0, .reset)
        #expect(bench.state(0) == "ejected")
    }

    @Test func `a reset amid the body is one more failure, an error counted at its head is not`() {
        let bench = Bench(2)
        func end(_ head: AttemptOutcome, _ end: AttemptOutcome) {
            let start = bench.now
            #expect(bench.endpoints[0].acquire(now: start, isPanicking: false))
            bench.endpoints[0].answered(
                head, startedAt: start, routeScale: 1 << 16, now: start)
            bench.endpoints[0].finish(end, startedAt: start, hasAnswered: true, now: start)
        }
        for _ in 0..<4 { end(.serverError(status: 500), .serverError(status: 500)) }
        #expect(bench.state(0) == "available")
        end(.success, .success)
        end(.serverError(status: 500), .reset)
        end(.serverError(status: 500), .reset)
        #expect(bench.state(0) == "available")
        end(.serverError(status: 500), .cancelled)
        #expect(bench.state(0) == "ejected")
    }

    @Test func `an answer whose end says what it is worth counts by its end`() {
        let bench = Bench(2)
        func call(_ end: AttemptOutcome) {
            let start = bench.now
            #expect(bench.endpoints[0].acquire(now: start, isPanicking: false))
            var permit = Permit(
                cluster: bench.cluster, endpoint: bench.endpoints[0], startedAt: start)
            permit.begun(tempo: nil, now: start + .milliseconds(1))
            // The head alone is no success: it would end the row.
            var verdicts: [WaitVerdict] = []
            #expect(bench.cluster.take())
            permit.settle(end, now: start + .milliseconds(2), verdicts: &verdicts)
        }
        for _ in 0..<4 { call(.serverError(status: 503)) }
        call(.cancelled)
        call(.success)
        for count in 1...5 {
            #expect(bench.state(0) == "available", "after \(count - 1)")
            call(count == 3 ? .reset : .serverError(status: 500))
        }
        #expect(bench.state(0) == "ejected")
        #expect(bench.endpoints[0].requestsInFlight == 0)
    }

    @Test func `only a gateway's failures fill a gateway's row`() {
        var outlier = Bench.ejecting
        (outlier.consecutive5xx, outlier.consecutiveGateway) = (0, 3)
        let bench = Bench(2, outlier: outlier)
        for status in [502, 503, 500, 502, 504] {
            bench.attempt(0, .serverError(status: status))
        }
        #expect(bench.state(0) == "available")
        bench.attempt(0, .timeout)
        #expect(bench.state(0) == "ejected")
        bench.tick()
        #expect(bench.ejections == [.consecutiveGateway])
    }

    @Test func `I22: the only endpoint is never ejected, nor the last available one`() {
        let alone = Bench(1)
        for _ in 0..<50 { #expect(alone.attempt(0, .connectFailure)) }
        #expect(alone.state(0) == "available")

        var outlier = Bench.ejecting
        outlier.maxEjectionPercent = 100
        outlier.panicThreshold = 0
        let bench = Bench(4, outlier: outlier)
        for _ in 0..<300 {
            for index in 0..<4 { bench.attempt(index, .connectFailure) }
            bench.tick()
            #expect(bench.endpoints.contains { $0.hasRoom(isPanicking: bench.isPanicking) })
            #expect(bench.endpoints.count(where: \.isAvailable) >= 1)
        }
    }

    @Test func `I21: never more are ejected than the cap allows, and none in panic`() {
        for (count, percent, most) in [(2, 10, 1), (10, 50, 5), (10, 30, 3), (7, 50, 3)] {
            var outlier = Bench.ejecting
            outlier.maxEjectionPercent = percent
            outlier.panicThreshold = 90
            let bench = Bench(count, seed: UInt64(count), outlier: outlier)
            for _ in 0..<400 {
                let wasPanicking = bench.isPanicking
                let before = bench.watch.ejected
                for index in 0..<count { bench.attempt(index, .serverError(status: 503)) }
                #expect(bench.watch.ejected <= (wasPanicking ? before : most))
                bench.tick()
            }
            #expect(bench.ejections.count > 0)
        }
    }

    @Test func `shadow mode ejects nobody and says whom it would`() {
        var outlier = Bench.ejecting
        outlier.mode = .shadow
        let bench = Bench(3, outlier: outlier)
        for _ in 0..<50 { #expect(bench.attempt(0, .serverError(status: 500))) }
        bench.tick()
        #expect(bench.state(0) == "available")
        guard case .ejected(.consecutive5xx, _, isShadow: true)? = bench.events.first?.kind else {
            Issue.record("\(bench.events)")
            return
        }
        // Not again while it would have been out.
        #expect(bench.ejections.count == 1)
    }

    // MARK: Probation

    @Test func `I23: an ejected endpoint gets nothing, one on probation one request at a time`() {
        let bench = Bench(2)
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        while bench.state(0) == "ejected" {
            #expect(!bench.attempt(0, .success))
            bench.tick()
        }
        #expect(bench.state(0) == "probation")
        let endpoint = bench.endpoints[0]
        for good in 1...5 {
            let start = bench.now
            #expect(endpoint.acquire(now: start, isPanicking: false), "request \(good)")
            #expect(!endpoint.hasRoom(isPanicking: false))
            #expect(!endpoint.acquire(now: start, isPanicking: false))
            bench.tick()
            #expect(endpoint.requestsInFlight == 1)
            endpoint.finish(.success, startedAt: start, hasAnswered: false, now: bench.now)
        }
        #expect(bench.state(0) == "available")
        bench.tick()
        #expect(bench.events.contains { $0.kind == .readmitted })
    }

    @Test func `a failure on probation ejects again, for longer`() {
        let bench = Bench(2)
        var lengths: [Int64] = []
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        for _ in 0..<12 {
            let start = bench.now
            while bench.state(0) == "ejected" { bench.tick() }
            lengths.append((bench.now - start).nanoseconds / 1_000_000)
            bench.attempt(0, .success)
            bench.attempt(0, .reset)
        }
        for (index, length) in lengths.enumerated() {
            let whole = min(Int64(5000) << Int64(index), 300_000)
            #expect((whole / 2...whole + 50).contains(length), "\(index): \(length) ms")
        }
    }

    @Test func `I24: however often it fails, an endpoint is tried again within 300 s`() {
        for seed in 0..<5 as Range<UInt64> {
            let bench = Bench(3, seed: seed)
            var lastTry = bench.now
            for _ in 0..<8_000 {
                if bench.attempt(0, .timeout) {
                    #expect(bench.now - lastTry <= .milliseconds(301_000))
                    lastTry = bench.now
                }
                bench.tick(after: .milliseconds(500))
            }
            #expect(bench.ejections.count > 10)
        }
    }

    @Test func `failures that began before the readmission are history`() {
        let bench = Bench(2)
        let endpoint = bench.endpoints[0]
        let old = bench.now
        for _ in 0..<9 { #expect(endpoint.acquire(now: old, isPanicking: false)) }
        bench.tick()
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        while bench.state(0) == "ejected" { bench.tick() }
        // Neither do they fail the probation, nor does a success of old pass it.
        for _ in 0..<2 {
            endpoint.finish(.timeout, startedAt: old, hasAnswered: false, now: bench.now)
        }
        #expect(bench.state(0) == "probation")
        for _ in 0..<5 { bench.attempt(0, .success) }
        #expect(bench.state(0) == "available")
        for _ in 0..<7 {
            endpoint.finish(.timeout, startedAt: old, hasAnswered: false, now: bench.now)
        }
        #expect(bench.state(0) == "available")
        #expect(endpoint.requestsInFlight == 0)
    }

    @Test func `the count of ejections falls with each minute of health`() {
        let bench = Bench(2)
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        for _ in 0..<2 {
            while bench.state(0) == "ejected" { bench.tick() }
            bench.attempt(0, .reset)
        }
        while bench.state(0) == "ejected" { bench.tick() }
        for _ in 0..<5 { bench.attempt(0, .success) }
        #expect(bench.endpoints[0].inspection.ejections == 3)
        bench.pass(.milliseconds(60_500))
        #expect(bench.endpoints[0].inspection.ejections == 2)
        bench.pass(.milliseconds(120_500))
        #expect(bench.endpoints[0].inspection.ejections == 0)
    }

    // MARK: Health, the operator, busy

    @Test func `a green health check does not readmit what live traffic has ejected`() {
        let bench = Bench(2)
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        bench.endpoints[0].setHealthy(false, now: bench.now)
        bench.endpoints[0].setHealthy(true, now: bench.now)
        #expect(bench.state(0) == "ejected")
        #expect(!bench.attempt(0, .success))
    }

    @Test func `in panic all but the drained are used`() {
        let bench = Bench(4)
        for index in 0..<3 { bench.endpoints[index].setHealthy(false, now: bench.now) }
        bench.endpoints[2].drain()
        bench.tick()
        // One of three: the drained one is none of the cluster's any more.
        #expect(bench.isPanicking)
        #expect((0..<4).map { bench.attempt($0, .success) } == [true, true, false, true])
        bench.endpoints[0].setHealthy(true, now: bench.now)
        bench.tick()
        #expect(!bench.isPanicking)
        #expect((0..<4).map { bench.attempt($0, .success) } == [true, false, false, true])
        let panics = bench.events.filter { $0.endpoint == 0 }.map(\.kind)
        #expect(panics == [.panicBegan, .panicEnded])
    }

    @Test func `a cluster that recovers in panic leaves it`() {
        var outlier = Bench.ejecting
        outlier.maxEjectionPercent = 100
        let bench = Bench(4, outlier: outlier)
        for index in 0..<3 {
            for _ in 0..<5 { bench.attempt(index, .serverError(status: 500)) }
        }
        bench.tick()
        #expect(bench.isPanicking)
        for _ in 0..<400 {
            for index in 0..<4 { bench.attempt(index, .success) }
            bench.tick()
        }
        #expect(!bench.isPanicking)
        #expect(bench.watch.ejected == 0)
    }

    @Test func `the operator ejects, readmits and drains`() {
        let bench = Bench(1)
        #expect(bench.endpoints[0].eject(for: .seconds(2), now: bench.now))
        #expect(bench.state(0) == "ejected")
        #expect(bench.endpoints[0].inspection.reason == .manual)
        bench.endpoints[0].readmit(now: bench.now)
        #expect(bench.attempt(0, .success))
        bench.endpoints[0].eject(for: .seconds(2), now: bench.now)
        bench.pass(.milliseconds(2100))
        #expect(bench.state(0) == "probation")
        bench.endpoints[0].drain()
        #expect(!bench.endpoints[0].hasRoom(isPanicking: true))
        bench.endpoints[0].readmit(now: bench.now)
        #expect(bench.attempt(0, .success))
    }

    @Test func `three busy answers in a row pause for as long as they ask, at most 30 s`() {
        let bench = Bench(3)
        bench.attempt(0, .busy(retryAfter: .seconds(3600)))
        bench.attempt(0, .busy(retryAfter: .seconds(3600)))
        bench.attempt(0, .success)
        for _ in 0..<3 {
            #expect(bench.state(0) == "available")
            bench.attempt(0, .busy(retryAfter: .seconds(3600)))
        }
        #expect(bench.state(0) == "paused")
        #expect(!bench.attempt(0, .success))
        bench.pass(.milliseconds(29_800))
        #expect(bench.state(0) == "paused")
        bench.pass(.milliseconds(300))
        #expect(bench.state(0) == "available")
        #expect(bench.ejections.isEmpty)
        // The last one available is not paused.
        for index in [0, 1, 2] {
            for _ in 0..<3 { bench.attempt(index, .busy(retryAfter: .seconds(9))) }
        }
        #expect((0..<3).map(bench.state) == ["paused", "paused", "available"])
    }

    @Test func `who joins later starts slowly, who was there at the start does not`() {
        let bench = Bench(2)
        bench.slowStart = .seconds(10)
        bench.update()
        let late = EndpointGovernor(id: 9)
        #expect(bench.endpoints[0].weightScale(now: bench.now) == 1 << 16)
        bench.update(bench.endpoints + [late])
        bench.tick()
        #expect(late.weightScale(now: bench.now) == 6554)
        let half = late.weightScale(now: bench.now + .seconds(5))
        #expect((32000...33000).contains(half))
        #expect(late.weightScale(now: bench.now + .seconds(10)) == 1 << 16)
        #expect(bench.endpoints[0].weightScale(now: bench.now) == 1 << 16)
    }

    @Test func `a reload keeps what is known of the endpoints that stay`() {
        let bench = Bench(3)
        for _ in 0..<5 { bench.attempt(0, .serverError(status: 500)) }
        for _ in 0..<4 { bench.attempt(1, .serverError(status: 500)) }
        bench.update([bench.endpoints[0], bench.endpoints[1]])
        #expect(bench.state(0) == "ejected")
        bench.tick()
        // A third is gone, so the cap is one, and it is used up.
        bench.attempt(1, .serverError(status: 500))
        #expect(bench.state(1) == "available")
        bench.outlier.mode = .off
        bench.update([bench.endpoints[0], bench.endpoints[1]])
        #expect(bench.state(0) == "available")
    }
}
