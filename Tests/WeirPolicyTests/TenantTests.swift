// Which plan a tenant has, and how many requests it may have under way.

import Dispatch
import Synchronization
import Testing
import WeirPolicy
import WeirTime

@Suite struct `The tenant directory` {
    @Test func `knows the plan of a million tenants, and nobody else's`() {
        var chance = Chance(seed: 4)
        let assignments = (0..<1_000_000).map { (hash: chance.next() | 1, plan: UInt16($0 % 7)) }
        let directory = TenantDirectory(assignments, defaultPlan: 9)
        var wrong = 0
        for (hash, plan) in assignments where directory.plan(of: hash) != plan { wrong += 1 }
        #expect(wrong == 0)
        #expect(directory.count == 1_000_000)
        for _ in 0..<100_000 where directory.plan(of: chance.next() & ~1) != 9 { wrong += 1 }
        #expect(wrong == 0)
    }

    @Test func `that is empty has the default plan for all`() {
        let directory = TenantDirectory([], defaultPlan: 3)
        #expect(directory.plan(of: 0) == 3)
        #expect(directory.plan(of: 1) == 3)
        #expect(directory.plan(of: .max) == 3)
        #expect(directory.count == 0)
    }

    @Test func `takes the later of two entries and none for the hash 0`() {
        let directory = TenantDirectory([(5, 1), (6, 2), (5, 4), (0, 1)], defaultPlan: 0)
        #expect(directory.plan(of: 5) == 4)
        #expect(directory.plan(of: 6) == 2)
        #expect(directory.plan(of: 0) == 0)
        #expect(directory.count == 2)
    }
}

@Suite struct `Tenant concurrency` {
    @Test func `admits up to the limit, and again when a request ends`() {
        let tenants = TenantConcurrency(capacity: 100)
        var holds = (0..<3).compactMap { _ in tenants.acquire(1, limit: 3) }
        #expect(holds.count == 3)
        #expect(tenants.acquire(1, limit: 3) == nil)
        #expect(tenants.acquire(2, limit: 1) != nil)
        #expect(tenants.count(of: 1) == 3)
        tenants.release(holds.removeLast())
        #expect(tenants.count(of: 1) == 2)
        #expect(tenants.acquire(1, limit: 3) != nil)
        #expect(tenants.acquire(1, limit: 3) == nil)
    }

    @Test func `follows a limit that changes, and forgets nobody in flight`() {
        let tenants = TenantConcurrency(capacity: 100)
        for _ in 0..<5 { #expect(tenants.acquire(1, limit: 5) != nil) }
        #expect(tenants.acquire(1, limit: 2) == nil)
        #expect(tenants.acquire(1, limit: 6) != nil)
        #expect(tenants.acquire(1, limit: 0) == nil)
        #expect(tenants.acquire(3, limit: .max) != nil)
    }

    @Test func `I27: is back to nothing when every hold has been given back`() {
        let tenants = TenantConcurrency(capacity: 2000)
        var chance = Chance(seed: 8)
        var holds: [TenantConcurrency.Hold] = []
        var counts: [UInt64: Int] = [:]
        var keys: [UInt64] = []
        for _ in 0..<50_000 {
            if chance.below(2) == 0 || holds.isEmpty {
                let key = UInt64(1 + chance.below(300))
                let isFull = counts[key, default: 0] == 4
                let hold = tenants.acquire(key, limit: 4)
                #expect((hold == nil) == isFull)
                guard let hold else { continue }
                counts[key, default: 0] += 1
                holds.append(hold)
                keys.append(key)
            } else {
                let index = Int(chance.below(UInt32(holds.count)))
                tenants.release(holds.remove(at: index))
                counts[keys.remove(at: index), default: 0] -= 1
            }
        }
        for hold in holds { tenants.release(hold) }
        for key: UInt64 in 1...300 { #expect(tenants.count(of: key) == 0) }
        #expect(tenants.uncounted == 0)
    }

    @Test func `admits strangers uncounted where all slots are taken, and caps who has one`() {
        let tenants = TenantConcurrency(capacity: 8)
        let holds = (UInt64(1)...16).compactMap { tenants.acquire($0, limit: 1) }
        #expect(holds.count == 16)
        let strangers = (UInt64(20)...29).compactMap { tenants.acquire($0, limit: 1) }
        #expect(strangers.count == 10)
        #expect(tenants.uncounted == 10)
        for hold in strangers { tenants.release(hold) }
        for key: UInt64 in 1...16 {
            #expect(tenants.count(of: key) == 1)
            #expect(tenants.acquire(key, limit: 1) == nil)
        }
    }

    @Test func `is exact among threads: never above the limit, nothing left over`() {
        let tenants = TenantConcurrency(capacity: 64)
        let inside = (0..<16).map { _ in Counter() }
        let isExceeded = Atomic<Bool>(false)
        let granted = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 8) { thread in
            var chance = Chance(seed: UInt64(thread))
            for _ in 0..<10_000 {
                let key = Int(chance.below(16))
                guard let hold = tenants.acquire(UInt64(key + 1), limit: 2) else { continue }
                granted.add(1, ordering: .relaxed)
                let now = inside[key].value.add(1, ordering: .sequentiallyConsistent).newValue
                if now > 2 { isExceeded.store(true, ordering: .relaxed) }
                inside[key].value.subtract(1, ordering: .sequentiallyConsistent)
                tenants.release(hold)
            }
        }
        let wasExceeded = isExceeded.load(ordering: .relaxed)
        #expect(!wasExceeded)
        #expect(granted.load(ordering: .relaxed) > 40_000)
        for key: UInt64 in 1...16 { #expect(tenants.count(of: key) == 0) }
    }

    @Test func `gives exactly the limit to threads that keep what they get`() {
        let tenants = TenantConcurrency(capacity: 5000)
        let granted = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for key: UInt64 in 1...2000 {
                for _ in 0..<3 where tenants.acquire(key, limit: 5) != nil {
                    granted.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(granted.load(ordering: .relaxed) == 10_000)
    }
}

private final class Counter: Sendable {
    let value = Atomic<Int>(0)
}
