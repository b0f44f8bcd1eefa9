// Stops a route or a cluster that keeps failing, then probes it. Off unless it is configured.

import Synchronization
public import WeirTime

/// A breaker's values.
package struct BreakerSettings: Equatable, Sendable {
    package var mode = Mode.off
    /// Failures among the window's requests at which it opens; 1...100.
    package var failurePercent = 50
    /// Requests of the window below which it never opens; 1...30,000.
    package var minRequests = 20
    package var window = Interval.seconds(10)
    /// How long it stays open the first time; doubles each time its probes fail, up to a minute.
    package var openFor = Interval.seconds(5)
    /// Requests that may be under way while half-open, and that must succeed for it to close.
    package var probes = 3
    package init() {}
}

/// What a breaker is doing, for the status page.
package struct BreakerState: Equatable, Sendable {
    package enum Phase: String, Sendable {
        case closed
        case open
        case halfOpen = "half_open"
    }
    package var phase: Phase
    /// Counts the changes of phase.
    package var generation: UInt32
    /// When it lets probes through; only where it is open.
    package var reopensAt: Instant?
    /// Probes under way, those of earlier generations among them.
    package var probes: Int

    package init(phase: Phase, generation: UInt32, reopensAt: Instant?, probes: Int) {
        self.phase = phase
        self.generation = generation
        self.reopensAt = reopensAt
        self.probes = probes
    }
}

/// A circuit breaker (Nygard, "Release It!", 2007), with a number for each phase it goes through:
/// an answer to a request of an earlier phase has no effect.
///
///     closed ──(failures ≥ failurePercent of ≥ minRequests)──▸ open
///     open ──(openFor has passed, and a request asks)──▸ half-open
///     half-open ──(`probes` probes have succeeded)──▸ closed
///     half-open ──(a probe has failed)──▸ open, for twice as long
///
/// The window rolls by tenths. Asking a closed breaker is one load, settling a request two loads
/// and an exchange; only a breaker that is half-open, or changes its phase, takes the mutex.
///
/// Every `.pass` and `.probe` is settled once; a probe that is not keeps its place for good.
/// In shadow mode the caller lets `.open` go ahead, counts it, and does not settle it.
///
/// Shared by all workers.
public final class Breaker: Sendable {
    /// Whether a request goes ahead.
    public enum Verdict: Equatable, Sendable {
        /// Goes ahead; the number is given back with the outcome.
        case pass(generation: UInt32)
        /// Half-open: goes ahead as one of the probes, and must be settled.
        case probe(generation: UInt32)
        /// Open: `after` is when it may close.
        case open(after: Interval)
    }

    /// No doubling goes beyond it.
    private static let longestOpen = Interval.seconds(60)
    private static let slots = 10

    private struct Probing {
        var settings: BreakerSettings
        /// Times in a row that it has opened without closing in between.
        var openings = 0
        /// Probes under way, of whatever generation: the upstream has them all.
        var underWay = 0
        /// Those of this generation.
        var underWayNow = 0
        var succeeded = 0
    }

    /// Phase (high half) and generation (low half).
    private let state = Atomic<UInt64>(0)
    private let reopensAt = Atomic<Int64>(0)
    /// By slot: a `Tally`.
    private let window = InlineArray<16, Atomic<UInt64>> { _ in Atomic(0) }
    private let failurePercent = Atomic<Int>(50)
    private let minRequests = Atomic<Int>(20)
    private let slotLength = Atomic<Int64>(1)
    private let probing: Mutex<Probing>

    package init(_ settings: BreakerSettings) {
        probing = Mutex(Probing(settings: settings))
        apply(settings)
    }

    /// Takes up new settings. Phase, probes and time to reopen stay; the window starts anew if it
    /// is another one. Switched off, the breaker closes.
    package func update(_ settings: BreakerSettings) {
        probing.withLock { probing in
            probing.settings = settings
            apply(settings)
            if settings.mode == .off, phase != .closed { close(&probing) }
        }
    }

