// The settings, streams and faults that a case of the sweep stands for.

import WeirPolicy
import WeirTime

extension SwarmCase {
    /// Each endpoint can do so much a second, whatever its shape.
    private static let capacity = 200.0

    var story: Scenario {
        // A stream of chance for each part: what is made smaller changes nothing else.
        var shape = Chance(seed: seed, label: "shape")
        let workers = [2, 4, 8, 16][Int(shape.below(4))]
        let laws: [ServiceLaw] = [.fixed, .exponential, .lognormal(sigma: 0.7)]
        // Two workers and eight places refuse one in sixty at 75 %, whoever is before them.
        let places = mustRecover ? max(workers * 4, 32) : workers * 4
        let nanoseconds = Double(workers) / Self.capacity * 1e9
        let model = EndpointModel(
            workers: workers, service: Interval(nanoseconds: Int64(nanoseconds)),
            law: laws[Int(shape.below(3))],
            backlog: shape.below(4) == 0 ? places : .max,
            dropsAbandoned: shape.below(2) == 0)
        let settings = settings(slowest: model.service)
        // What a silent endpoint was sent at last holds its place until it is given up.
        let aftermath = mustRecover ? settings.routes[0].timeout : .zero
        let end = stormy + aftermath + calm
        var scenario = Scenario(
            "sweep", description, length: end, streams: [], models: [model], settings: settings)
        scenario.streams = streams(service: model.service)
        scenario.faults = storm(service: model.service)
        scenario.windows = [Window("calm", stormy + aftermath + recovery, end)]
        return scenario
    }

    // MARK: Settings

    private func settings(slowest service: Interval) -> SimSettings {
        var chance = Chance(seed: seed, label: "settings")
        var cluster = SimCluster(endpoints: endpoints)
        let kinds = Balancer.Kind.allCases
        cluster.balancer.kind = kinds[Int(chance.below(UInt32(kinds.count)))]
        setQueue(&cluster, &chance)
        let mode: Mode = policies.contains(.shadow) ? .shadow : .enforce
        if policies.contains(.concurrency) { cluster.concurrency.mode = mode }
        cluster.concurrency.initial = 2 + Int(chance.below(30))
        if policies.contains(.outlier) { cluster.outlier.mode = mode }
        cluster.outlier.baseEjectionTime = .milliseconds(500 + Int64(chance.below(2000)))
        cluster.outlier.maxEjectionTime = .seconds(4)
        cluster.outlier.maxEjectionPercent = 10 + Int(chance.below(91))
        cluster.retryBudget.percent = 5 + Int(chance.below(30))
        cluster.retryBudget.minPerSecond = Double(chance.below(4))
        if policies.contains(.breaker) { cluster.breaker.mode = .enforce }
        cluster.breaker.openFor = .milliseconds(200 + Int64(chance.below(1000)))
        cluster.breaker.probes = 1 + Int(chance.below(4))
        if policies.contains(.slowStart) { cluster.slowStart = .seconds(2) }
        if policies.contains(.ceilings) {
            cluster.ceilings.maxRequests = 4 + Int(chance.below(60))
            cluster.ceilings.maxRetries = 1 + Int(chance.below(5))
        }
        var settings = SimSettings(
            clusters: [cluster], routes: routes(service: service, &chance))
        settings.classes = ["critical", "normal", "degraded", "bulk"]
        settings.controlInterval = .milliseconds(chance.below(2) == 0 ? 50 : 100)
        let delay = Interval.microseconds(20 + Int64(chance.below(500)))
        if policies.contains(.verdictDelay) { settings.verdictDelay = delay }
        settings.plans = plans(&chance)
        settings.assignments = (0..<12).map { _ in Int(chance.below(2)) }
        return settings
    }

    private func setQueue(_ cluster: inout SimCluster, _ chance: inout Chance) {
        cluster.ceilings.hasQueue = policies.contains(.queue)
        let wait = 20 + Int64(chance.below(200))
        cluster.queue.maxWait = .milliseconds(mustRecover ? max(wait, 100) : wait)
        cluster.queue.standingWait = .milliseconds(5 + Int64(chance.below(40)))
        let length = 1 + Int(chance.below(300))
        cluster.queue.maxLength = mustRecover ? max(length, 100) : length
        if policies.contains(.shares) { cluster.queue.minimumShares = [0, 0, 5, 2] }
    }

