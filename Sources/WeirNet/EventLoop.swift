// One thread's loop: waits for descriptors and timers, and calls whom they concern.

import CWeir
import Glibc
package import WeirTime

/// Something that a timer of a loop may call. Subclassed, not a protocol: a call through a class
/// costs half of one through an existential. Open, since `package` would confine subclasses to this
/// module.
open class TimerTarget {
    package init() {}

    /// The timer armed for this target has expired.
    open func timerFired() {}
}

/// A descriptor watched by a loop. The loop keeps it alive from `add` until `remove`.
open class EventSource: TimerTarget {
    /// The descriptor; -1 once it is closed.
    package final fileprivate(set) var fd: Int32
    /// It has asked for a turn with `EventLoop.defer`, which is still to come.
    package final fileprivate(set) var isQueued = false
    /// A loop tells it of events.
    package final fileprivate(set) var isWatched = false

    package init(fd: Int32) { self.fd = fd }

    deinit { if fd >= 0 { _ = close(fd) } }

    /// The descriptor has become ready. Edge-triggered: read or write until it would block.
    open func ready(_ events: Events) {}

    /// The turn that this source asked for with `EventLoop.defer` has come.
    open func resume() {}
}

/// What an epoll event says.
public struct Events: OptionSet, Sendable {
    /// The bits of `epoll_event.events`.
    public let rawValue: UInt32
    /// Takes the bits as they are.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// There is something to read, or the end of the stream.
    public static let readable = Events(rawValue: EPOLLIN.rawValue)
    /// There is room to write.
    public static let writable = Events(rawValue: EPOLLOUT.rawValue)
    /// The peer has ended its sending side.
    public static let peerEnded = Events(rawValue: EPOLLRDHUP.rawValue)
    /// Both sides are closed, or the connection was reset.
    public static let hungUp = Events(rawValue: EPOLLHUP.rawValue | EPOLLERR.rawValue)
}