    private func apply(_ settings: BreakerSettings) {
        failurePercent.store(min(max(settings.failurePercent, 1), 100), ordering: .relaxed)
        minRequests.store(min(max(settings.minRequests, 1), 30_000), ordering: .relaxed)
        let length = max(settings.window.nanoseconds / Int64(Self.slots), 1_000_000)
        guard slotLength.exchange(length, ordering: .relaxed) != length else { return }
        for index in window.indices { window[index].store(0, ordering: .relaxed) }
    }

    // MARK: Requests

    /// Whether a request may go ahead.
    public func ask(now: Instant) -> Verdict {
        let seen = state.load(ordering: .acquiring)
        if Self.phase(seen) == .closed { return .pass(generation: Self.generation(seen)) }
        if Self.phase(seen) == .open {
            let after = Instant(nanoseconds: reopensAt.load(ordering: .relaxed)) - now
            if after > .zero { return .open(after: after) }
        }
        return probing.withLock { probe(&$0, now: now) }
    }

    /// `isFailure` is nil where the request says nothing about the upstream.
    public func settle(_ verdict: Verdict, isFailure: Bool?, now: Instant) {
        switch verdict {
        case .open: return
        case .pass(let generation):
            guard let isFailure, count(isFailure, generation, now: now), isFailure,
                hasFailed(generation, now: now)
            else { return }
            probing.withLock { probing in
                // Another worker may have been first.
                guard self.isNow(.closed, generation) else { return }
                open(&probing, now: now)
            }
        case .probe(let generation):
            probing.withLock { settle(&$0, generation, isFailure, now: now) }
        }
    }

    // MARK: Open and half-open

    private func probe(_ probing: inout Probing, now: Instant) -> Verdict {
        if phase == .open {
            let after = Instant(nanoseconds: reopensAt.load(ordering: .relaxed)) - now
            if after > .zero { return .open(after: after) }
            enter(.halfOpen, &probing)
        }
        let places = max(probing.settings.probes, 1)
        // A reload may have made fewer do than have succeeded.
        if phase == .halfOpen, probing.succeeded >= places { close(&probing) }
        let generation = Self.generation(state.load(ordering: .relaxed))
        guard phase == .halfOpen else { return .pass(generation: generation) }
        guard probing.underWay < places, probing.succeeded + probing.underWayNow < places else {
            return .open(after: min(openInterval(probing), .seconds(1)))
        }
        probing.underWay += 1
        probing.underWayNow += 1
        return .probe(generation: generation)
    }

    private func settle(
        _ probing: inout Probing, _ generation: UInt32, _ isFailure: Bool?, now: Instant
    ) {
        probing.underWay = max(probing.underWay - 1, 0)
        guard isNow(.halfOpen, generation) else { return }
        probing.underWayNow = max(probing.underWayNow - 1, 0)
        guard let isFailure else { return }
        if isFailure { return open(&probing, now: now) }
        probing.succeeded += 1
        if probing.succeeded >= max(probing.settings.probes, 1) { close(&probing) }
    }

    private func open(_ probing: inout Probing, now: Instant) {
        probing.openings += 1
        let until = now + openInterval(probing)
        reopensAt.store(until.nanoseconds, ordering: .relaxed)
        enter(.open, &probing)
    }

    private func close(_ probing: inout Probing) {
        probing.openings = 0
        enter(.closed, &probing)
    }

    private func enter(_ phase: BreakerState.Phase, _ probing: inout Probing) {
        probing.underWayNow = 0
        probing.succeeded = 0
        let generation = Self.generation(state.load(ordering: .relaxed)) &+ 1
        state.store(Self.word(phase, generation), ordering: .releasing)
    }

    private func openInterval(_ probing: Probing) -> Interval {
        let base = max(probing.settings.openFor, .milliseconds(1))
        let limit = max(base, Self.longestOpen).nanoseconds
        let doublings = Int64(min(max(probing.openings - 1, 0), 62))
        guard base.nanoseconds <= limit >> doublings else { return Interval(nanoseconds: limit) }
        return Interval(nanoseconds: base.nanoseconds << doublings)
    }

