// The governors' clock: limits, ejections and panic are looked at many times a second.

import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

/// Ticks the clusters' watches on the control thread, and tells workers who gets a permit that a
/// tick has made free.
final class GovernorTicker: TimerTarget {
    /// The policies divide this into their own periods.
    private static let period = Interval.milliseconds(50)

    private let loop: EventLoop
    private let clusters: ClusterDirectory
    private let lines: VerdictLines
    private var chance: Chance
    private var timer = TimerID.none
    private var events: [EndpointEvent] = []
    private var verdicts: [WaitVerdict] = []

    init(loop: EventLoop, clusters: ClusterDirectory, lines: VerdictLines, seed: UInt64) {
        self.loop = loop
        self.clusters = clusters
        self.lines = lines
        chance = Chance(seed: seed)
        super.init()
        timer = loop.timers.add(self)
        loop.timers.arm(timer, at: loop.now + Self.period)
    }

    func stop() {
        loop.timers.remove(timer)
        timer = .none
    }

    override func timerFired() {
        tick()
        loop.timers.arm(timer, at: loop.now + Self.period)
    }

    /// Looks at all clusters now.
    func tick() {
        for entry in clusters.all {
            entry.watch.tick(
                now: loop.now, governor: entry.governor, chance: &chance, events: &events)
            for event in events { entry.note(event) }
            events.removeAll(keepingCapacity: true)
            if !entry.governor.isQueueEmpty {
                entry.governor.dispatch(near: nil, now: loop.now, verdicts: &verdicts)
            }
        }
        clusters.refreshHedges(now: loop.now)
        lines.post(verdicts)
        verdicts.removeAll(keepingCapacity: true)
    }
}
