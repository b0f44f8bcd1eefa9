// A cluster in virtual time: servers with workers and a queue of their own, governed by the real
// governors. For tests that ask what becomes of limits and ejections.

import WeirPolicy
import WeirTime

/// How long a request's service takes, as a multiple of the server's mean.
enum ServiceLaw: CaseIterable, Sendable {
    case fixed, exponential, lognormal

    func draw(_ chance: inout Chance) -> Double {
        switch self {
        case .fixed: 1
        case .exponential: Stand.exponential(&chance)
        // Sigma 1: the 99th percentile is six times the mean.
        case .lognormal: Stand.exponentiated(Stand.normal(&chance) - 0.5)
        }
    }
}

/// One run. All time is virtual; a seed decides everything.
final class Stand {
    struct Server {
        var workers = 8
        /// Seconds.
        var mean = 0.01
        /// Multiplies the mean; infinite is a stall.
        var slowness = 1.0
        var errorShare = 0.0
        var busy = 0
        var line: [Int] = []
        var head = 0
    }

    private struct Request {
        var startedAt: Instant
        var endpoint: Int
        var isFailure = false
        /// Told apart from the one that had the number before.
        var generation = 0
        /// Given up by weir; the server does not know.
        var isGone = false
    }

    private enum Action { case arrival, done(Int), timeout(Int, generation: Int), tick }

    let law: ServiceLaw
    var chance: Chance
    var servers: [Server]
    let endpoints: [EndpointGovernor]
    let watch = ClusterWatch()
    private(set) var now = Instant(nanoseconds: 1_000_000_000_000)
    /// Arrivals a second.
    var load: Double
    /// Requests that may wait for a place, and seconds that they may.
    var lineLength = 50
    var hasLine = true
    /// Seconds after which weir gives up on an answer.
    var timeout: Double?
    private(set) var isPanicking = false
    private(set) var events: [EndpointEvent] = []
    private(set) var answered = 0
    private(set) var failed = 0
    private(set) var refused = 0
    private(set) var arrived = 0
    /// Seconds of work that the servers have begun.
    private(set) var worked = 0.0
    /// Latencies of answers, in nanoseconds, since the last `mark`.
    private(set) var latencies = LatencyCounts()
    /// Checked at each tick.
    var inspect: (Stand) -> Void = { _ in }

    private var requests: [Request] = []
    private var free: [Int] = []
    private var waiting: [Instant] = []
    private var waitingHead = 0
    private var agenda = Agenda<Action>()
    private static let tickLength = Interval.milliseconds(50)

    init(
        seed: UInt64, servers: [Server], law: ServiceLaw, load: Double,
        concurrency: ConcurrencySettings = ConcurrencySettings(),
        outlier: OutlierSettings = OutlierSettings(), slowStart: Interval = .zero
    ) {
        self.law = law
        self.servers = servers
        self.load = load
        chance = Chance(seed: seed)
        endpoints = servers.indices.map { EndpointGovernor(id: UInt32($0 + 1)) }
        watch.update(
            outlier: outlier, concurrency: concurrency, slowStart: slowStart, endpoints: endpoints)
        agenda.add(.tick, at: now)
        agenda.add(.arrival, at: now)
    }

    /// Answers a second that all servers together can give.
    var capacity: Double {
        servers.reduce(0) { $0 + Double($1.workers) / ($1.mean * $1.slowness) }
    }

    /// The share of all workers' time that was work, over the seconds since the last `mark`: goodput
    /// without the chance in the service times.
    func goodput(over seconds: Double) -> Double {
        worked / (seconds * Double(servers.reduce(0) { $0 + $1.workers }))
    }

    func mark() {
        (answered, failed, refused, arrived) = (0, 0, 0, 0)
        worked = 0
        latencies.clear()
        events.removeAll()
    }

    func run(seconds: Double) {
        let end = now + Interval(nanoseconds: Int64(seconds * 1e9))
        while let (time, action) = agenda.popFirst(before: end) {
            now = time
            switch action {
            case .arrival: arrive()
            case .done(let number): finish(number)
            case .timeout(let number, let generation): giveUp(number, generation)
            case .tick: tick()
            }
        }
        now = end
    }

    private func tick() {
        isPanicking = watch.tick(
            now: now, isQueueStanding: waitingHead < waiting.count, chance: &chance,
            events: &events)
        inspect(self)
        serveLine()
        agenda.add(.tick, at: now + Self.tickLength)
    }

    private func arrive() {
        arrived += 1
        agenda.add(
            .arrival,
            at: now + Interval(nanoseconds: Int64(Stand.exponential(&chance) * 1e9 / load)))
        if waitingHead == waiting.count, send() { return }
        if hasLine, waiting.count - waitingHead < lineLength {
            waiting.append(now)
        } else {
            refused += 1
        }
    }

