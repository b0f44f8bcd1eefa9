// The log writer: one thread that takes lines out of the workers' rings and writes them.

import CWeir
import Glibc
import Synchronization
package import WeirTime

/// Writes the access log. Its rings are the workers'; its methods may be called from any thread.
package final class LogWriter: Sendable {
    /// One a worker, in their order.
    package let rings: [LogRing]

    private struct Control: Sendable {
        var replacement: LogOutput?
        var path: String
        var isStopping = false
        var thread: pthread_t?
    }

    fileprivate let wakeup: LogWakeup
    fileprivate let onTrouble: @Sendable (String) -> Void
    private let control: Mutex<Control>
    private let failures = Atomic<UInt64>(0)
    private let flushLimit: Interval

    /// Opens the log and starts the thread.
    ///
    /// - Parameters:
    ///   - rings: how many rings to make.
    ///   - flushLimit: how long `stop` lets an output that takes nothing hold it up.
    ///   - onTrouble: called on the writer's thread, at most once in ten seconds, when lines cannot
    ///     be written.
    package init(
        path: String, rings count: Int, ringCapacity: Int = LogRing.defaultCapacity,
        flushLimit: Interval = .seconds(5), onTrouble: @escaping @Sendable (String) -> Void
    ) throws(LogFailure) {
        let output = try LogOutput(path: path)
        let wakeup = try LogWakeup()
        self.wakeup = wakeup
        rings = (0..<count).map { _ in LogRing(capacity: ringCapacity, wakeup: wakeup) }
        control = Mutex(Control(path: path))
        self.flushLimit = flushLimit
        self.onTrouble = onTrouble
        let thread = try startThread(LogThread(writer: self, output: output))
        control.withLock { $0.thread = thread }
    }

    /// Writes that have failed so far.
    package var writeFailures: UInt64 { failures.load(ordering: .relaxed) }

    /// Opens the log anew, after it was renamed or to move it. When that fails, the old file stays.
    package func reopen(at path: String? = nil) throws(LogFailure) {
        let path = path ?? control.withLock { $0.path }
        let output = try LogOutput(path: path)
        control.withLock {
            $0.path = path
            $0.replacement = output
        }
        wakeup.post()
    }

    /// Writes what waits and ends the thread. The workers must have stopped logging.
    package func stop() {
        let thread = control.withLock { control in
            control.isStopping = true
            let thread = control.thread
            control.thread = nil
            return thread
        }
        wakeup.post()
        if let thread { pthread_join(thread, nil) }
    }

    fileprivate func run(output: LogOutput) {
        let drain = LogDrain(rings: rings, output: output)
        var giveUpAt: Instant?
        var report = TroubleReport()
        while true {
            let (replacement, isStopping) = control.withLock { control in
                let taken = (control.replacement, control.isStopping)
                control.replacement = nil
                return taken
            }
            if let replacement { drain.replaceOutput(replacement) }
            let outcome = drain.pass()
            failures.store(drain.failures, ordering: .relaxed)
            let now = monotonicNow()
            if let text = report.text(drain, now: now) { onTrouble(text) }
            if isStopping {
                if outcome == .drained { return }
                let limit = giveUpAt ?? now + flushLimit
                giveUpAt = limit
                if now >= limit { return onTrouble("access log: stopped with lines unwritten") }
            }
            wait(drain, outcome)
        }
    }

    /// Waits for a worker's call, for room in the output if it was full, or a tenth of a second.
    private func wait(_ drain: LogDrain, _ outcome: LogDrain.Outcome) {
        var watched = [pollfd(fd: wakeup.descriptor, events: Int16(POLLIN), revents: 0)]
        if outcome == .blocked {
            let room = pollfd(fd: drain.output.descriptor, events: Int16(POLLOUT), revents: 0)
            watched.append(room)
        }
        _ = poll(&watched, nfds_t(watched.count), 100)
        wakeup.clear()
    }
}

/// Says what went wrong, but not each time.
private struct TroubleReport {
    private static let pause = Interval.seconds(10)
    private var toldFailures: UInt64 = 0
    private var quietUntil = Instant.distantPast

    mutating func text(_ drain: LogDrain, now: Instant) -> String? {
        guard drain.failures > toldFailures, now >= quietUntil, let failure = drain.lastFailure
        else { return nil }
        let count = drain.failures - toldFailures
        toldFailures = drain.failures
        quietUntil = now + Self.pause
        return "\(failure) (\(count) failed writes)"
    }
}

private final class LogThread: Sendable {
    let writer: LogWriter
    let output: LogOutput

    init(writer: LogWriter, output: LogOutput) {
        self.writer = writer
        self.output = output
    }
}

/// Starts the thread with all signals blocked: they belong to the control thread, and a reader of
/// our output that goes away must be an error of `write`, not a SIGPIPE.
private func startThread(_ content: LogThread) throws(LogFailure) -> pthread_t {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    var thread = pthread_t()
    let context = Unmanaged.passRetained(content)
    let result = pthread_create(&thread, nil, logThreadMain, context.toOpaque())
    guard result == 0 else {
        context.release()
        throw LogFailure(path: content.output.path, call: "pthread_create")
    }
    return thread
}

private func logThreadMain(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    cweir_name_thread("weir-log")
    guard let raw else { return nil }
    let content = Unmanaged<LogThread>.fromOpaque(raw).takeRetainedValue()
    content.writer.run(output: content.output)
    return nil
}

private func monotonicNow() -> Instant {
    var time = timespec()
    _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
}