/// An epoll loop with a timer wheel. Lives on one thread.
///
/// A turn has three parts: what has just become ready, timers that have expired, and sources that
/// asked for another turn because they had much to do. Each part may take a share of time; what
/// does not fit waits for the next turn. So whoever asks for little waits for little, however much
/// others ask for.
package final class EventLoop {
    private static let batch = 256
    /// The later parts may take one of so many parts of what those before them took, where that is
    /// more than a share: else a flood of small things would leave no time for large ones. No
    /// larger a part, since what is begun there brings as much again, or twice as much, into the
    /// next turn; and never more than so many shares.
    private static let parts: Int64 = 4
    private static let mostShares: Int64 = 16

    /// The time of this turn; constant within it.
    package private(set) var now: Instant
    /// The wall clock's offset to `now`, refreshed each turn that starts a new second.
    package private(set) var wallClock: WallClock
    package let timers: TimerWheel
    /// Turns taken since the start.
    package private(set) var turns: UInt64 = 0

    private let share: Interval
    private let epoll: Int32
    private let events: UnsafeMutablePointer<epoll_event>
    private var removed: [EventSource] = []
    private var releasing: [EventSource] = []
    /// Those who have asked for another turn, in their order: of either kind.
    private var lines: [[EventSource]] = [[], []]
    /// How many they are together.
    private var queued = 0
    /// When this part of the turn has had its share of time.
    private var shareEnds = Instant.distantFuture
    /// Sources that are told of events between two looks at the clock.
    private static let looks = 4
    private var isStopped = false
    /// The sources that asked for it with `defer` have their turn.
    package private(set) var isResuming = false

    /// - Parameter share: what a part of a turn may take. However little that is, one source has
    ///   its turn.
    package init(share: Interval = .microseconds(200)) throws(SystemError) {
        self.share = share
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw .last("epoll_create1") }
        events = .allocate(capacity: Self.batch)
        now = MonotonicClock.now()
        wallClock = WallClock(at: now)
        timers = TimerWheel(now: now)
        removed.reserveCapacity(256)
        releasing.reserveCapacity(256)
        for line in lines.indices { lines[line].reserveCapacity(256) }
    }

    deinit {
        _ = close(epoll)
        events.deallocate()
    }

    /// Watches a source for everything, edge-triggered: it is armed once and never again.
    package func add(_ source: EventSource) throws(SystemError) {
        try control(
            source,
            EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue)
    }

    /// Watches a source for reading, level-triggered: listeners, mailboxes, signals.
    package func addForReading(_ source: EventSource) throws(SystemError) {
        try control(source, EPOLLIN.rawValue)
    }

    private func control(_ source: EventSource, _ interest: UInt32) throws(SystemError) {
        var event = epoll_event()
        event.events = interest
        event.data.ptr = Unmanaged.passUnretained(source).toOpaque()
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, source.fd, &event) == 0 else {
            throw .last("epoll_ctl")
        }
        source.isWatched = true
        _ = Unmanaged.passRetained(source)
    }

    /// Stops or starts looking at a source that is watched for reading.
    package func setReading(_ source: EventSource, _ isEnabled: Bool) {
        guard source.fd >= 0 else { return }
        var event = epoll_event()
        event.events = isEnabled ? EPOLLIN.rawValue : 0
        event.data.ptr = Unmanaged.passUnretained(source).toOpaque()
        _ = epoll_ctl(epoll, EPOLL_CTL_MOD, source.fd, &event)
    }

    /// Closes a source's descriptor and forgets the source at the end of the turn: an event of
    /// this turn's batch may still point at it.
    package func remove(_ source: EventSource) {
        let fd = release(source)
        if fd >= 0 { _ = close(fd) }
    }

    /// Stops watching a source and gives its descriptor, still open, to the caller.
    package func release(_ source: EventSource) -> Int32 {
        let fd = source.fd
        guard fd >= 0 else { return -1 }
        // Closing alone ends the watch only with the last reference to the open file, and whoever
        // looks at /proc/PID/fd holds one: an event would come for a source that is no more.
        var event = epoll_event()
        _ = epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event)
        source.fd = -1
        forget(source)
        return fd
    }

    private func forget(_ source: EventSource) {
        // A source whose `add` failed was never retained.
        guard source.isWatched else { return }
        source.isWatched = false
        removed.append(source)
    }

    /// This part of the turn has had its share of time: what can be done later should be.
    package var isOverdue: Bool { MonotonicClock.now() >= shareEnds }
    /// The same as it was a few sources ago, for those who only begin and would have to ask the
    /// clock each.
    package private(set) var isLate = false

    /// Calls `resume` on a source later, in the order in which they have asked: how a connection
    /// with more to do lets others have their turn first. Turns do not wait meanwhile.
    ///
    /// - Parameter isNew: it stands in a line of its own, with those who are not established yet:
    ///   however many they are, every second turn is of those who are.
    package func `defer`(_ source: EventSource, isNew: Bool = false) {
        guard !source.isQueued else { return }
        source.isQueued = true
        queued &+= 1
        lines[isNew ? 1 : 0].append(source)
    }

    /// Makes `run` return at the end of this turn.
    package func stop() { isStopped = true }

    /// Takes turns until `stop`; `afterTurn` is called at the end of each.
    package func run(afterTurn: () -> Void) {
        isStopped = false
        while !isStopped {
            turn(maxWait: .max)
            afterTurn()
        }
    }

    /// One turn: waits at most `maxWait`, then serves what is ready and what has expired.
    package func turn(maxWait: Interval) {
        let count = Int(epoll_wait(epoll, events, Int32(Self.batch), pollTimeout(maxWait)))
        now = MonotonicClock.now()
        wallClock.refresh(at: now)
        turns &+= 1
        shareEnds = now + share
        isLate = false
        timers.skipIdleTime(to: now)
        if count > 0 {
            for index in 0..<count {
                guard let pointer = events[index].data.ptr else { continue }
                let source = Unmanaged<EventSource>.fromOpaque(pointer)
                let bits = Events(rawValue: events[index].events)
                if index % Self.looks == Self.looks - 1 { isLate = isOverdue }
                source._withUnsafeGuaranteedRef { if $0.fd >= 0 { $0.ready(bits) } }
            }
        }
        expireTimers()
        if queued > 0 { resumeDeferred() }
        if !removed.isEmpty {
            // Swapped, since the end of a source's life may be what removes another one.
            swap(&removed, &releasing)
            for source in releasing { Unmanaged.passUnretained(source).release() }
            releasing.removeAll(keepingCapacity: true)
        }
    }

    /// Those that are left have the next turn, which does not wait. So a handler that arms its
    /// timer for the past again and again cannot hold the loop.
    private func expireTimers() {
        var isFirst = true
        while let token = timers.popExpired(now: now) {
            if isFirst { beginShare() }
            isFirst = false
            if let pointer = UnsafeRawPointer(bitPattern: token) {
                Unmanaged<TimerTarget>.fromOpaque(pointer).takeUnretainedValue().timerFired()
            }
            if isOverdue { return }
        }
    }

    /// One line, and the other where there is time left; they take turns in being the first.
    private func resumeDeferred() {
        isResuming = true
        beginShare()
        var first = Int(turns % 2)
        if lines[first].isEmpty { first = 1 - first }
        resume(first)
        if !isOverdue, !lines[1 - first].isEmpty { resume(1 - first) }
        isResuming = false
    }

    private func resume(_ line: Int) {
        var served = 0
        for _ in 0..<lines[line].count {
            let source = lines[line][served]
            served += 1
            source.isQueued = false
            if source.fd >= 0 { source.resume() }
            if isOverdue { break }
        }
        lines[line].removeFirst(served)
        queued &-= served
    }

    private func beginShare() {
        let begun = MonotonicClock.now()
        let part = min(
            (begun - now).nanoseconds / Self.parts, share.nanoseconds * Self.mostShares)
        shareEnds = begun + max(share, Interval(nanoseconds: part))
        isLate = false
    }

    private func pollTimeout(_ maxWait: Interval) -> Int32 {
        if queued > 0 { return 0 }
        var wait = maxWait
        if let wake = timers.nextWake() { wait = min(wait, wake - MonotonicClock.now()) }
        if wait == .max { return -1 }
        return Int32(clamping: max(0, wait.millisecondsRoundedUp))
    }
}

extension TimerWheel {
    /// Makes a timer that calls `target`, which must remove it before it dies.
    package func add(_ target: TimerTarget) -> TimerID {
        add(token: UInt(bitPattern: Unmanaged.passUnretained(target).toOpaque()))
    }
}
