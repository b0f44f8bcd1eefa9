// One simulated weir with its clients and endpoints, in virtual time.

import WeirPolicy
import WeirTime

/// What a run is to be besides its settings.
struct RunOptions: Sendable {
    /// How much is checked while it runs; all of it costs about as much again as the run.
    var checks = Oracles.Extent.cheap
    /// The request of this serial number has the class above its own.
    var raised: UInt64?
    /// The request of this serial number is asked after by `Simulation.attempts`.
    var watched: UInt64?
    /// A seeded mistake, so that a test can see an oracle find it.
    var sabotage = Sabotage.none

    enum Sabotage: Sendable {
        case none
        /// Every hundredth permit is never given back.
        case leaksPermits
        /// The queue is told that the worst class is the best.
        case swapsClasses
        /// Retries ask no budget.
        case ignoresBudget
    }
}

/// Drives the governors by the calls that the proxy makes, in its order: `Exchange+Admission`,
/// `Exchange+Retry` and `Exchange+Failure` are the originals. One worker, no network.
struct World: ~Copyable {
    let settings: SimSettings
    let scenario: Scenario
    let options: RunOptions
    let end: Int64
    /// What each request needs of its route.
    let routes: [RouteRow]

    struct RouteRow {
        let cluster: Int
        let priority: UInt8
        /// Nanoseconds.
        let timeout: Int64
        let tryTimeout: Int64
        let mostAttempts: Int
        /// `nil` where the route is the only one of its cluster.
        let tempo: RouteTempo?
    }

    var queue = EventQueue()
    var now: Int64 = 0
    var recorder: Recorder
    var oracles: Oracles

    // The governors.
    let clusters: [ClusterGovernor]
    let watches: [ClusterWatch]
    let breakers: [Breaker?]
    /// By cluster, the endpoints' range in the lists below.
    let ranges: [Range<Int>]
    let endpoints: ContiguousArray<EndpointGovernor>
    let clusterOf: ContiguousArray<Int>
    var balancers: ContiguousArray<Balancer>
    var verdicts: [WaitVerdict] = []
    var rates: RateBook
    var events: [EndpointEvent] = []

    // What they are put to.
    var stations: ContiguousArray<Station>
    var sources: ContiguousArray<Source>
    var requests: ContiguousArray<SimRequest> = []
    var freePlaces: ContiguousArray<Int> = []
    var serial: UInt64 = 0
    let workSeed: UInt64
    var isClosing = false
    var watchedAttempts = 0

    // Streams of chance, one for each use: what one draws shifts no other.
    var balancing: Chance
    var backoffs: Chance
    var control: Chance
    var clients: Chance
    var outcomes: Chance

    init(settings: SimSettings, scenario: Scenario, seed: UInt64, options: RunOptions) {
        self.settings = settings
        self.scenario = scenario
        self.options = options
        end = scenario.length.nanoseconds
        let rows = settings.routes.map { route in
            RouteRow(
                cluster: route.cluster, priority: route.priority,
                timeout: route.timeout.nanoseconds,
                tryTimeout: (route.retry?.perTryTimeout ?? .max).nanoseconds,
                mostAttempts: 1 + (route.retry?.attempts ?? 0),
                tempo: settings.routes.count { $0.cluster == route.cluster } > 1
                    ? RouteTempo() : nil)
        }
        routes = rows
        recorder = Recorder(scenario, classes: max(settings.classes.count, 1))
        var governors = ContiguousArray<EndpointGovernor>()
        var owners = ContiguousArray<Int>()
        var ranges: [Range<Int>] = []
        for (index, cluster) in settings.clusters.enumerated() {
            let first = governors.count
            for _ in cluster.endpoints {
                governors.append(EndpointGovernor(id: UInt32(governors.count + 1)))
                owners.append(index)
            }
            ranges.append(first..<governors.count)
        }
        (endpoints, clusterOf, self.ranges) = (governors, owners, ranges)
        clusters = settings.clusters.enumerated().map { index, cluster in
            let governor = ClusterGovernor(
                settings: cluster.ceilings, queue: cluster.queue,
                budget: RetryBudget(cluster.retryBudget))
            governor.update(
                settings: cluster.ceilings, queue: cluster.queue,
                endpoints: Array(governors[ranges[index]]))
            return governor
        }
        watches = settings.clusters.enumerated().map { index, cluster in
            let watch = ClusterWatch()
            watch.update(
                outlier: cluster.outlier, concurrency: cluster.concurrency,
                slowStart: cluster.slowStart, endpoints: Array(governors[ranges[index]]))
            watch.update(routes: rows.compactMap { $0.cluster == index ? $0.tempo : nil })
            return watch
        }
        breakers = settings.clusters.map { $0.breaker.mode == .off ? nil : Breaker($0.breaker) }
        balancers = ContiguousArray(
            settings.clusters.map { Balancer(settings: $0.balancer, endpoints: $0.endpoints) })
        rates = RateBook(settings, tenants: scenario.tenants)
        stations = ContiguousArray(governors.indices.map { Station(scenario.model($0)) })
        sources = ContiguousArray(scenario.streams.map { Source($0, seed: seed) })
        oracles = Oracles(settings, ranges: ranges, extent: options.checks)
        var work = Chance(seed: seed, label: "work")
        workSeed = work.next()
        balancing = Chance(seed: seed, label: "balancing")
        backoffs = Chance(seed: seed, label: "backoffs")
        control = Chance(seed: seed, label: "control")
        clients = Chance(seed: seed, label: "clients")
        outcomes = Chance(seed: seed, label: "outcomes")
        plan()
    }