    // MARK: The window

    /// One slot's requests and failures, with what tells a slot in use from one of long ago: the
    /// low bits of the generation and of the slot's number.
    private struct Tally {
        var word: UInt64

        init(word: UInt64) { self.word = word }
        init(_ generation: UInt32, _ slot: Int64) {
            word =
                (UInt64(generation & 0xFF) << 56)
                | (UInt64(truncatingIfNeeded: slot & 0xFF_FFFF) << 32)
        }

        var requests: UInt64 { word & 0xFFFF }
        var failures: UInt64 { (word >> 16) & 0xFFFF }

        func isOf(_ other: Tally) -> Bool { word >> 32 == other.word >> 32 }

        mutating func add(isFailure: Bool) {
            if requests == 0xFFFF {
                // The share stays as it is, which is all that counts among so many.
                word = (word & ~0xFFFF_FFFF) | ((failures / 2) << 16) | (requests / 2)
            }
            word += isFailure ? 0x1_0001 : 1
        }
    }

    /// `false` where the generation is over.
    private func count(_ isFailure: Bool, _ generation: UInt32, now: Instant) -> Bool {
        let slot = now.slot(ofLength: slotLength.load(ordering: .relaxed))
        let current = Tally(generation, slot)
        let index = Int(slot & 15)
        while true {
            // Before the phase: whatever a later generation has counted is then seen together with
            // that generation, and is left alone.
            let seen = Tally(word: window[index].load(ordering: .acquiring))
            guard isNow(.closed, generation) else { return false }
            var tally = seen.isOf(current) ? seen : current
            tally.add(isFailure: isFailure)
            let (won, _) = window[index].weakCompareExchange(
                expected: seen.word, desired: tally.word, ordering: .acquiringAndReleasing)
            if won { return true }
        }
    }

    /// Whether the window's failures are enough to open.
    private func hasFailed(_ generation: UInt32, now: Instant) -> Bool {
        let slot = now.slot(ofLength: slotLength.load(ordering: .relaxed))
        var requests = 0
        var failures = 0
        for age in 0..<Int64(Self.slots) {
            let tally = Tally(
                word: window[Int((slot &- age) & 15)].load(ordering: .relaxed))
            guard tally.isOf(Tally(generation, slot &- age)) else { continue }
            requests += Int(tally.requests)
            failures += Int(tally.failures)
        }
        return requests >= minRequests.load(ordering: .relaxed)
            && failures * 100 >= requests * failurePercent.load(ordering: .relaxed)
    }

    // MARK: Phase and generation

    private var phase: BreakerState.Phase { Self.phase(state.load(ordering: .relaxed)) }

    private func isNow(_ phase: BreakerState.Phase, _ generation: UInt32) -> Bool {
        state.load(ordering: .acquiring) == Self.word(phase, generation)
    }

    private static func word(_ phase: BreakerState.Phase, _ generation: UInt32) -> UInt64 {
        let bits: UInt64 =
            switch phase {
            case .closed: 0
            case .open: 1
            case .halfOpen: 2
            }
        return (bits << 32) | UInt64(generation)
    }

    private static func phase(_ word: UInt64) -> BreakerState.Phase {
        switch word >> 32 {
        case 0: .closed
        case 1: .open
        default: .halfOpen
        }
    }

    private static func generation(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }

    // MARK: For the status page

    /// What the breaker is doing. One that is open and whose time is over says so until it is
    /// asked.
    package var current: BreakerState {
        probing.withLock { probing in
            let seen = state.load(ordering: .relaxed)
            let reopensAt = Instant(nanoseconds: reopensAt.load(ordering: .relaxed))
            return BreakerState(
                phase: Self.phase(seen), generation: Self.generation(seen),
                reopensAt: Self.phase(seen) == .open ? reopensAt : nil,
                probes: probing.underWay)
        }
    }
}
