// What the table of buckets promises: fixed memory, nobody flushed, exact among threads.

import Dispatch
import Synchronization
import Testing
import WeirPolicy
import WeirTime

extension RateGovernor {
    /// Whether `key` may spend `cost` now.
    fileprivate func spend(_ key: UInt64, _ law: RateLaw, cost: Int64 = 1, at now: Int64) -> Bool {
        var charge = RateCharge(key: key, law: law, cost: cost)
        return withUnsafeMutablePointer(to: &charge) {
            self.charge(.init(start: $0, count: 1), now: Instant(nanoseconds: now)).isAdmitted
        }
    }
}

/// Runs `body` on as many threads at once.
private func onThreads(_ count: Int, _ body: @Sendable (Int) -> Void) {
    DispatchQueue.concurrentPerform(iterations: count, execute: body)
}

private let second: Int64 = 1_000_000_000
/// Busy for an hour after one request.
private let hourly = RateLimit(count: 1, period: .seconds(3600), burst: 1).law

@Suite struct `The bucket table` {
    @Test func `keeps a million busy tenants in 64 MiB, each with a bucket of its own`() {
        #expect(BucketTable.bytes(for: 1_000_000) <= 60 << 20)
        let governor = RateGovernor(capacity: 1_000_000)
        var chance = Chance(seed: 1)
        var refused = 0
        for _ in 0..<1_000_000 where !governor.spend(chance.next(), hourly, at: 0) { refused += 1 }
        #expect(refused == 0)
        #expect(governor.buckets.sharedCharges == 0)
        #expect(governor.buckets.bytes <= BucketTable.bytes(for: 1_000_000))
        #expect(governor.buckets.busyCount(now: Instant(nanoseconds: 0)) == 1_000_000)
        var again = Chance(seed: 1)
        var admitted = 0
        for _ in 0..<100_000 where governor.spend(again.next(), hourly, at: second) {
            admitted += 1
        }
        #expect(admitted == 0)
    }

    @Test func `takes little memory before there are tenants`() {
        let table = RateGovernor(capacity: 1_000_000).buckets
        #expect(table.bytes < 512 << 10)
    }

