// What always holds of the admission queue, whatever comes: checked from outside, over many seeds.

import Testing
import WeirPolicy
import WeirTime

/// Random traffic through a queue, and what its owner knows of each waiter.
private struct Traffic {
    struct Known {
        var priority: UInt8
        var tenant: UInt64
        var expiry: Instant
    }

    var stand: QueueStand
    var chance: Chance
    var waiting: [UInt64: Known] = [:]
    let classes: UInt32
    let tenants: UInt32

    init(seed: UInt64, shares: [Int] = []) {
        chance = Chance(seed: seed)
        stand = QueueStand(length: 1 + Int(chance.below(30)), shares: shares)
        classes = 1 + chance.below(5)
        tenants = 1 + chance.below(12)
    }

    func waits(_ isMeant: (UInt8) -> Bool) -> Bool {
        waiting.values.contains { $0.expiry > stand.now && isMeant($0.priority) }
    }

    mutating func arrive() -> (QueueStand.Arrival, UInt8) {
        let priority = UInt8(chance.below(classes))
        let tenant = UInt64(chance.below(tenants))
        let deadline = Interval.milliseconds(chance.below(3) == 0 ? Int64(chance.below(90)) : 5000)
        let arrival = stand.arrive(
            priority, tenant: tenant, weight: UInt16(1 + tenant % 3), within: deadline,
            isRetry: chance.below(10) == 0)
        if let expiry = arrival.expiry {
            #expect(expiry <= stand.now + min(deadline, .milliseconds(100)))
            waiting[arrival.waiter] = Known(priority: priority, tenant: tenant, expiry: expiry)
        }
        return (arrival, priority)
    }
}

@Suite struct `Whatever comes, an admission queue` {
    static let seeds = 0..<300 as Range<UInt64>

    @Test func `I8: dispatches no class while a better one waits`() {
        for seed in Self.seeds {
            var traffic = Traffic(seed: seed)
            for _ in 0..<200 {
                if traffic.chance.below(5) < 3 {
                    let (arrival, _) = traffic.arrive()
                    traffic.waiting[arrival.evicted] = nil
                } else if case let waiter = traffic.stand.pop(), waiter != 0 {
                    let known = traffic.waiting.removeValue(forKey: waiter)
                    guard let known else {
                        Issue.record("seed \(seed): \(waiter) did not wait")
                        continue
                    }
                    #expect(!traffic.waits { $0 < known.priority }, "seed \(seed)")
                } else {
                    // Work-conserving: nobody is held back who could have gone (I12).
                    #expect(!traffic.waits { _ in true }, "seed \(seed)")
                }
                if traffic.chance.below(10) == 0 { traffic.stand.pass(.milliseconds(7)) }
            }
        }
    }

    @Test func `I8: makes an exception for a minimum share, of its size`() {
        for seed in Self.seeds {
            var chance = Chance(seed: seed)
            let shares = [0, Int(chance.below(40)), Int(chance.below(40)), Int(chance.below(20))]
            var stand = QueueStand(length: 2000, shares: shares)
            for priority: UInt8 in 0...3 {
                for _ in 0..<500 { stand.arrive(priority, tenant: UInt64(chance.below(5))) }
            }
            var served = [Int](repeating: 0, count: 4)
            for turn in 1...400 {
                served[Int(stand.pop() - 1) / 500] += 1
                for priority in 1...3 {
                    let due = shares[priority] * turn / 100
                    #expect((due - 3...due).contains(served[priority]), "seed \(seed)")
                }
            }
        }
    }

    @Test func `I9: refuses or pushes out no class while a worse one waits`() {
        for seed in Self.seeds {
            var traffic = Traffic(seed: seed)
            for _ in 0..<200 {
                let (arrival, priority) = traffic.arrive()
                if arrival.refusal == .queueFull {
                    #expect(!traffic.waits { $0 > priority }, "seed \(seed)")
                }
                let evicted = traffic.waiting.removeValue(forKey: arrival.evicted)
                if let evicted, evicted.expiry > traffic.stand.now {
                    #expect(evicted.priority >= priority, "seed \(seed)")
                    #expect(!traffic.waits { $0 > evicted.priority }, "seed \(seed)")
                }
                if traffic.chance.below(3) == 0 { traffic.waiting[traffic.stand.pop()] = nil }
                if traffic.chance.below(10) == 0 { traffic.stand.pass(.milliseconds(9)) }
            }
        }
    }

    @Test(arguments: [1, 2, 5, 20])
    func `I10: lets two backlogged equal tenants differ by a quantum at most`(weight: UInt16) {
        for seed in Self.seeds where seed % UInt64(weight) == 0 {
            var chance = Chance(seed: seed)
            var stand = QueueStand(length: 5000)
            for _ in 0..<chance.below(10) { stand.arrive(tenant: 7, weight: 3) }
            for _ in 0..<chance.below(30) { stand.arrive(tenant: 10 + chance.next() % 50) }
            var owners: [UInt64: UInt64] = [:]
            var lead = 0
            var range = 0...0
            for step in 0..<100 {
                // Both are backlogged from the start; a swarm of others comes and goes.
                for tenant: UInt64 in 1...2 where step < 60 {
                    for _ in 0..<2 {
                        owners[stand.arrive(tenant: tenant, weight: weight).waiter] = tenant
                    }
                }
                for _ in 0..<chance.below(4) { stand.arrive(tenant: 10 + chance.next() % 50) }
                for _ in 0..<2 {
                    let owner = owners[stand.pop()]
                    lead += owner == 1 ? 1 : owner == 2 ? -1 : 0
                    range = min(range.lowerBound, lead)...max(range.upperBound, lead)
                }
            }
            // A new tenant may interrupt a heavy one in its turn: then it is less than two.
            #expect(range.count - 1 <= (weight == 1 ? 1 : 2 * Int(weight) - 1), "seed \(seed)")
        }
    }

