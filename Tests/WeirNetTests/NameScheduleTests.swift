// When a name is looked up again, in virtual time.

import Testing
import WeirNet
import WeirTime

private let start = Instant(nanoseconds: 1_000_000)

private func addresses(_ last: UInt32...) -> [SocketAddress] {
    last.map { .ip(IPAddress(v4: 0x0A00_0000 + $0), port: 80) }
}

extension NameSchedule {
    /// Feeds a good answer, and returns the news and the wait for the next lookup.
    fileprivate mutating func succeed(
        _ found: [SocketAddress], life: Interval = .seconds(60), chance: inout Chance
    ) -> (News?, Interval) {
        let answer = ResolvedName(addresses: found, timeToLive: life)
        let news = answered(.success(answer), now: start, chance: &chance)
        return (news, nextLookup - start)
    }

    fileprivate mutating func fail(
        _ failure: ResolveFailure = .timedOut, chance: inout Chance
    ) -> (News?, Interval) {
        let news = answered(.failure(failure), now: start, chance: &chance)
        return (news, nextLookup - start)
    }
}

private func isWithinTenth(_ wait: Interval, of pause: Interval) -> Bool {
    let tenth = Interval(nanoseconds: pause.nanoseconds / 10)
    return wait >= pause - tenth && wait <= pause + tenth
}

@Suite struct `A name's schedule` {
    @Test func `follows the time to live, or the interval it was given`() {
        var chance = Chance(seed: 1)
        var following = NameSchedule(every: nil)
        var fixed = NameSchedule(every: .seconds(10))
        for seconds in [1, 5, 600, 3600] as [Int64] {
            let life = Interval.seconds(seconds)
            let (_, wait) = following.succeed(addresses(1), life: life, chance: &chance)
            #expect(isWithinTenth(wait, of: life))
            let (_, fixedWait) = fixed.succeed(addresses(1), life: life, chance: &chance)
            #expect(isWithinTenth(fixedWait, of: .seconds(10)))
        }
    }

    @Test func `spreads lookups over a tenth to either side`() {
        var chance = Chance(seed: 1)
        var schedule = NameSchedule(every: .seconds(10))
        let waits = (0..<1000).map { _ in
            schedule.succeed(addresses(1), chance: &chance).1
        }
        #expect(waits.allSatisfy { isWithinTenth($0, of: .seconds(10)) })
        #expect(waits.contains { $0 < .milliseconds(9100) })
        #expect(waits.contains { $0 > .milliseconds(10_900) })
    }

    @Test func `reports a changed set and keeps quiet about the same one`() {
        var chance = Chance(seed: 1)
        var schedule = NameSchedule(every: nil)
        #expect(schedule.succeed(addresses(1), chance: &chance).0 == .addresses(addresses(1)))
        #expect(schedule.succeed(addresses(1), chance: &chance).0 == nil)
        #expect(schedule.succeed(addresses(1, 2), chance: &chance).0 == .addresses(addresses(1, 2)))
        #expect(schedule.succeed(addresses(2), chance: &chance).0 == .addresses(addresses(2)))
    }

    @Test func `backs off from failures up to half a minute, and forgets them`() {
        var chance = Chance(seed: 1)
        var schedule = NameSchedule(every: nil)
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] as [Int64] {
            let (_, wait) = schedule.fail(chance: &chance)
            #expect(isWithinTenth(wait, of: .seconds(seconds)), "\(wait)")
        }
        _ = schedule.succeed(addresses(1), chance: &chance)
        #expect(isWithinTenth(schedule.fail(chance: &chance).1, of: .seconds(1)))
    }

    @Test func `keeps the last good addresses through failures, and says when they end`() {
        var chance = Chance(seed: 1)
        var schedule = NameSchedule(every: nil)
        _ = schedule.succeed(addresses(1), chance: &chance)
        #expect(schedule.fail(.timedOut, chance: &chance).0 == .failed(.timedOut))
        #expect(schedule.fail(.serverFailed, chance: &chance).0 == nil)
        #expect(schedule.addresses == addresses(1))
        #expect(schedule.failure == .serverFailed)
        #expect(schedule.succeed(addresses(1), chance: &chance).0 == .recovered)
        #expect(schedule.failure == nil)
    }

    @Test func `reports a failure at first`() {
        var chance = Chance(seed: 1)
        var schedule = NameSchedule(every: nil)
        #expect(schedule.fail(.nameMissing, chance: &chance).0 == .failed(.nameMissing))
        #expect(schedule.addresses == [])
        #expect(schedule.succeed(addresses(1), chance: &chance).0 == .addresses(addresses(1)))
    }
}