    private func serveLine() {
        while waitingHead < waiting.count {
            if now - waiting[waitingHead] > .milliseconds(100) {
                waitingHead += 1
                refused += 1
            } else if send() {
                waitingHead += 1
            } else {
                break
            }
        }
        if waitingHead > 1024 {
            waiting.removeFirst(waitingHead)
            waitingHead = 0
        }
    }

    /// The less loaded of two that have room.
    private func send() -> Bool {
        let open = endpoints.indices.filter { endpoints[$0].hasRoom(isPanicking: isPanicking) }
        guard !open.isEmpty else { return false }
        let one = open[Int(chance.below(UInt32(open.count)))]
        let two = open[Int(chance.below(UInt32(open.count)))]
        let index =
            endpoints[one].requestsInFlight <= endpoints[two].requestsInFlight ? one : two
        guard endpoints[index].acquire(now: now, isPanicking: isPanicking) else { return false }
        let number = free.popLast() ?? requests.count
        let isFailure = Stand.share(&chance) < servers[index].errorShare
        let generation = number == requests.count ? 0 : requests[number].generation + 1
        let request = Request(
            startedAt: now, endpoint: index, isFailure: isFailure, generation: generation)
        if let timeout {
            agenda.add(
                .timeout(number, generation: generation),
                at: now + Interval(nanoseconds: Int64(timeout * 1e9)))
        }
        if number == requests.count { requests.append(request) } else { requests[number] = request }
        if servers[index].busy < servers[index].workers {
            begin(number)
        } else {
            servers[index].line.append(number)
        }
        return true
    }

    private func begin(_ number: Int) {
        let index = requests[number].endpoint
        servers[index].busy += 1
        let seconds = servers[index].mean * servers[index].slowness * law.draw(&chance)
        guard seconds < 1e6 else { return }
        worked += seconds
        agenda.add(.done(number), at: now + Interval(nanoseconds: Int64(seconds * 1e9)))
    }

    private func giveUp(_ number: Int, _ generation: Int) {
        guard requests[number].generation == generation, !requests[number].isGone else { return }
        requests[number].isGone = true
        failed += 1
        endpoints[requests[number].endpoint].finish(
            .timeout, startedAt: requests[number].startedAt, hasAnswered: false, now: now)
        serveLine()
    }

    private func finish(_ number: Int) {
        let request = requests[number]
        let index = request.endpoint
        if !request.isGone {
            let outcome: AttemptOutcome = request.isFailure ? .serverError(status: 500) : .success
            endpoints[index].answered(
                outcome, startedAt: request.startedAt, routeScale: 1 << 16, now: now)
            endpoints[index].finish(
                outcome, startedAt: request.startedAt, hasAnswered: true, now: now)
            latencies.add(now - request.startedAt)
            if request.isFailure { failed += 1 } else { answered += 1 }
        }
        // Its timeout finds nobody.
        requests[number].isGone = true
        free.append(number)
        servers[index].busy -= 1
        if servers[index].head < servers[index].line.count {
            let next = servers[index].line[servers[index].head]
            servers[index].head += 1
            if servers[index].head > 1024 {
                servers[index].line.removeFirst(servers[index].head)
                servers[index].head = 0
            }
            begin(next)
        }
        serveLine()
    }
}

// MARK: Chance without a C library

extension Stand {
    static func share(_ chance: inout Chance) -> Double {
        Double(chance.next() >> 11) / Double(1 << 53 as UInt64)
    }

    static func exponential(_ chance: inout Chance) -> Double {
        -logarithm(max(share(&chance), 1e-300))
    }

    /// Twelve uniform numbers make a normal one that is good to three and a half sigma.
    static func normal(_ chance: inout Chance) -> Double {
        var sum = -6.0
        for _ in 0..<12 { sum += share(&chance) }
        return sum
    }

    static func exponentiated(_ x: Double) -> Double {
        // e^x = (e^(x / 256))^256
        let y = x / 256
        var power = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4)))
        for _ in 0..<8 { power *= power }
        return power
    }

    static func logarithm(_ x: Double) -> Double {
        let y = (x.significand - 1.5) / (x.significand + 1.5)
        let square = y * y
        let series =
            2 * y * (1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))))
        return series + 0.4054651081081644 + Double(x.exponent) * 0.6931471805599453
    }
}

/// What happens when, in order; equal times in the order of their addition.
struct Agenda<Action> {
    private var heap: [(time: Instant, order: Int, action: Action)] = []
    private var count = 0

    mutating func add(_ action: Action, at time: Instant) {
        heap.append((time, count, action))
        count += 1
        var index = heap.count - 1
        while index > 0, isBefore(index, (index - 1) / 2) {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    mutating func popFirst(before end: Instant) -> (Instant, Action)? {
        guard let first = heap.first, first.time < end else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < heap.count && isBefore(child, least) { least = child }
            if least == index { break }
            heap.swapAt(index, least)
            index = least
        }
        return (first.time, first.action)
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        heap[a].time == heap[b].time ? heap[a].order < heap[b].order : heap[a].time < heap[b].time
    }
}
