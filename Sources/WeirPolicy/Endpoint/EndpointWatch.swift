// What the control thread remembers of one endpoint between two ticks.

import Synchronization
import WeirTime

/// Turns an endpoint's counts, which only grow, into windows: one for its limit, one for the
/// comparison with its peers.
struct EndpointWatch {
    /// The window of a comparison is this many slots long.
    static let slots = 8

    /// Outcomes of a slot or a window.
    struct Tally {
        var answers = 0
        var failures = 0
    }

    let governor: EndpointGovernor
    var limiter: ConcurrencyLimiter

    // What the counts were at the last tick.
    private var seen: [UInt32]
    private var seenFailures: UInt32
    private var seenTimeouts: UInt32
    private var seenBusy: UInt32
    private var fresh = LatencyCounts()

    // The limiter's window.
    private var window = LatencyCounts()
    private var windowStart: Instant
    private var windowPeak = 0
    private var windowBusy = 0
    private var windowTimeouts = 0

    // The comparison's window, and the slots it consists of.
    private(set) var latencies = LatencyCounts()
    private(set) var tally = Tally()
    private var slotLatencies = [LatencyCounts](repeating: LatencyCounts(), count: Self.slots)
    private var slotTallies = [Tally](repeating: Tally(), count: Self.slots)
    private var slot = 0

    /// Comparisons in a row that found it slow, or with too many unfinished requests.
    var slowTimes = 0
    var lateTimes = 0
    /// The health that the last tick saw.
    var wasUnhealthy = false
    var wasUnhealthyInShadow = false

    init(_ governor: EndpointGovernor, _ settings: ConcurrencySettings, now: Instant) {
        self.governor = governor
        limiter = ConcurrencyLimiter(settings)
        windowStart = now
        seen = [UInt32](repeating: 0, count: LatencyScale.buckets)
        governor.latencies.difference(since: &seen, into: &fresh)
        seenFailures = governor.failures.load(ordering: .relaxed)
        seenTimeouts = governor.timeouts.load(ordering: .relaxed)
        seenBusy = governor.busyAnswers.load(ordering: .relaxed)
    }

    /// Reads what has happened since the last tick.
    mutating func read(now: Instant) {
        governor.latencies.difference(since: &seen, into: &fresh)
        let failures = governor.failures.load(ordering: .relaxed)
        let timeouts = governor.timeouts.load(ordering: .relaxed)
        let busy = governor.busyAnswers.load(ordering: .relaxed)
        let failed = Int(failures &- seenFailures)
        let good = max(fresh.total - Int(timeouts &- seenTimeouts), 0)
        windowTimeouts += fresh.total - good
        windowBusy += Int(busy &- seenBusy)
        (seenFailures, seenTimeouts, seenBusy) = (failures, timeouts, busy)

        window.add(fresh)
        windowPeak = max(
            windowPeak,
            governor.peak.exchange(governor.requestsInFlight, ordering: .relaxed))
        latencies.add(fresh)
        slotLatencies[slot].add(fresh)
        tally.answers += good + failed
        tally.failures += failed
        slotTallies[slot].answers += good + failed
        slotTallies[slot].failures += failed
        let oldest = governor.requestsInFlight > 0 ? governor.unfinished.oldest(now: now) : nil
        governor.oldestStart.store(oldest ?? .max, ordering: .relaxed)
    }

    /// Begins a slot and forgets the oldest one.
    mutating func turn() {
        slot = (slot + 1) % Self.slots
        latencies.subtract(slotLatencies[slot])
        tally.answers -= slotTallies[slot].answers
        tally.failures -= slotTallies[slot].failures
        slotLatencies[slot].clear()
        slotTallies[slot] = Tally()
    }

    /// Forgets what the comparison knows: the endpoint comes back from an ejection.
    mutating func forget() {
        for _ in 0..<Self.slots { turn() }
        (slowTimes, lateTimes) = (0, 0)
    }

    // MARK: The limit

    /// Lets the limiter look at its window, once there is enough in it.
    mutating func limit(
        _ settings: ConcurrencySettings, isQueueStanding: Bool, now: Instant,
        chance: inout Chance
    ) {
        if limiter.isProbing, !limiter.isProbeForced, isQueueStanding {
            // A fresh baseline is not worth a refusal.
            limiter.abandonProbe(now: now, chance: &chance)
            return beginWindow(now)
        }
        // The window begins with the first tick after the limit has settled, not with the last
        // one before.
        if windowStart < limiter.settlesUntil { return beginWindow(now) }
        let length = now - windowStart
        let isLong = length >= ConcurrencyLimiter.patience
        let isEnough =
            window.total >= limiter.wantedSamples
            || (isLong && window.total >= ConcurrencyLimiter.fewSamples)
        guard isEnough, length.nanoseconds > 0 else {
            if limiter.isProbing, length >= .milliseconds(1500) {
                limiter.abandonProbe(now: now, chance: &chance)
                beginWindow(now)
            }
            return
        }
        var look = ConcurrencyLimiter.Window(
            samples: window.total, latency: window.mean(cappedAt: 0.95),
            rate: Double(window.total - windowTimeouts) / length.seconds, peak: windowPeak)
        look.timeoutShare = Double(windowTimeouts) / Double(max(window.total, 1))
        look.busyShare = Double(windowBusy) / Double(max(window.total, 1))
        limiter.take(look, now: now, chance: &chance, settings: settings)
        beginWindow(now)
    }

    mutating func beginWindow(_ now: Instant) {
        window.clear()
        windowStart = now
        windowPeak = governor.requestsInFlight
        windowBusy = 0
        windowTimeouts = 0
    }
}