    /// Plans what happens of itself.
    private mutating func plan() {
        for index in sources.indices { planSource(index) }
        for (index, fault) in scenario.faults.enumerated() {
            queue.plan(.faultBegins, at: fault.from.nanoseconds, index: index)
            queue.plan(.faultEnds, at: fault.until.nanoseconds, index: index)
        }
        queue.plan(.tick, at: settings.controlInterval.nanoseconds)
        queue.plan(.sample, at: recorder.sampleEvery.nanoseconds)
    }

    // MARK: The loop

    /// Runs to the scenario's end, then until the last request has ended.
    mutating func run() {
        advance(until: end)
        isClosing = true
        // Nobody waits longer than the longest timeout of the routes.
        advance(until: end + 120_000_000_000)
        finishChecks()
    }

    private mutating func advance(until limit: Int64) {
        while let event = queue.next(until: limit) {
            now = event.time
            happen(event)
            deliverVerdicts()
            if oracles.extent == .all { checkTurn() }
            if isClosing, freePlaces.count == requests.count { return }
        }
    }

    private mutating func happen(_ event: Event) {
        switch event.kind {
        case .arrival: arrival(event.index)
        case .thought: if !isClosing { begin(stream: event.index, user: Int32(event.subject)) }
        case .workDone: workDone(event)
        case .answer: if isLive(event) { answered(Subject(event.subject).slot) }
        case .waitExpired:
            if isLive(event) { waitExpired(Subject(event.subject).slot) }
            follow(event)
        case .backoffOver: if isLive(event) { backoffOver(Subject(event.subject).slot) }
        case .tryTimeout:
            if isLive(event) { attemptTimedOut(Subject(event.subject).slot) }
            follow(event)
        case .due:
            if isInUse(event) { due(Subject(event.subject).slot) }
            follow(event)
        case .patienceOver:
            if isInUse(event) { patienceOver(Subject(event.subject).slot) }
            follow(event)
        case .clientRetry: if isLive(event) { clientRetries(Subject(event.subject).slot) }
        case .verdict: if isLive(event) { verdictArrives(Subject(event.subject).slot) }
        case .tick: tick()
        case .sample: sample()
        case .faultBegins, .faultEnds: changeFaults(event.index)
        case .pauseOver: pauseOver(event.index)
        case nil: break
        }
    }

    /// The request is still at the step that the event is about.
    func isLive(_ event: Event) -> Bool {
        let subject = Subject(event.subject)
        return requests[subject.slot].step == subject.count
    }

    /// The request is still the one that the event is about, whatever its step.
    func isInUse(_ event: Event) -> Bool {
        let subject = Subject(event.subject)
        let phase = requests[subject.slot].phase
        return requests[subject.slot].use == subject.count && phase != .free && phase != .away
    }

    private mutating func follow(_ timer: Event) {
        let requests = requests
        queue.follow(timer) { event in
            let subject = Subject(event.subject)
            if event.kind == .tryTimeout || event.kind == .waitExpired {
                return requests[subject.slot].step != subject.count
            }
            let phase = requests[subject.slot].phase
            return requests[subject.slot].use != subject.count || phase == .free || phase == .away
        }
    }
}
