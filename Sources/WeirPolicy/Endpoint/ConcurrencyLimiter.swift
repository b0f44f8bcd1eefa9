// How many requests an endpoint works on without a queue of its own, found by measurement.

package import WeirTime

/// A Vegas-style limit (Brakmo & Peterson, 1994; Netflix concurrency-limits, 2018): the latency of
/// a window against the latency without a queue tells how many of `L` requests merely wait.
///
///     q = n (1 - base / m)      n: most in flight, at most L;  m: the window's latency
///     q > 2b: L = 0.8 L;  q > b: L -= step;  q < a and n >= L / 2: L += step
///
/// Four things are not in the books, because without them it collapses or inflates:
///
/// - **Latency is a mean**, with the slowest twentieth taken as the quantile. Little's law, from
///   which `q` comes, speaks of means; a median jumps when hits become fewer than misses.
/// - **A cold start under overload** has never seen the endpoint without a queue. So the limit is
///   doubled once: if the answers double as well, there was none. If not, a probe follows at a
///   third of the limit, and lower ones while throughput hardly suffers; then the limit is what
///   Little's law makes of throughput and base.
/// - **Climbing**: a limit that has never been reached, or not for long, says nothing about the
///   endpoint. Once reached it grows by half a window, until a queue shows.
/// - **Throughput has the last word.** More in flight without more answers is a queue, whatever
///   the base says: back, and the base was too high. Less in flight with as many answers fewer is
///   none: back as well, and the base was too low (a deployment made the service slower).
///   And a limit that the base holds down is now and then stretched by a half: more answers mean
///   that the base is too low. One that is a quarter too low would hold a server with a hundred
///   workers at forty; one that is much too low is how gradient limiters refuse nearly all.
package struct ConcurrencyLimiter: Sendable {
    /// How the baseline is known.
    private enum Origin {
        /// From a load that may have been too much, or from the cluster's other endpoints.
        case guess
        /// From what more in flight brought.
        case inference
        /// From a low load.
        case measurement
    }

    private enum Phase: Sendable {
        case steady
        /// Holding the endpoint at `cap` to see it without a queue.
        case probing(cap: Int, before: Reference, isFull: Bool)
        /// Letting it have half as much again, to see whether that brings answers.
        case stretching(to: Int, before: Reference)
    }

    /// Requests in flight, with a fraction.
    private var size: Double
    /// Nanoseconds: the latency without a queue.
    package private(set) var baseline: Double?
    private var origin = Origin.guess
    /// The endpoint answers much faster than it should be able to.
    private var isBaselineDoubtful = false
    /// The last window reached the limit that it had.
    private var isReached = false
    /// Windows in a row that reached the limit without a queue.
    private var quietWindows = 0
    /// The limit is certainly reached, and for so long that a wrong base would have done harm.
    private var isProbeOverdue = false
    private var probeBegan = Instant.distantPast
    /// Probes under load cost at most a fortieth of the time, however slow the endpoint is.
    private var restsUntil = Instant.distantPast
    /// The probe goes on although requests wait.
    package private(set) var isProbeForced = false
    private var isClimbing = true
    private var phase = Phase.steady
    private var reference: Reference?
    /// The windows at about the present limit, taken together.
    private var plateau: Reference?
    private var nextStretch = Instant.distantPast
    /// Nothing is known yet, and twice as many in flight brought hardly more answers.
    private var suspectsQueue = false
    private var last: Window?
    /// When the next probe is due.
    package private(set) var nextProbe = Instant.distantPast
    /// The window that the next one must not overlap: what began under another limit.
    package private(set) var settlesUntil = Instant.distantPast

    private static let probeInterval = Interval.seconds(30)
    private static let secondLook = Interval.seconds(3)
    /// How long a probe is put off for those who wait.
    private static let longestDelay = Interval.seconds(60)
    /// Where timeouts go on at so few in flight, others are the cause.
    private static let leastCut = 4.0
    /// Samples of a window, and a window's or probe's length where they are few.
    package static let samples = 50
    package static let fewSamples = 10
    private static let climbingSamples = 20
    package static let patience = Interval.seconds(1)
    /// Longer than this is not waited for, even if answers take longer.
    private static let longestRound = 3_000_000_000.0
    /// Nanoseconds.
    private static let longLatency = 300_000_000.0

    package init(_ settings: ConcurrencySettings) { size = Double(settings.initial) }

    /// The limit that holds now.
    package var limit: Int {
        switch phase {
        case .steady: Int(size)
        case .probing(let cap, _, _): min(cap, Int(size))
        case .stretching(let wide, _): wide
        }
    }
    package var isBaselineMeasured: Bool { origin == .measurement }
    package var isProbing: Bool { if case .probing = phase { true } else { false } }

    /// Samples that make a window: more for a larger limit, of which an error is a larger part,
    /// and more for the first baseline, on which all else rests.
    package var wantedSamples: Int {
        let least =
            switch phase {
            // So few in flight cannot look like a queue by chance.
            case .steady: isClimbing && isBaselineMeasured ? Self.climbingSamples : Self.samples
            case .probing: baseline == nil ? 4 * Self.samples : Self.samples
            case .stretching: 8 * Self.samples
            }
        return max(least, min(4 * limit, 1000))
    }

    /// A probe is due: at once where nothing is known and the limit is reached.
    package func wantsProbe(now: Instant, isQueueStanding: Bool) -> Bool {
        guard case .steady = phase, let last else { return false }
        if baseline == nil { return suspectsQueue }
        if isProbeUrgent(now) { return true }
        // While requests wait, the endpoint's places are worth more than a fresh baseline.
        // A limit far from being reached harms nobody, and may wait for a quiet moment.
        return now >= nextProbe && !isQueueStanding && last.peak >= max(3, limit / 2)
    }

    /// A queue that never goes away must not keep a wrong base for good.
    private func isProbeUrgent(_ now: Instant) -> Bool {
        (isBaselineDoubtful && isReached) || isProbeOverdue
            || (nextProbe != .distantPast && now - nextProbe >= Self.longestDelay)
    }

    private func isFull(_ window: Window) -> Bool { window.peak >= Int(size) }

    // MARK: Probes

    package mutating func beginProbe(now: Instant) {
        guard let last else { return }
        isProbeForced = baseline == nil || isProbeUrgent(now)
        if isBaselineDoubtful { origin = .guess }
        (isBaselineDoubtful, isProbeOverdue) = (false, false)
        probeBegan = now
        let load = min(size, Double(last.peak))
        phase = .probing(
            cap: max(3, Int(load / 3)),
            before: Reference(last, limit: load, at: now), isFull: isFull(last))
        settle(now)
    }

    /// Gives a probe up: too little happened.
    package mutating func abandonProbe(now: Instant, chance: inout Chance) {
        phase = .steady
        rest(now)
        plan(now, &chance)
    }

    private mutating func endProbe(
        _ window: Window, cap: Int, before: Reference, isFull: Bool, now: Instant,
        chance: inout Chance, settings: ConcurrencySettings
    ) {
        if window.isTimedOut, cap <= 2 {
            phase = .steady
            rest(now)
            return plan(now, &chance)
        }
        let spread = (1 / Double(max(window.samples, 1)) + 1 / before.samples).squareRoot()
        let fall = max(0.45, min(0.7, 1 - 2 * spread))
        let isNoSlower = isFull && window.peak >= cap && window.rate > fall * before.rate
        if cap > 2, isNoSlower || window.isTimedOut {
            // Not clearly fewer answers with so few in flight: there may be a queue even now.
            var before = before
            before.raise(to: window)
            last = window
            phase = .probing(cap: max(2, cap / 2), before: before, isFull: isFull)
            return settle(now)
        }
        phase = .steady
        let isFirst = baseline == nil
        // With less in flight it cannot really have become slower.
        learn(min(window.latency, before.latency))
        if isFull, let baseline {
            let load = before.rate * baseline / 1e9
            let wanted = min(before.limit, load + 1.5 * Self.allowance(load))
            if isFirst || wanted < 0.7 * size { resize(wanted, settings) }
        }
        reference = nil
        settle(now)
        // The very first one was taken amid a queue that had to drain: it is looked at once more.
        if !isFirst { rest(now) }
        plan(now, &chance)
    }

    private mutating func rest(_ now: Instant) {
        let length = (now - probeBegan).nanoseconds
        restsUntil = now + Interval(nanoseconds: min(length, 60_000_000_000) * 40)
    }

    private mutating func plan(_ now: Instant, _ chance: inout Chance) {
        let interval = Self.probeInterval.nanoseconds
        let spread = chance.interval(upTo: Interval(nanoseconds: interval / 2))
        nextProbe = now + Interval(nanoseconds: interval * 3 / 4) + spread
    }

    /// Takes in a latency measured without a queue.
    private mutating func learn(_ latency: Double) {
        if let baseline, isBaselineMeasured, latency > 0.5 * baseline {
            self.baseline = 0.7 * baseline + 0.3 * latency
        } else {
            baseline = latency
            origin = .measurement
        }
    }

    /// A first guess, from endpoints of the same cluster; or what was measured at them.
    package mutating func adopt(baseline guess: Double, isMeasured: Bool) {
        guard origin == .guess else { return }
        baseline = isMeasured ? min(baseline ?? guess, guess) : baseline ?? guess
    }

    // MARK: Windows

    /// Looks at one window.
    package mutating func take(
        _ window: Window, now: Instant, chance: inout Chance, settings: ConcurrencySettings
    ) {
        guard window.latency > 0 else { return }
        if case .probing(let cap, let before, let isFull) = phase {
            return endProbe(
                window, cap: cap, before: before, isFull: isFull, now: now, chance: &chance,
                settings: settings)
        }
        if case .stretching(let wide, let before) = phase {
            return endStretch(window, wide, before, now, settings)
        }
        guard last != nil else {
            // The very first one began with an idle endpoint: its throughput is too low.
            last = window
            return settle(now)
        }
        last = window
        isReached = isFull(window)
        if window.isTimedOut { return cut(window, now, settings) }
        if window.busyShare >= 0.25 {
            isClimbing = false
            reference = nil
            return resize(size * 0.9, settings)
        }
        if window.peak * 3 <= limit {
            learn(window.latency)
            plan(now, &chance)
        }
        guard let baseline else { return startCold(window, now, settings) }
        if window.latency < baseline {
            // No queue makes an endpoint faster: the base was too high.
            self.baseline = 0.9 * baseline + 0.1 * window.latency
            // Means of a few answers differ by chance.
            let doubt = max(0.3, 2 * (2 / Double(max(window.samples, 1))).squareRoot())
            isBaselineDoubtful = isBaselineDoubtful || window.latency < (1 - doubt) * baseline
        }
        if isFull(window), judgeByThroughput(window, now, settings) { return settle(now) }
        if stretches(window, now, settings) { return settle(now) }
        step(window, baseline: self.baseline ?? baseline, now: now, settings: settings)
    }

    /// Attempts that are given up all take as long as they may: their latency tells nothing of a
    /// queue, and more of them are no more throughput. Too many in flight is the one cause that a
    /// limit can do something about. What it gives up comes back as fast as a limit climbs.
    private mutating func cut(
        _ window: Window, _ now: Instant, _ settings: ConcurrencySettings
    ) {
        if baseline == nil { suspectsQueue = true }
        isClimbing = true
        reference = nil
        let kept = max(0.5, 1 - window.timeoutShare)
        resize(max(size * kept, min(size, Self.leastCut)), settings)
        settle(now)
    }

    /// Nothing is known of the endpoint yet.
    private mutating func startCold(
        _ window: Window, _ now: Instant, _ settings: ConcurrencySettings
    ) {
        guard isFull(window) else {
            // Not reached, so it harms nobody; a guess until the endpoint is seen at a low load.
            baseline = window.latency
            return
        }
        // The probe that will tell waits for its turn.
        guard !suspectsQueue else { return }
        guard let reference else {
            self.reference = Reference(window, limit: size, at: now)
            // Where answers take long already, a longer queue would be felt.
            suspectsQueue = window.latency >= Self.longLatency
            if !suspectsQueue { resize(size * 2, settings) }
            return settle(now)
        }
        if window.rate / reference.rate > 1 + 0.6 * (size / reference.limit - 1) {
            // Nearly in proportion: nothing waited.
            baseline = reference.latency
        } else {
            suspectsQueue = true
            last = window
            resize(reference.limit, settings)
        }
    }

    private mutating func step(
        _ window: Window, baseline: Double, now: Instant, settings: ConcurrencySettings
    ) {
        let load = min(size, Double(window.peak))
        let queue = load * (1 - baseline / window.latency)
        let few = Self.allowance(load)
        let many = 2 * few
        let step = max(1, logarithm10(size))
        if queue >= few { isClimbing = false }
        quietWindows = queue < few && isFull(window) ? quietWindows + 1 : 0
        if queue > 2 * many {
            resize(size * 0.8, settings)
            settle(now)
        } else if queue > many {
            resize(size - step, settings)
        } else if queue < few, Double(window.peak) >= size / 2 {
            if isClimbing, isFull(window) {
                resize(size * 1.5, settings)
                settle(now)
            } else {
                resize(size + (quietWindows > 3 ? max(step, few / 2) : step), settings)
            }
        }
        if Double(window.peak) < size / 2 { isClimbing = true }
    }

    /// Requests that may wait at the endpoint: enough to keep it busy between two of ours, and
    /// enough not to be noise where the limit is large.
    private static func allowance(_ load: Double) -> Double {
        max(3 * max(1, logarithm10(load)), load * 0.1)
    }

    /// Of a limit that has settled: the requests that are worked on, not those that may wait.
    static func places(within limit: Int) -> Int {
        max(1, limit - Int(1.5 * allowance(Double(limit))))
    }

    /// Compares this window's throughput with that of another limit. Both counts are chance's
    /// work, too: what lies within three standard deviations decides nothing yet.
    ///
    /// - Returns: `true` when the limit is settled by it.
    private mutating func judgeByThroughput(
        _ window: Window, _ now: Instant, _ settings: ConcurrencySettings
    ) -> Bool {
        let current = Reference(window, limit: size, at: now)
        guard let reference, reference.rate > 0, now - reference.at < Self.probeInterval else {
            self.reference = current
            return false
        }
        let growth = size / reference.limit
        let gain = window.rate / reference.rate
        let doubt = 3 * (1 / current.samples + 1 / reference.samples).squareRoot()
        if growth >= 1.5 {
            let queue = size - reference.limit * (gain + doubt * gain)
            self.reference = current
            guard queue > 2 * Self.allowance(size) else { return false }
            baseline = min(baseline ?? reference.latency, reference.latency)
            goBack(to: reference, settings)
            return true
        }
        if growth <= 0.7 {
            let middle = growth + 0.4 * (1 - growth)
            if gain < middle, 1 - gain > doubt {
                baseline = max(baseline ?? window.latency, window.latency)
                goBack(to: reference, settings)
                return true
            }
            if gain > middle, gain - growth > doubt * gain { self.reference = current }
            return false
        }
        if growth > 0.87, growth < 1.15 { self.reference?.merge(current) }
        return false
    }

    /// A limit that its base has held down for a while is put to the test: is there really a queue?
    ///
    /// - Returns: `true` when the test begins.
    private mutating func stretches(
        _ window: Window, _ now: Instant, _ settings: ConcurrencySettings
    ) -> Bool {
        guard isFull(window), !isClimbing else {
            plateau = nil
            return false
        }
        let current = Reference(window, limit: size, at: now)
        if let limit = plateau?.limit, abs(size / limit - 1) < 0.15 {
            plateau?.merge(current)
        } else {
            plateau = current
        }
        guard let plateau, now >= nextStretch, plateau.samples >= 3 * current.samples else {
            return false
        }
        let wide = min(Int(size * 1.5), settings.maximum)
        guard wide > Int(size) else { return false }
        nextStretch = now + Self.probeInterval
        phase = .stretching(to: wide, before: plateau)
        return true
    }

    private mutating func endStretch(
        _ window: Window, _ wide: Int, _ before: Reference, _ now: Instant,
        _ settings: ConcurrencySettings
    ) {
        phase = .steady
        plateau = nil
        settle(now)
        if window.isTimedOut { return cut(window, now, settings) }
        guard window.peak >= wide, before.rate > 0 else { return }
        let growth = Double(wide) / before.limit
        let gain = window.rate / before.rate
        let current = Reference(window, limit: Double(wide), at: now)
        let doubt = 3 * (1 / current.samples + 1 / before.samples).squareRoot()
        guard gain - 1 > max((growth - 1) / 2, doubt) else {
            // Neither nothing nor enough: again soon.
            if gain - 1 > (growth - 1) / 4 {
                nextStretch = now + Self.secondLook
            } else if now >= restsUntil {
                // A queue it is; but how much of the limit is queue, only a low load can tell.
                isProbeOverdue = true
            }
            return
        }
        // Answers grew as the limit did: what looked like a queue was a base too low.
        baseline = max(baseline ?? before.latency, before.latency)
        origin = .inference
        reference = nil
        isClimbing = true
        nextStretch = now
        resize(Double(wide), settings)
    }

    private mutating func goBack(to old: Reference, _ settings: ConcurrencySettings) {
        isClimbing = false
        reference = nil
        resize(old.limit, settings)
    }

    // MARK: The limit

    /// Begins low again: the endpoint was away.
    package mutating func restart(_ settings: ConcurrencySettings, now: Instant) {
        phase = .steady
        reference = nil
        plateau = nil
        isClimbing = true
        size = Double(max(settings.minimum, 2))
        settle(now)
    }

    /// Takes up new bounds.
    package mutating func clamp(_ settings: ConcurrencySettings) { resize(size, settings) }

    private mutating func resize(_ wanted: Double, _ settings: ConcurrencySettings) {
        let least = Double(max(settings.minimum, 1))
        size = min(max(wanted, least), max(Double(settings.maximum), least))
    }

    /// What comes back within the next round began under the old limit.
    private mutating func settle(_ now: Instant) {
        let round = min(last?.latency ?? 0, Self.longestRound)
        settlesUntil = now + Interval(nanoseconds: Int64(round))
    }
}