    @Test func `does not let a million hostile keys flush a busy tenant, or grow`() {
        let governor = RateGovernor(capacity: 2000)
        let known = (1...500).map { UInt64($0) }
        for key in known { #expect(governor.spend(key, hourly, at: 0)) }
        var chance = Chance(seed: 3)
        let bound = BucketTable.bytes(for: 2000)
        for turn in 0..<1_000_000 {
            _ = governor.spend(chance.next(), hourly, at: Int64(turn))
        }
        #expect(governor.buckets.bytes <= bound)
        #expect(governor.buckets.sharedCharges > 0)
        for key in known { #expect(!governor.spend(key, hourly, at: second)) }
        for key in known { #expect(governor.spend(key, hourly, at: 3600 * second)) }
    }

    @Test func `gives the slot of a full bucket to a newcomer`() {
        let governor = RateGovernor(capacity: 8)
        let law = RateLimit(count: 10, period: .seconds(1), burst: 1).law
        for turn in 0..<1000 {
            let now = Int64(turn / 16) * second
            #expect(governor.spend(UInt64(turn + 1), law, at: now))
            #expect(!governor.spend(UInt64(turn + 1), law, at: now))
        }
        #expect(governor.buckets.sharedCharges == 0)
    }

    @Test func `lets newcomers share among each other where all slots are busy, and counts it`() {
        let governor = RateGovernor(capacity: 8)
        for key: UInt64 in 1...16 { #expect(governor.spend(key, hourly, at: 0)) }
        #expect(governor.buckets.sharedCharges == 0)
        let law = RateLimit(count: 1, period: .seconds(1), burst: 50).law
        var admitted = 0
        for key: UInt64 in 100..<1100 where governor.spend(key, law, at: 0) { admitted += 1 }
        // Two blocks, so two shared buckets for this law.
        #expect(admitted == 100)
        #expect(governor.buckets.sharedCharges == 100)
        for key: UInt64 in 1...16 { #expect(!governor.spend(key, hourly, at: 3599 * second)) }
    }

    @Test func `refunds and settles where it charged, shared or not`() {
        let governor = RateGovernor(capacity: 8)
        for key: UInt64 in 1...16 { #expect(governor.spend(key, hourly, at: 0)) }
        let limit = RateLimit(count: 1, period: .seconds(1), burst: 5)
        let now = Instant(nanoseconds: 0)
        var charges = [RateCharge(key: 99, law: limit.law, cost: 5)]
        charges.withUnsafeMutableBufferPointer { charges in
            for _ in 0..<10 {
                #expect(governor.charge(charges, now: now).isAdmitted)
                #expect(!governor.spend(99, limit.law, at: 0))
                governor.refund(charges)
            }
            #expect(governor.charge(charges, now: now).isAdmitted)
            governor.settle(charges, actual: 8, now: now)
            let verdict = governor.charge(charges, now: now)
            #expect(verdict.retryAfter == .seconds(8))
        }
    }

    @Test func `tells the exact wait from a shared bucket that a later level will meet`() {
        let governor = RateGovernor(capacity: 8)
        for key: UInt64 in 1...16 { #expect(governor.spend(key, hourly, at: 0)) }
        let law = RateLimit(count: 1, period: .seconds(9), burst: 1).law
        #expect(governor.spend(99, law, at: 0))
        var charges = [RateCharge(key: 1, law: hourly), RateCharge(key: 99, law: law)]
        charges.withUnsafeMutableBufferPointer {
            let verdict = governor.charge($0, now: Instant(nanoseconds: 0))
            #expect(verdict.retryAfter == .seconds(3600))
        }
        charges = [RateCharge(key: 99, law: law), RateCharge(key: 1, law: hourly)]
        charges.withUnsafeMutableBufferPointer {
            let verdict = governor.charge($0, now: Instant(nanoseconds: 0))
            #expect(verdict.retryAfter == .seconds(3600))
            #expect(verdict.level == 0)
        }
    }

    @Test func `says what a tenant has left and whether it is known`() {
        let governor = RateGovernor(capacity: 100)
        let limit = RateLimit(count: 2, period: .seconds(1), burst: 10)
        let start = Instant(nanoseconds: 0)
        #expect(governor.level(of: 5, limit: limit, now: start) == (10, false))
        #expect(governor.spend(5, limit.law, cost: 7, at: 0))
        #expect(governor.level(of: 5, limit: limit, now: start) == (3, true))
        let later = Instant(nanoseconds: 1_250_000_000)
        #expect(governor.level(of: 5, limit: limit, now: later) == (5, true))
    }
}

@Suite struct `Threads at one table` {
    @Test func `admit exactly the burst of one key`() {
        let governor = RateGovernor(capacity: 100)
        let law = RateLimit(count: 1, period: .seconds(1), burst: 10_000).law
        let admitted = Atomic<Int>(0)
        onThreads(8) { _ in
            for _ in 0..<5000 where governor.spend(1, law, at: 5) {
                admitted.add(1, ordering: .relaxed)
            }
        }
        #expect(admitted.load(ordering: .relaxed) == 10_000)
    }

    @Test func `I1: admit at most r·dt + B of a hot key while time goes on, and nearly all of it`()
    {
        let governor = RateGovernor(capacity: 100)
        let limit = RateLimit(count: 1_000_000, period: .seconds(1), burst: 100)
        let clock = Atomic<Int64>(0)
        let admitted = Atomic<Int64>(0)
        onThreads(8) { _ in
            for _ in 0..<20_000 {
                let now = clock.add(100, ordering: .relaxed).newValue
                if governor.spend(7, limit.law, at: now) { admitted.add(1, ordering: .relaxed) }
            }
        }
        let time = clock.load(ordering: .relaxed)
        let bound = time / 1000 + 100
        let count = admitted.load(ordering: .relaxed)
        #expect(count <= bound)
        #expect(count > bound * 9 / 10)
    }

    @Test func `that bring the same new keys at once find one bucket for each`() {
        let governor = RateGovernor(capacity: 20_000)
        let law = RateLimit(count: 1, period: .seconds(1), burst: 3).law
        let admitted = Atomic<Int>(0)
        onThreads(4) { _ in
            for key: UInt64 in 1...5000 {
                for _ in 0..<3 where governor.spend(key, law, at: 0) {
                    admitted.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(governor.buckets.busyCount(now: Instant(nanoseconds: 0)) == 5000)
        // A thread that sleeps while it takes a slot lets the key spend from another one, or from a
        // shared bucket, meanwhile. Nothing of that is forgotten.
        var charged = Int(governor.buckets.sharedCharges)
        for key: UInt64 in 1...5000 {
            let wait = (1...10).first { governor.spend(key, law, at: Int64($0) * second) } ?? 11
            charged += wait + 2
        }
        let count = admitted.load(ordering: .relaxed)
        #expect(charged == count)
        #expect((15_000...15_100).contains(count))
    }

    @Test func `I3: that charge and refund leave a bucket as it was`() {
        let governor = RateGovernor(capacity: 100)
        let limit = RateLimit(count: 1, period: .seconds(60), burst: 1000)
        #expect(governor.spend(3, limit.law, cost: 400, at: 0))
        onThreads(8) { thread in
            var charges = [
                RateCharge(key: 3, law: limit.law, cost: Int64(1 + thread)),
                RateCharge(key: 4, law: limit.law),
            ]
            for _ in 0..<3000 {
                charges.withUnsafeMutableBufferPointer {
                    _ = governor.charge($0, now: Instant(nanoseconds: 0))
                    governor.refund($0)
                }
            }
        }
        let now = Instant(nanoseconds: 0)
        #expect(governor.level(of: 3, limit: limit, now: now).tokens == 600)
        #expect(governor.level(of: 4, limit: limit, now: now).tokens == 1000)
    }

    @Test func `do not flush a busy key while slots change hands around it`() {
        let governor = RateGovernor(capacity: 8)
        let churn = RateLimit(count: 1000, period: .seconds(1), burst: 1).law
        let hot = RateLimit(count: 100, period: .seconds(1), burst: 10)
        let clock = Atomic<Int64>(0)
        let admitted = Atomic<Int64>(0)
        onThreads(4) { thread in
            var chance = Chance(seed: UInt64(thread + 1))
            for _ in 0..<20_000 {
                // Sixteen slots, each free again after 11 ms: most newcomers take one over.
                let now = clock.add(500_000, ordering: .relaxed).newValue
                _ = governor.spend(chance.next(), churn, at: now)
                if governor.spend(1, hot.law, at: now) { admitted.add(1, ordering: .relaxed) }
            }
        }
        let bound = clock.load(ordering: .relaxed) / 10_000_000 + 10
        #expect(admitted.load(ordering: .relaxed) <= bound)
        #expect(admitted.load(ordering: .relaxed) > bound * 9 / 10)
    }

    @Test func `I7: that charge by an old and a new law in turns admit one burst`() {
        for seed in 0..<20 {
            let governor = RateGovernor(capacity: 8)
            let laws = [1, 50].map {
                RateLimit(count: $0, period: .seconds(1), burst: 200).law
            }
            let admitted = Atomic<Int>(0)
            onThreads(4) { thread in
                for _ in 0..<300
                where governor.spend(UInt64(seed + 1), laws[thread % 2], at: 0) {
                    admitted.add(1, ordering: .relaxed)
                }
            }
            // A slot whose locker sleeps sends requests to the shared bucket, which says so.
            let shared = Int(governor.buckets.sharedCharges)
            #expect(admitted.load(ordering: .relaxed) - shared <= 200)
            #expect(admitted.load(ordering: .relaxed) >= 198)
        }
    }
}