    @Test func `I11: shares permits evenly among backlogged equal tenants, Jain ≥ 0.98`() {
        for seed in 0..<8 as Range<UInt64> {
            var chance = Chance(seed: seed)
            let tenants = 2 + Int(chance.below(9))
            // 500 permits a second for 10 s; the first tenant sends twice its share, the last most.
            var stand = QueueStand(length: 100)
            var served = [Double](repeating: 0, count: tenants)
            var owners: [UInt64: Int] = [:]
            for _ in 0..<5000 {
                for tenant in 0..<tenants {
                    let load = UInt32(2 + tenant) * 1000 / UInt32(tenants)
                    let count = load / 1000 + (chance.below(1000) < load % 1000 ? 1 : 0)
                    for _ in 0..<count {
                        owners[stand.arrive(tenant: UInt64(tenant)).waiter] = tenant
                    }
                }
                stand.pass(.milliseconds(2))
                _ = stand.popExpired()
                if let owner = owners[stand.pop()] { served[owner] += 1 }
            }
            let sum = served.reduce(0, +)
            let squares = served.reduce(0) { $0 + $1 * $1 }
            let index = sum * sum / (Double(tenants) * squares)
            #expect(index >= 0.98, "seed \(seed): \(index), \(served)")
            #expect(sum > 4950, "seed \(seed)")
        }
    }

    @Test func `I13: lets nobody wait past the expiry, and stays within its bound`() {
        for seed in Self.seeds {
            var traffic = Traffic(seed: seed)
            for _ in 0..<200 {
                let (arrival, _) = traffic.arrive()
                traffic.waiting[arrival.evicted] = nil
                traffic.stand.pass(.microseconds(Int64(traffic.chance.below(9000))))
                let now = traffic.stand.now
                if traffic.chance.below(2) == 0, case let waiter = traffic.stand.pop(), waiter != 0
                {
                    let expiry = traffic.waiting.removeValue(forKey: waiter)?.expiry
                    #expect(expiry ?? .distantPast > now, "seed \(seed)")
                }
                for waiter in traffic.stand.popExpired() {
                    let expiry = traffic.waiting.removeValue(forKey: waiter)?.expiry
                    #expect(expiry ?? .distantFuture <= now, "seed \(seed)")
                }
                #expect(traffic.waiting.values.allSatisfy { $0.expiry > now }, "seed \(seed)")
                #expect(traffic.stand.queue.count == traffic.waiting.count, "seed \(seed)")
                #expect(traffic.waiting.count <= traffic.stand.settings.maxLength, "seed \(seed)")
            }
        }
    }

    @Test func `I14: serves a sparse tenant beside a flood, soon and always`() {
        for seed in Self.seeds {
            var chance = Chance(seed: seed)
            let floods = 1 + UInt64(chance.below(5))
            var stand = QueueStand(length: 20 + Int(chance.below(80)))
            var sparse: UInt64 = 0
            var permits = 0
            for step in 0..<300 {
                // One request for twelve permits is below the fair share of one tenant in six.
                if step % 12 == 0 {
                    let arrival = stand.arrive(tenant: 99)
                    #expect(arrival.isQueued && sparse == 0, "seed \(seed)")
                    sparse = arrival.waiter
                    permits = 0
                }
                for _ in 0..<chance.below(8) {
                    let flood = stand.arrive(tenant: 1 + chance.next() % floods)
                    #expect(flood.evicted == 0 || flood.evicted != sparse, "seed \(seed)")
                }
                stand.pass(.milliseconds(2))
                #expect(!stand.popExpired().contains(sparse), "seed \(seed)")
                permits += 1
                guard case let waiter = stand.pop(), waiter != 0, waiter == sparse else { continue }
                // Each other tenant goes before it once at most.
                #expect(permits <= Int(floods) + 1, "seed \(seed)")
                sparse = 0
            }
        }
    }

    @Test func `I31: gives a request no worse a verdict for a better class`() {
        for seed in 0..<2000 as Range<UInt64> {
            var traffic = Traffic(seed: seed)
            for _ in 0..<traffic.chance.below(60) {
                _ = traffic.arrive()
                if traffic.chance.below(3) == 0 { _ = traffic.stand.pop() }
            }
            let lower = UInt8(1 + traffic.chance.below(4))
            let higher = UInt8(traffic.chance.below(UInt32(lower)))
            let tenant = UInt64(traffic.chance.below(traffic.tenants))
            var plain = traffic
            var raised = traffic
            let arrival = plain.stand.arrive(lower, tenant: tenant)
            let better = raised.stand.arrive(higher, tenant: tenant)
            guard arrival.isQueued else { continue }
            #expect(better.isQueued, "seed \(seed)")
            let turn = Self.turn(of: arrival.waiter, in: &plain)
            let betterTurn = Self.turn(of: better.waiter, in: &raised)
            #expect(betterTurn ?? .max <= turn ?? .max, "seed \(seed)")
        }
    }

    /// After how many permits a request gets one while others come; `nil` if it is pushed out.
    private static func turn(of waiter: UInt64, in traffic: inout Traffic) -> Int? {
        for turn in 0..<100 {
            for _ in 0..<traffic.chance.below(3) where turn < 20 {
                if traffic.arrive().0.evicted == waiter { return nil }
            }
            if traffic.stand.pop() == waiter { return turn }
        }
        return nil
    }
}
