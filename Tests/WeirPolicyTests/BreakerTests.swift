// Every way from one phase of a breaker to another, and those that there are not.

import Testing
import WeirPolicy
import WeirTime

private func settings(_ change: (inout BreakerSettings) -> Void = { _ in }) -> BreakerSettings {
    var settings = BreakerSettings()
    settings.mode = .enforce
    change(&settings)
    return settings
}

private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }

extension Breaker {
    /// Asks and settles at once; returns the verdicts.
    @discardableResult
    fileprivate func run(_ count: Int, isFailure: Bool?, at now: Instant) -> [Verdict] {
        (0..<count).map { _ in
            let verdict = ask(now: now)
            settle(verdict, isFailure: isFailure, now: now)
            return verdict
        }
    }

    fileprivate static func opened(
        at now: Instant, _ change: (inout BreakerSettings) -> Void = { _ in }
    ) -> Breaker {
        let breaker = Breaker(settings(change))
        breaker.run(20, isFailure: true, at: now)
        return breaker
    }
}

extension Breaker.Verdict {
    fileprivate var isProbe: Bool { if case .probe = self { true } else { false } }
    fileprivate var isPass: Bool { if case .pass = self { true } else { false } }
    fileprivate var isOpen: Bool { if case .open = self { true } else { false } }
}

@Suite struct `A closed breaker` {
    @Test func `opens at its share of failures, not before`() {
        let breaker = Breaker(settings())
        breaker.run(15, isFailure: false, at: at(1))
        breaker.run(14, isFailure: true, at: at(1))
        #expect(breaker.current.phase == .closed)
        #expect(breaker.ask(now: at(1)) == .pass(generation: 0))
        breaker.run(1, isFailure: true, at: at(1))
        #expect(
            breaker.current
                == BreakerState(phase: .open, generation: 1, reopensAt: at(6), probes: 0))
        #expect(breaker.ask(now: at(2)) == .open(after: .seconds(4)))
    }

    @Test func `does not open for too few requests`() {
        let breaker = Breaker(settings())
        breaker.run(19, isFailure: true, at: at(1))
        #expect(breaker.current.phase == .closed)
        breaker.run(1, isFailure: true, at: at(1))
        #expect(breaker.current.phase == .open)
    }

    @Test func `does not count what says nothing`() {
        let breaker = Breaker(settings())
        breaker.run(1000, isFailure: nil, at: at(1))
        breaker.run(19, isFailure: true, at: at(1))
        #expect(breaker.current.phase == .closed)
    }

    @Test func `forgets failures that are older than its window`() {
        let breaker = Breaker(settings())
        breaker.run(19, isFailure: true, at: at(1))
        breaker.run(19, isFailure: true, at: at(11))
        #expect(breaker.current.phase == .closed)
        breaker.run(1, isFailure: true, at: at(19.9))
        #expect(breaker.current.phase == .open)
    }

    @Test func `keeps to the share when a slot has more requests than it can count`() {
        let breaker = Breaker(settings())
        for _ in 0..<40_000 {
            breaker.run(3, isFailure: false, at: at(1))
            breaker.run(2, isFailure: true, at: at(1))
        }
        #expect(breaker.current.phase == .closed)
        breaker.run(60_000, isFailure: true, at: at(1))
        #expect(breaker.current.phase == .open)
    }

    @Test func `opens once, though workers see it fail together`() async {
        let breaker = Breaker(settings())
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask { breaker.run(5000, isFailure: true, at: at(1)) }
            }
        }
        #expect(breaker.current.phase == .open && breaker.current.generation == 1)
    }
}

