// Which of a cluster's endpoints are out of balancing, for how long, and how many may be.

import Synchronization
import WeirTime

/// One a cluster, shared by its endpoints: whoever finds an endpoint unfit asks here, so that the
/// bounds hold whichever worker or tick asks first. Slow path only.
///
/// An endpoint on probation counts as ejected: it takes no load yet, and so a relapse needs no
/// room.
final class EjectionLedger: Sendable {
    /// What is known of one endpoint.
    struct Record: Sendable {
        /// Ejections, less one for each minute of health since.
        var ejections = 0
        var until: Instant?
        var reason: EjectionReason?
        /// When `ejections` last changed, or the endpoint came back.
        var since = Instant.distantPast
        var returnedAt = Instant.distantPast
        /// When it was last said that it should be out but may not be.
        var sparedAt = Instant.distantPast
        /// Would be out until then, in shadow mode.
        var shadowUntil: Instant?
    }

    fileprivate struct Page {
        var settings = OutlierSettings()
        var members: [(governor: EndpointGovernor, record: Record)] = []
        var isPanicking = false
        var chance = Chance(seed: 0)
        var isSeeded = false
        var events: [EndpointEvent] = []
    }

    private let page = Mutex(Page())
    /// Health that takes one ejection off the count.
    private static let healthPerEjection = Interval.seconds(60)
    /// How long who comes back has to show again what load it bears.
    fileprivate static let recovery = Interval.seconds(5)
    fileprivate static let remindsAfter = Interval.seconds(10)
    /// Events between two ticks at most: there is one thread to drain them, and many to add.
    private static let maxEvents = 4096

    /// Takes up new settings and endpoints; who stays keeps its record.
    func update(_ settings: OutlierSettings, _ governors: [EndpointGovernor]) {
        page.withLock { page in
            var old = page.members
            page.settings = settings
            page.members = governors.map { governor in
                guard let index = old.firstIndex(where: { $0.governor === governor }) else {
                    return (governor, Record())
                }
                return old.remove(at: index)
            }
            for (governor, _) in old { governor.clear([.ejected, .probation, .paused]) }
            guard settings.mode != .enforce else { return }
            for (governor, record) in page.members where record.reason != .manual {
                governor.clear([.ejected, .probation])
            }
        }
    }

    // MARK: Verdicts

    /// Ejects an endpoint, if the cluster's bounds let it.
    @discardableResult
    func report(_ id: UInt32, _ reason: EjectionReason, now: Instant) -> Bool {
        page.withLock { page in
            guard page.settings.mode != .off, let index = page.index(of: id) else { return false }
            let (governor, record) = page.members[index]
            if !governor.condition.isDisjoint(with: [.ejected, .probation]) { return false }
            if let until = record.shadowUntil, now < until { return false }
            guard page.mayEject(index, reason, now: now) else {
                page.noteSpared(index, reason, now)
                return false
            }
            page.eject(index, reason, now: now)
            return true
        }
    }

    /// An endpoint on probation has failed: it is out again, for longer.
    func relapse(_ id: UInt32, _ reason: EjectionReason?, now: Instant) {
        page.withLock { page in
            guard let index = page.index(of: id), !page.isPanicking else { return }
            let (governor, record) = page.members[index]
            guard governor.isOnProbation else { return }
            page.eject(index, reason ?? record.reason ?? .consecutive5xx, now: now)
        }
    }

    func ejectByHand(_ id: UInt32, for length: Interval, now: Instant) -> Bool {
        page.withLock { page in
            guard let index = page.index(of: id) else { return false }
            page.putOut(index, .manual, for: length, now: now)
            return true
        }
    }

    /// Ends an ejection or a probation.
    func readmit(_ id: UInt32, now: Instant) {
        page.withLock { page in
            guard let index = page.index(of: id) else { return }
            let governor = page.members[index].governor
            guard !governor.condition.isDisjoint(with: [.ejected, .probation]) else { return }
            page.members[index].record.until = nil
            page.members[index].record.since = now
            page.members[index].record.returnedAt = now
            governor.forgetRows(from: now)
            governor.clear([.ejected, .probation])
            governor.beginSlowStart(now)
            page.note(.readmitted, id, now)
        }
    }

