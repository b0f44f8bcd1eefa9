// One worker: a thread, its loop and its proxy.

import CWeir
import Glibc
import WeirNet
import WeirProxy
import WeirTelemetry
import WeirTime

/// What the control thread tells a worker.
enum WorkerMessage: Sendable {
    case adopt(Plan)
    /// Accept no more, end what is under way.
    case drain
    /// End every connection and the thread.
    case stop
}

/// What a worker tells the control thread.
enum WorkerReport: Sendable {
    /// It accepts connections.
    case started(worker: Int)
    /// A drain has left no connection.
    case idle(worker: Int)
    /// A listener of a configuration cannot be watched yet; the worker goes on, and tries again.
    case failed(worker: Int, SystemError)
    /// The worker's thread is at its end without having been told to stop.
    case ended(worker: Int, SystemError)
}

/// A handle on a worker's thread.
final class Worker: Sendable {
    let index: Int
    private let mailbox: Mailbox<WorkerMessage>
    private let thread: pthread_t

    /// Starts the thread with its first configuration.
    init(
        index: Int, plan: Plan, counters: WorkerCounters, budget: ConnectionBudget,
        lines: VerdictLines, reports: Mailbox<WorkerReport>
    ) throws(SystemError) {
        self.index = index
        let mailbox = try Mailbox<WorkerMessage>(capacity: 1024)
        self.mailbox = mailbox
        let seed = WorkerSeed(
            index: index, plan: plan, counters: counters, budget: budget, lines: lines,
            mailbox: mailbox, reports: reports)
        thread = try startWorkerThread(seed)
    }

    /// Posts a message; a worker that leaves a thousand unread is stuck, and the message is lost.
    func tell(_ message: WorkerMessage) -> Bool { mailbox.post(message) }

    /// Waits for the thread's end, after `.stop`.
    func join() { pthread_join(thread, nil) }
}

/// What a worker's thread needs to begin; everything else is made on the thread itself.
private final class WorkerSeed: Sendable {
    let index: Int
    let plan: Plan
    let counters: WorkerCounters
    let budget: ConnectionBudget
    let lines: VerdictLines
    let mailbox: Mailbox<WorkerMessage>
    let reports: Mailbox<WorkerReport>

    init(
        index: Int, plan: Plan, counters: WorkerCounters, budget: ConnectionBudget,
        lines: VerdictLines, mailbox: Mailbox<WorkerMessage>, reports: Mailbox<WorkerReport>
    ) {
        self.index = index
        self.plan = plan
        self.counters = counters
        self.budget = budget
        self.lines = lines
        self.mailbox = mailbox
        self.reports = reports
    }

    func run() throws(SystemError) {
        let loop = try EventLoop()
        var randomness: UInt64 = 0
        _ = cweir_random(&randomness, 8)
        let proxy = try Proxy(
            plan: plan, loop: loop, counters: counters, budget: budget, lines: lines,
            worker: index, seed: randomness,
            whenIdle: { [reports, index] in _ = reports.post(.idle(worker: index)) })
        let watch = ReadinessWatch(fd: try mailbox.makeWakeDescriptor()) { [self] in
            for message in mailbox.drain() { obey(message, loop, proxy) }
        }
        try loop.addForReading(watch)
        _ = reports.post(.started(worker: index))
        loop.run(afterTurn: proxy.endTurn)
        proxy.closeAll()
        loop.remove(watch)
        // One more turn lets the loop let go of what was closed.
        loop.turn(maxWait: .zero)
    }

    private func obey(_ message: WorkerMessage, _ loop: EventLoop, _ proxy: Proxy) {
        switch message {
        case .adopt(let plan):
            do {
                try proxy.adopt(plan)
            } catch {
                _ = reports.post(.failed(worker: index, error))
            }
        case .drain: proxy.drain()
        case .stop: loop.stop()
        }
    }
}

// Outside any actor: a closure that the main actor made would trap on another thread.
private func startWorkerThread(_ seed: WorkerSeed) throws(SystemError) -> pthread_t {
    var thread = pthread_t()
    let pointer = Unmanaged.passRetained(seed)
    let result = pthread_create(&thread, nil, workerMain, pointer.toOpaque())
    guard result == 0 else {
        pointer.release()
        throw SystemError(call: "pthread_create", code: result)
    }
    return thread
}

private func workerMain(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let pointer else { return nil }
    let seed = Unmanaged<WorkerSeed>.fromOpaque(pointer).takeRetainedValue()
    cweir_name_thread("weir-worker-\(seed.index)")
    cweir_prepare_heap()
    do {
        try seed.run()
    } catch {
        _ = seed.reports.post(.ended(worker: seed.index, error))
    }
    return nil
}