@Suite struct `An open breaker` {
    @Test func `refuses until its time has come, then lets probes through`() {
        let breaker = Breaker.opened(at: at(1))
        #expect(breaker.run(100, isFailure: true, at: at(5.999)).allSatisfy { $0.isOpen })
        #expect(breaker.current.generation == 1)
        #expect(breaker.ask(now: at(6)) == .probe(generation: 2))
        #expect(
            breaker.current
                == BreakerState(phase: .halfOpen, generation: 2, reopensAt: nil, probes: 1))
    }

    @Test func `says how long`() {
        let breaker = Breaker.opened(at: at(1))
        #expect(breaker.ask(now: at(1)) == .open(after: .seconds(5)))
        #expect(breaker.ask(now: at(5.5)) == .open(after: .milliseconds(500)))
    }

    @Test func `I26: late answers from before have no effect`() {
        let breaker = Breaker(settings())
        let late = (0..<200).map { _ in breaker.ask(now: at(1)) }
        breaker.run(20, isFailure: true, at: at(1))
        for verdict in late.prefix(100) { breaker.settle(verdict, isFailure: true, now: at(2)) }
        #expect(breaker.current.reopensAt == at(6) && breaker.current.generation == 1)
        // Nor do they, once it has closed again, in the very slot that they would count in.
        breaker.run(3, isFailure: false, at: at(6))
        #expect(breaker.current.phase == .closed && breaker.current.generation == 3)
        breaker.run(10, isFailure: true, at: at(6))
        for verdict in late.suffix(100) { breaker.settle(verdict, isFailure: true, now: at(6)) }
        breaker.run(9, isFailure: true, at: at(6))
        #expect(breaker.current.phase == .closed && breaker.current.generation == 3)
        breaker.run(1, isFailure: true, at: at(6))
        #expect(breaker.current.phase == .open && breaker.current.generation == 4)
    }
}

@Suite struct `A half-open breaker` {
    @Test func `closes when all its probes have succeeded`() {
        let breaker = Breaker.opened(at: at(1))
        let probes = (0..<3).map { _ in breaker.ask(now: at(6)) }
        #expect(probes.allSatisfy { $0.isProbe })
        for probe in probes.dropLast() {
            breaker.settle(probe, isFailure: false, now: at(7))
            #expect(breaker.current.phase == .halfOpen)
            // Two have succeeded and one is out: no fourth is needed.
            #expect(breaker.ask(now: at(7)).isOpen)
        }
        breaker.settle(probes[2], isFailure: false, now: at(8))
        #expect(
            breaker.current
                == BreakerState(phase: .closed, generation: 3, reopensAt: nil, probes: 0))
        #expect(breaker.ask(now: at(8)) == .pass(generation: 3))
    }

    @Test func `starts anew when it closes: old failures are not counted`() {
        let breaker = Breaker.opened(at: at(1)) { $0.openFor = .milliseconds(100) }
        breaker.run(3, isFailure: false, at: at(1.2))
        #expect(breaker.current.phase == .closed)
        breaker.run(19, isFailure: true, at: at(1.2))
        #expect(breaker.current.phase == .closed)
        breaker.run(1, isFailure: true, at: at(1.2))
        #expect(breaker.current.phase == .open && breaker.current.reopensAt == at(1.3))
    }

    @Test func `opens again at the first failure, twice as long each time, up to a minute`() {
        let breaker = Breaker.opened(at: at(0))
        var now = 5.0
        for length in [10.0, 20, 40, 60, 60, 60] {
            let others = (0..<2).map { _ in breaker.ask(now: at(now)) }
            breaker.run(1, isFailure: true, at: at(now))
            #expect(breaker.current.phase == .open && breaker.current.reopensAt == at(now + length))
            // What its siblings say comes too late.
            for other in others { breaker.settle(other, isFailure: true, now: at(now + 1)) }
            #expect(breaker.current.reopensAt == at(now + length))
            now += length
        }
        breaker.run(3, isFailure: false, at: at(now))
        #expect(breaker.current.phase == .closed)
        breaker.run(20, isFailure: true, at: at(now))
        #expect(breaker.current.reopensAt == at(now + 5))
    }

    @Test func `keeps to a time longer than a minute that is configured`() {
        let breaker = Breaker.opened(at: at(0)) { $0.openFor = .seconds(90) }
        breaker.run(1, isFailure: true, at: at(90))
        #expect(breaker.current.reopensAt == at(180))
        let forever = Breaker.opened(at: at(0)) { $0.openFor = .max }
        #expect(forever.ask(now: at(1e9)).isOpen)
    }

    @Test func `I26: has at most k requests under way, whatever became of earlier ones`() {
        let breaker = Breaker.opened(at: at(1))
        let first = (0..<100).map { _ in breaker.ask(now: at(6)) }
        #expect(first.count { $0.isProbe } == 3 && !first.contains { $0.isPass })
        breaker.settle(first[0], isFailure: true, now: at(6))
        // Two of the earlier generation still hang when it is half-open again.
        let second = (0..<100).map { _ in breaker.ask(now: at(16)) }
        #expect(second.count { $0.isProbe } == 1)
        #expect(second[0] == .probe(generation: 4))
        breaker.settle(first[1], isFailure: false, now: at(17))
        #expect(breaker.ask(now: at(17)) == .probe(generation: 4))
        #expect(breaker.ask(now: at(17)).isOpen)
    }

    @Test func `takes the place of a probe back that said nothing`() {
        let breaker = Breaker.opened(at: at(1))
        let probes = (0..<3).map { _ in breaker.ask(now: at(6)) }
        for probe in probes { breaker.settle(probe, isFailure: nil, now: at(7)) }
        #expect(breaker.current.phase == .halfOpen && breaker.current.probes == 0)
        #expect(breaker.run(3, isFailure: false, at: at(8)).allSatisfy { $0.isProbe })
        #expect(breaker.current.phase == .closed)
    }

    @Test func `says that it may be closed soon`() {
        let breaker = Breaker.opened(at: at(1))
        _ = (0..<3).map { _ in breaker.ask(now: at(6)) }
        #expect(breaker.ask(now: at(6)) == .open(after: .seconds(1)))
    }
}