    /// Leaves an endpoint alone that asked for it, unless it is the last one.
    func pause(_ id: UInt32, until: Instant, now: Instant) {
        page.withLock { page in
            guard until > now, let index = page.index(of: id),
                page.availableBeside(index, now: now) > 0
            else { return }
            let governor = page.members[index].governor
            governor.pausedUntil.store(until.nanoseconds, ordering: .relaxed)
            governor.set(.paused)
            page.note(.paused(for: until - now), id, now)
        }
    }

    // MARK: Ticks

    /// Moves on what time moves on, and hands over what has happened.
    ///
    /// - Returns: whether the cluster panics now.
    func advance(
        now: Instant, chance: inout Chance, events: inout [EndpointEvent]
    ) -> Bool {
        page.withLock { page in
            if !page.isSeeded {
                page.chance = Chance(seed: chance.next())
                page.isSeeded = true
            }
            for index in page.members.indices { page.advance(index, now: now) }
            page.panic(now)
            events.append(contentsOf: page.events)
            page.events.removeAll(keepingCapacity: true)
            return page.isPanicking
        }
    }

    func record(of id: UInt32) -> Record? {
        page.withLock { page in page.index(of: id).map { page.members[$0].record } }
    }

    /// Endpoints that are ejected or on probation.
    var ejectedCount: Int {
        page.withLock { page in
            page.members.count { !$0.governor.condition.isDisjoint(with: [.ejected, .probation]) }
        }
    }
}

// MARK: Under the lock

extension EjectionLedger.Page {
    func index(of id: UInt32) -> Int? { members.firstIndex { $0.governor.id == id } }

    mutating func note(_ kind: EndpointEvent.Kind, _ id: UInt32, _ now: Instant) {
        guard events.count < EjectionLedger.maxEvents else { return }
        events.append(EndpointEvent(kind: kind, endpoint: id, at: now))
    }

    /// Now and then: who deserves to be out deserves it at each look.
    mutating func noteSpared(_ index: Int, _ reason: EjectionReason, _ now: Instant) {
        guard now - members[index].record.sparedAt >= EjectionLedger.remindsAfter else { return }
        members[index].record.sparedAt = now
        note(.spared(reason), members[index].governor.id, now)
    }

    private func isOut(_ index: Int, now: Instant) -> Bool {
        let (governor, record) = members[index]
        if let until = record.shadowUntil, now < until { return true }
        return !governor.condition.isDisjoint(with: [.ejected, .probation])
    }

    /// Endpoints other than this one that take normal traffic.
    func availableBeside(_ candidate: Int, now: Instant) -> Int {
        members.indices.count { index in
            index != candidate && members[index].governor.isAvailable && !isOut(index, now: now)
        }
    }

    func mayEject(_ candidate: Int, _ reason: EjectionReason, now: Instant) -> Bool {
        guard members.count >= 2, !isPanicking else { return false }
        let out = members.indices.count { isOut($0, now: now) }
        let cap = max(1, members.count * min(max(settings.maxEjectionPercent, 0), 100) / 100)
        guard out < cap, availableBeside(candidate, now: now) > 0 else { return false }
        // What always fails serves nobody: without it nothing is lost.
        let isUseless = reason == .consecutive5xx || reason == .consecutiveGateway
        return isUseless || canDoWithout(candidate, now: now)
    }

    /// What the others work on at once bears the load, with a tenth to spare. The candidate's part
    /// of it is taken as that of any other: it may look busy only because it is slow. Who has just
    /// come back is not counted upon: it looks quick and idle since it has had no load, and two
    /// endpoints would take turns at being out.
    private func canDoWithout(_ candidate: Int, now: Instant) -> Bool {
        var places = 0
        var load = 0
        var others = 0
        for index in members.indices where index != candidate && !isOut(index, now: now) {
            let (governor, record) = members[index]
            guard governor.isAvailable else { continue }
            if now - record.returnedAt < EjectionLedger.recovery { continue }
            let limit = governor.currentLimit
            if limit == .max { return true }
            places += ConcurrencyLimiter.places(within: min(limit, 1 << 20))
            load += governor.requestsInFlight
            others += 1
        }
        return others > 0 && places * 10 * others >= load * 11 * (others + 1)
    }