    private func routes(service: Interval, _ chance: inout Chance) -> [SimRoute] {
        var route = SimRoute()
        // Nearly never too short for calm weather.
        let multiple = Int64(12 + chance.below(40))
        route.timeout = max(
            .milliseconds(500), Interval(nanoseconds: service.nanoseconds * multiple))
        let attempts = 1 + Int(chance.below(3))
        let hasTryTimeout = chance.below(2) == 0
        if policies.contains(.retries) {
            var rules = RetryRules()
            rules.conditions = [
                .connectFailure, .resetBeforeResponse, .gatewayError, .perTryTimeout,
            ]
            rules.methods = 1
            rules.attempts = attempts
            if hasTryTimeout {
                rules.perTryTimeout = Interval(nanoseconds: service.nanoseconds * 10)
            }
            route.retry = rules
        }
        return [route]
    }

    private func plans(_ chance: inout Chance) -> [SimPlan] {
        (0..<2).map { _ in
            var plan = SimPlan()
            plan.weight = UInt16(1 + chance.below(4))
            let rate = Int64(5 + chance.below(100))
            let burst = Int64(1 + chance.below(50))
            let cap = 1 + Int(chance.below(20))
            if policies.contains(.rates) {
                plan.rate = RateLimit(count: rate, period: .seconds(1), burst: burst)
            }
            if policies.contains(.tenantCaps) { plan.concurrency = cap }
            return plan
        }
    }

    // MARK: Streams and faults

    private func streams(service: Interval) -> [Stream] {
        var chance = Chance(seed: seed, label: "streams")
        let full = Double(endpoints) * Self.capacity
        let stormyRate = full * Double(load) / 100
        let calmRate = full * Double(calmLoad) / 100
        let classes = 1 + Int(chance.below(4))
        return (0..<4).compactMap { priority in
            var draws = chance
            _ = chance.next()
            guard priority < classes else { return nil }
            let share = 1 / Double(classes)
            var stream = Stream(
                "class \(priority)",
                .open([
                    RatePoint(.zero, stormyRate * share), RatePoint(stormy, stormyRate * share),
                    RatePoint(stormy, calmRate * share),
                ]))
            stream.priority = UInt8(priority)
            stream.tenants =
                draws.below(2) == 0
                ? .even(first: 0, count: tenants)
                : .zipf(first: 0, count: tenants, exponent: 1)
            if draws.below(2) == 0 {
                stream.patience = max(
                    .milliseconds(400), Interval(nanoseconds: service.nanoseconds * 12))
                stream.sendsDeadline = draws.below(2) == 0
            }
            stream.retries.count = Int(draws.below(4))
            stream.retries.hasJitter = draws.below(2) == 0
            if stream.retries.hasJitter { stream.retries.delay = .milliseconds(200) }
            stream.retries.honoursRetryAfter = draws.below(2) == 0
            stream.isIdempotent = draws.below(4) != 0
            return stream
        }
    }

    /// Faults that are over when the stormy time is.
    private func storm(service: Interval) -> [Fault] {
        (0..<faults).map { number in
            var chance = Chance(seed: seed, label: "fault \(number)")
            let length = UInt32(clamping: stormy.millisecondsRoundedUp)
            let from = chance.below(length * 3 / 4)
            let until = from + 1 + chance.below(length - from - 1)
            let kind: Fault.Kind =
                switch chance.below(8) {
                case 0: .slow(2 + Double(chance.below(8)))
                case 1: .pause
                case 2: .errors(share: Double(1 + chance.below(10)) / 10, isFast: true)
                case 3: .errors(share: Double(1 + chance.below(10)) / 10, isFast: false)
                case 4: .silence(share: Double(1 + chance.below(10)) / 10)
                case 5: .busy(share: Double(1 + chance.below(10)) / 10, retryAfter: .seconds(1))
                case 6: .resets(share: Double(1 + chance.below(10)) / 10)
                default: .dead
                }
            // One, some or all of them.
            let mask = chance.below(3)
            let first = Int(chance.below(UInt32(endpoints)))
            let hit: [Int] =
                switch mask {
                case 0: [first]
                case 1: Array(first..<endpoints)
                default: Array(0..<endpoints)
                }
            return Fault(
                kind, from: .milliseconds(Int64(from)), until: .milliseconds(Int64(until)),
                endpoints: hit)
        }
    }
}
