// The process: boot order, the control thread's loop, and what it does with signals.

import CWeir
import Glibc
import WeirAdmin
import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

/// Why weir did not start.
package enum StartFailure: Error, CustomStringConvertible {
    case configuration(String)
    case system(String)

    package var description: String {
        switch self {
        case .configuration(let text), .system(let text): text
        }
    }
}

/// One weir. Its methods run on the control thread, which stays responsive when the workers are
/// saturated.
package final class Server {
    static let version = "0.1.0"

    let file: String
    let loop: EventLoop
    let registry: CounterRegistry
    let sockets: ListenerSockets
    let clusters = ClusterDirectory()
    let lines: VerdictLines
    let ledger: TenantLedger
    private(set) var ticker: GovernorTicker?
    private var checker: HealthChecker?
    private var fileWatches: FileWatches?
    private var recheck: Chore?
    /// The keys of tickets: those of a listener that is changed stay good.
    let tickets = TLSTicketKeys()
    private var rotation: Chore?
    let budget: ConnectionBudget
    let workerCount: Int
    private(set) var names: NameDirectory?
    private(set) var workers: [Worker] = []
    private(set) var logWriter: LogWriter?
    var admin: AdminBinding?

    /// The configuration in use.
    private(set) var configuration: Configuration
    /// The files that belong to it.
    private(set) var files: ReferencedFiles
    private(set) var generation: UInt64 = 1
    var lastReload: ReloadResult
    var reloadsSucceeded: UInt64 = 0
    var reloadsRefused: UInt64 = 0
    /// When the configuration in use came into use, in Unix nanoseconds.
    private(set) var adoptedAt: Int64
    let startedAt: Instant

    private let reports: Mailbox<WorkerReport>
    private var drain: Drain?
    private(set) var isDraining = false
    private var startedWorkers = 0
    /// Why `run` ends without having been told to.
    private var failure: StartFailure?

    /// Reads the configuration and binds its listeners; nothing is served before `run`.
    package init(file: String) throws(StartFailure) {
        self.file = file
        SignalWatch.block()
        let candidate = try Candidate.read(file).orRefuse()
        for warning in candidate.warnings { ProcessLog.warn(warning) }
        configuration = candidate.configuration
        do {
            files = try ReferencedFiles.read(for: configuration, tickets: tickets)
        } catch {
            throw .configuration("\(error)")
        }
        ledger = TenantLedger(configuration)
        let descriptors = Descriptors.raiseLimit()
        workerCount =
            configuration.runtime.workers ?? max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        registry = CounterRegistry(
            workers: workerCount, refusalCodes: Refusal.allCases.map(\.code))
        sockets = ListenerSockets(workers: workerCount)
        let connections = Descriptors.connections(configuration, descriptors: descriptors)
        Descriptors.makeRoom(for: connections)
        budget = ConnectionBudget(limit: connections)
        lastReload = ReloadResult(isSuccess: true, trigger: "start", lines: ["started"], at: 0)
        do {
            loop = try EventLoop()
            reports = try Mailbox(capacity: 4096)
            lines = try VerdictLines(workers: workerCount)
        } catch {
            throw .system("weir cannot start: \(error)")
        }
        startedAt = loop.now
        adoptedAt = loop.wallClock.unixNanoseconds(loop.now)
        lastReload.at = adoptedAt / 1_000_000_000
    }

    /// Serves until a signal ends it.
    package func run() throws(StartFailure) {
        try boot()
        // The file may have changed between its reading and the start of its watch.
        if case .accepted(let candidate) = Candidate.read(file),
            candidate.configuration != configuration
        {
            reload(trigger: "file change")
        }
        loop.run(afterTurn: {})
        shutDown()
        if let failure { throw failure }
    }

    private func boot() throws(StartFailure) {
        do {
            let names = try NameDirectory(loop: loop, seed: Self.seed()) { [unowned self] in
                distribute()
            }
            self.names = names
            _ = try SignalWatch(loop: loop) { [unowned self] signal in obey(signal) }
            _ = try FileWatch(loop: loop, path: file) { [unowned self] in
                reload(trigger: "file change")
            }
            let watch = ReadinessWatch(fd: try reports.makeWakeDescriptor()) { [unowned self] in
                for report in reports.drain() { heed(report) }
            }
            try loop.addForReading(watch)
        } catch {
            throw .system("weir cannot start: \(error)")
        }
        ticker = GovernorTicker(
            loop: loop, clusters: clusters, lines: lines, seed: Self.seed())
        checker = HealthChecker(loop: loop, seed: Self.seed())
        rotation = Chore(loop: loop) { [unowned self] in rotateTickets() }
        rotation?.arm(after: TLSTicketKeys.rotation)
        recheck = Chore(loop: loop) { [unowned self] in recheckFiles() }
        fileWatches = FileWatches(loop: loop) { [unowned self] path in
            reload(trigger: "change of \(path)")
        }
        watchFiles()
        try openListeners()
        try startWorkers()
        for listener in configuration.listeners {
            guard let opened = sockets[listener] else { continue }
            ProcessLog.info(
                "listening", ["listener": listener.name, "address": "\(opened.address)"])
        }
    }

    private func openListeners() throws(StartFailure) {
        do {
            let pending = try sockets.open(configuration.listeners)
            sockets.commit(pending, configuration.listeners)
            // What is opened from here on is opened again later: it has to work as that user.
            if let user = configuration.runtime.user {
                let files = ReferencedFiles.watched(by: configuration)
                try Privileges.become(user, reading: [file] + files.sorted())
            }
        } catch {
            throw .system("\(error)")
        }
        do {
            try openLog(configuration)
        } catch {
            throw .system("the access log cannot be written: \(error)")
        }
        do {
            admin = try prepareAdmin(configuration)
        } catch {
            throw .system("\(error)")
        }
        if let admin, let address = admin.server.localAddress {
            // The kernel tells which port it picked, but not the path of a unix socket.
            let isUnix = address.port == 0
            let text = isUnix ? configuration.admin?.address.text : address.description
            ProcessLog.info("listening", ["listener": "admin", "address": text ?? "?"])
        }
    }

    private func startWorkers() throws(StartFailure) {
        let wanted = NameDirectory.names(configuration)
        names?.prepare(wanted)
        names?.watch(wanted)
        guard let compiler = compiler() else { return }
        adoptGovernors(compiler)
        do {
            for index in 0..<workerCount {
                workers.append(
                    try Worker(
                        index: index, plan: compiler.plan(worker: index, of: workerCount),
                        counters: registry.worker(index), budget: budget, lines: lines,
                        reports: reports))
            }
        } catch {
            // Those that have started are ended in good order.
            shutDown()
            throw .system("weir cannot start a worker: \(error)")
        }
    }

    static func seed() -> UInt64 {
        var seed: UInt64 = 0
        _ = cweir_random(&seed, 8)
        return seed
    }

    // MARK: Adopting

    private func compiler() -> Compiler? {
        guard let names else { return nil }
        return Compiler(
            configuration: configuration, generation: generation, registry: registry,
            sockets: sockets, clusters: clusters, ledger: ledger, names: names, tls: files.tls,
            rings: logWriter?.rings ?? [])
    }

    /// Makes a checked configuration the one in use.
    func adopt(_ adopted: Configuration, _ files: ReferencedFiles) {
        let isNews = adopted.runtime.maxConnections != configuration.runtime.maxConnections
        configuration = adopted
        self.files = files
        watchFiles()
        generation += 1
        adoptedAt = loop.wallClock.unixNanoseconds(loop.now)
        let connections = Descriptors.connections(
            adopted, descriptors: Descriptors.limit(), isNews: isNews)
        Descriptors.makeRoom(for: connections)
        budget.setLimit(connections)
        names?.watch(NameDirectory.names(adopted))
        distribute()
    }

    /// Tells the governors what is new, before a plan names them.
    private func adoptGovernors(_ compiler: Compiler) {
        if let tenants = configuration.tenants {
            ledger.adopt(tenants, files.tenants, files.tokens)
        }
        compiler.adoptClusters()
        checker?.watch(
            configuration.clusters.compactMap { cluster in
                guard let check = cluster.healthCheck, check.mode != .off,
                    let entry = clusters[cluster.name]
                else { return nil }
                return (
                    entry, check, files.tls.clients[cluster.name], cluster.proxyProtocol?.version,
                    cluster.http2
                )
            })
    }

    /// Watches the files that the configuration names: a change is a reload.
    private func watchFiles() {
        let paths = ReferencedFiles.watched(by: configuration)
        guard fileWatches?.keep(paths) == true else { return }
        // Read before they were watched: whatever has changed in between is told by nobody.
        recheck?.arm()
    }

    private func rotateTickets() {
        tickets.rotate()
        rotation?.arm(after: TLSTicketKeys.rotation)
    }

    /// Reloads where a file is not what was read.
    private func recheckFiles() {
        let now = try? ReferencedFiles.read(for: configuration, tickets: tickets)
        if now != files { reload(trigger: "file change") }
    }

    /// Compiles the configuration in use, with the endpoints known now, and hands it out.
    private func distribute() {
        guard let compiler = compiler() else { return }
        adoptGovernors(compiler)
        for worker in workers {
            if !worker.tell(.adopt(compiler.plan(worker: worker.index, of: workerCount))) {
                ProcessLog.error("a worker does not answer", ["worker": "\(worker.index)"])
            }
        }
        clusters.keepOnly(Set(configuration.clusters.map(\.name)))
        clusters.keepOnly(routes: Set(configuration.routes.map(\.name)))
    }

    /// The endpoints of a cluster as they are known now, with their weights.
    func addresses(_ cluster: WeirConfig.Cluster) -> [KnownEndpoint] {
        compiler()?.addresses(cluster) ?? []
    }

    /// Opens the access log, or moves it; where there is none any more, it is left alone.
    func openLog(_ configuration: Configuration) throws(LogFailure) {
        guard let log = configuration.runtime.accessLog else { return }
        if let logWriter {
            try logWriter.reopen(at: log.path)
        } else {
            logWriter = try LogWriter(path: log.path, rings: workerCount) { trouble in
                ProcessLog.warn(trouble)
            }
        }
    }

    // MARK: Signals and reports

    private func obey(_ signal: Int32) {
        switch signal {
        case SIGHUP:
            reopenLog()
            reload(trigger: "SIGHUP")
        case SIGUSR1: reopenLog()
        default: beginDrain()
        }
    }

    private func reopenLog() {
        do {
            try logWriter?.reopen()
        } catch {
            ProcessLog.error("the access log stays as it is: \(error)")
        }
    }

    private func heed(_ report: WorkerReport) {
        switch report {
        case .started: startedWorkers += 1
        case .idle(let worker): drain?.workerIsIdle(worker)
        case .failed(let worker, let error):
            ProcessLog.error(
                "a worker cannot watch a listener and tries again: \(error)",
                ["worker": "\(worker)"])
        case .ended(let worker, let error):
            // The kernel still hands the dead worker its share of connections, and nobody would
            // answer them.
            failure = .system("worker \(worker) has failed, weir cannot go on: \(error)")
            loop.stop()
        }
    }

    // MARK: Ending

    private func beginDrain() {
        guard !isDraining else {
            ProcessLog.info("stopping at once")
            return loop.stop()
        }
        isDraining = true
        ProcessLog.info(
            "draining", ["timeout": "\(configuration.runtime.drainTimeout.seconds) s"])
        drain = Drain(loop: loop, workers: workerCount, limit: configuration.runtime.drainTimeout)
        for worker in workers { _ = worker.tell(.drain) }
    }

    private func shutDown() {
        for worker in workers { _ = worker.tell(.stop) }
        for worker in workers { worker.join() }
        sockets.removeFiles()
        admin?.server.stop()
        ticker?.stop()
        checker?.stop()
        names?.stop()
        logWriter?.stop()
        ProcessLog.info("stopped")
    }

    /// Why weir should not get traffic now; `nil` when it should.
    var unreadiness: String? {
        if isDraining { return "draining" }
        return startedWorkers == workerCount ? nil : "starting"
    }
}

/// Waits for the workers' connections to end, within a bound.
private final class Drain: TimerTarget {
    private let loop: EventLoop
    private var busy: Set<Int>

    init(loop: EventLoop, workers: Int, limit: Interval) {
        self.loop = loop
        busy = Set(0..<workers)
        super.init()
        let timer = loop.timers.add(self)
        loop.timers.arm(timer, at: loop.now + limit)
    }

    func workerIsIdle(_ worker: Int) {
        busy.remove(worker)
        if busy.isEmpty { loop.stop() }
    }

    override func timerFired() {
        ProcessLog.warn("connections are left when the drain timeout ends")
        loop.stop()
    }
}