    /// For `base` · 2^k, of which a half is chance, so that endpoints ejected together do not come
    /// back together (equal jitter: Brooker, "Exponential backoff and jitter", 2015).
    mutating func eject(_ index: Int, _ reason: EjectionReason, now: Instant) {
        let base = max(settings.baseEjectionTime.nanoseconds, 1)
        let most = max(settings.maxEjectionTime.nanoseconds, 1)
        let doublings = min(members[index].record.ejections, 40)
        let (product, overflow) = base.multipliedReportingOverflow(by: 1 << Int64(doublings))
        let half = Interval(nanoseconds: (overflow ? most : min(product, most)) / 2)
        putOut(index, reason, for: half + chance.interval(upTo: half), now: now)
    }

    mutating func putOut(
        _ index: Int, _ reason: EjectionReason, for length: Interval, now: Instant
    ) {
        let governor = members[index].governor
        let isShadow = settings.mode == .shadow && reason != .manual
        members[index].record.ejections += 1
        members[index].record.since = now
        members[index].record.reason = reason
        if isShadow {
            members[index].record.shadowUntil = now + length
        } else {
            members[index].record.until = now + length
            governor.set(.ejected)
            governor.clear(.probation)
        }
        note(.ejected(reason, for: length, isShadow: isShadow), governor.id, now)
    }

    mutating func advance(_ index: Int, now: Instant) {
        let governor = members[index].governor
        let condition = governor.condition
        if condition.contains(.paused),
            now.nanoseconds >= governor.pausedUntil.load(ordering: .relaxed)
        {
            governor.clear(.paused)
        }
        if let until = members[index].record.shadowUntil, now >= until {
            members[index].record.shadowUntil = nil
            members[index].record.since = now
        }
        if condition.contains(.ejected) {
            guard let until = members[index].record.until, now < until else {
                return beginProbation(index, now: now)
            }
        } else if condition.contains(.probation) {
            guard governor.isProbeLate(now) else { return }
            governor.goodAnswers.store(0, ordering: .relaxed)
            if !isPanicking { eject(index, .unfinished, now: now) }
        } else if members[index].record.ejections > 0, members[index].record.shadowUntil == nil,
            now - members[index].record.since >= EjectionLedger.healthPerEjection
        {
            members[index].record.ejections -= 1
            members[index].record.since = now
        }
    }

    private mutating func beginProbation(_ index: Int, now: Instant) {
        let governor = members[index].governor
        members[index].record.until = nil
        governor.forgetRows(from: now)
        governor.probe.store(EndpointGovernor.noProbe, ordering: .relaxed)
        governor.set(.probation)
        governor.clear(.ejected)
        note(.probation, governor.id, now)
    }

    /// Drained endpoints are none of the cluster's any more; all others count.
    mutating func panic(_ now: Instant) {
        var counted = 0
        var available = 0
        for (governor, _) in members where !governor.isDraining {
            counted += 1
            if governor.isAvailable { available += 1 }
        }
        let isTooFew = available * 100 < min(settings.panicThreshold, 100) * counted
        guard isTooFew != isPanicking else { return }
        isPanicking = isTooFew
        note(isTooFew ? .panicBegan : .panicEnded, 0, now)
    }
}

extension EndpointGovernor {
    /// The one request of a probation is later than its peers would be. One whose answer has begun
    /// long ago no longer holds up the next.
    fileprivate func isProbeLate(_ now: Instant) -> Bool {
        let start = probe.load(ordering: .relaxed)
        guard start != Self.noProbe else { return false }
        let age = (now - Instant(nanoseconds: start)).nanoseconds
        if hasProbeAnswered.load(ordering: .relaxed) {
            if age > 1_000_000_000 { probe.store(Self.noProbe, ordering: .releasing) }
            return false
        }
        return age > lateAfter.load(ordering: .relaxed)
    }
}