@Suite struct `A breaker's reload` {
    @Test func `keeps phase, generation and time to reopen`() {
        let breaker = Breaker.opened(at: at(1))
        let before = breaker.current
        breaker.update(
            settings {
                $0.openFor = .seconds(50); $0.failurePercent = 90
            })
        #expect(breaker.current == before)
        breaker.run(1, isFailure: true, at: at(6))
        #expect(breaker.current.reopensAt == at(66))
    }

    @Test func `closes it when it is switched off`() {
        let breaker = Breaker.opened(at: at(1))
        breaker.update(settings { $0.mode = .off })
        #expect(breaker.ask(now: at(1)) == .pass(generation: 2))
    }

    @Test func `with fewer probes does not leave it half-open for good`() {
        let breaker = Breaker.opened(at: at(1))
        breaker.run(2, isFailure: false, at: at(6))
        breaker.update(settings { $0.probes = 1 })
        #expect(breaker.ask(now: at(7)) == .pass(generation: 3))
    }

    @Test func `stands absurd settings and clocks`() {
        for value in [Int.min, 0, .max] {
            for span in [Interval(nanoseconds: .min), .zero, .max] {
                let breaker = Breaker(
                    settings {
                        ($0.failurePercent, $0.minRequests, $0.probes) = (value, value, value)
                        ($0.window, $0.openFor) = (span, span)
                    })
                for now in [Int64.min, -1, 0, .max] {
                    breaker.run(50, isFailure: true, at: Instant(nanoseconds: now))
                }
            }
        }
    }
}

@Suite struct `A breaker under random traffic` {
    @Test(arguments: 1...100 as ClosedRange<UInt64>)
    func `I26: half-open in-flight ≤ k, generations only grow, each settled probe is returned`(
        seed: UInt64
    ) {
        var chance = Chance(seed: seed)
        let places = Int(chance.below(4)) + 1
        let breaker = Breaker(
            settings {
                $0.probes = places
                $0.openFor = .milliseconds(Int64(chance.below(2000)))
                $0.minRequests = 5
            })
        var now = Instant(nanoseconds: Int64(chance.below(100)) * 1_000_000_000)
        var underWay: [Breaker.Verdict] = []
        var generation: UInt32 = 0
        var phases = Set<BreakerState.Phase>()
        var failurePercent: UInt32 = 50
        for _ in 0..<2000 {
            if chance.below(100) == 0 { failurePercent = [0, 50, 100][Int(chance.below(3))] }
            now = now + chance.interval(upTo: .milliseconds(60))
            if chance.below(2) == 0 || underWay.isEmpty {
                let verdict = breaker.ask(now: now)
                if !verdict.isOpen { underWay.append(verdict) }
            } else {
                let index = Int(chance.below(UInt32(underWay.count)))
                let outcome = chance.below(10) == 0 ? nil : chance.below(100) < failurePercent
                breaker.settle(underWay.remove(at: index), isFailure: outcome, now: now)
            }
            let state = breaker.current
            #expect(state.generation >= generation && state.generation <= generation + 2)
            generation = state.generation
            phases.insert(state.phase)
            let probes = underWay.count { $0.isProbe }
            #expect(probes <= places && probes == state.probes)
        }
        #expect(phases.count == 3)
    }
}
