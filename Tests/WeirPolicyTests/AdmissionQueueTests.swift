// The rules of the admission queue, one by one.

import Testing
import WeirPolicy
import WeirTime

@Suite struct `The order of an admission queue` {
    @Test func `is that of arrival where all are equal`() {
        var stand = QueueStand()
        for _ in 0..<5 { stand.arrive() }
        #expect(stand.drain() == [1, 2, 3, 4, 5])
        #expect(stand.pop() == 0)
    }

    @Test func `puts a better class first, whenever it came`() {
        var stand = QueueStand()
        for priority: UInt8 in [3, 1, 0, 2, 1, 0] { stand.arrive(priority) }
        #expect(stand.drain() == [3, 6, 2, 5, 4, 1])
    }

    @Test func `takes classes beyond the last for the last`() {
        var stand = QueueStand()
        for priority: UInt8 in [255, 7, 8, 6] { stand.arrive(priority) }
        #expect(stand.queue.count(ofClass: 7) == 3)
        #expect(stand.queue.count(ofClass: 255) == 0)
        #expect(stand.drain() == [4, 1, 2, 3])
    }

    @Test func `gives a class its minimum share while better ones wait`() {
        var stand = QueueStand(shares: [0, 20, 0, 5])
        for _ in 0..<400 { stand.arrive(0, tenant: 1) }
        for _ in 0..<40 { stand.arrive(1) }
        for _ in 0..<40 { stand.arrive(2) }
        let order = stand.pop(100)
        #expect(order.filter { $0 <= 400 }.count == 80)
        #expect(order.filter { (401...440).contains($0) }.count == 20)
        for _ in 0..<20 { stand.arrive(3) }
        // At the hundredth turn both are owed one; class 3 gets its own a turn later.
        let later = stand.pop(101)
        #expect(later.filter { $0 <= 400 }.count == 76)
        #expect(later.filter { (401...440).contains($0) }.count == 20)
        #expect(later.filter { $0 > 480 }.count == 5)
    }

    @Test func `saves up no share that a class did not need`() {
        var stand = QueueStand(shares: [0, 50])
        for _ in 0..<100 { stand.arrive(0) }
        #expect(stand.pop(50).allSatisfy { $0 <= 100 })
        stand.arrive(1)
        stand.arrive(1)
        #expect(stand.pop(4) == [51, 101, 52, 102])
    }

    @Test func `counts towards the share what a class got anyway`() {
        var stand = QueueStand(shares: [0, 50])
        for _ in 0..<10 { stand.arrive(1) }
        _ = stand.pop(7)
        stand.arrive(0)
        stand.arrive(0)
        #expect(stand.pop(4) == [11, 8, 12, 9])
    }

    @Test func `cuts shares beyond the whole`() {
        var stand = QueueStand(shares: [-5, 90, 90, 90])
        for priority: UInt8 in 0...3 {
            for _ in 0..<100 { stand.arrive(priority) }
        }
        let order = stand.pop(100)
        #expect(order.filter { (101...200).contains($0) }.count == 90)
        #expect(order.filter { $0 > 300 }.count == 0)
    }

    @Test func `puts a retry before new work of its tenant and class only`() {
        var stand = QueueStand()
        stand.arrive(1, tenant: 1)
        stand.arrive(1, tenant: 1)
        stand.arrive(1, tenant: 1, isRetry: true)
        stand.arrive(1, tenant: 1, isRetry: true)
        stand.arrive(0, tenant: 1)
        stand.arrive(2, tenant: 1, isRetry: true)
        #expect(stand.drain() == [5, 3, 4, 1, 2, 6])
    }

    @Test func `keeps retries in order when one of them leaves`() {
        var stand = QueueStand()
        stand.arrive()
        stand.arrive(isRetry: true)
        let leaver = stand.arrive(isRetry: true)
        #expect(stand.queue.remove(leaver.handle, waiter: leaver.waiter) == true)
        stand.arrive(isRetry: true)
        #expect(stand.drain() == [2, 4, 1])
    }

    @Test func `lets tenants take turns`() {
        var stand = QueueStand()
        for _ in 0..<3 { stand.arrive(tenant: 1) }
        for _ in 0..<3 { stand.arrive(tenant: 2) }
        for _ in 0..<2 { stand.arrive(tenant: 0) }
        #expect(stand.drain() == [1, 4, 7, 2, 5, 8, 3, 6])
    }

    @Test func `gives a tenant turns by weight`() {
        var stand = QueueStand()
        for _ in 0..<90 { stand.arrive(tenant: 1, weight: 3) }
        for _ in 0..<90 { stand.arrive(tenant: 2, weight: 0) }
        #expect(stand.pop(8) == [1, 2, 3, 91, 4, 5, 6, 92])
        #expect(stand.pop(40).filter { $0 <= 90 }.count == 30)
    }

    @Test func `puts a tenant that had nothing waiting first, for one turn`() {
        var stand = QueueStand()
        for _ in 0..<100 { stand.arrive(tenant: 1) }
        for _ in 0..<100 { stand.arrive(tenant: 2) }
        _ = stand.pop(20)
        stand.arrive(tenant: 3)
        stand.arrive(tenant: 3)
        #expect(stand.pop(5) == [201, 11, 111, 202, 12])
    }

    @Test func `takes a tenant for new only after a round without it`() {
        var stand = QueueStand()
        for _ in 0..<100 { stand.arrive(tenant: 1) }
        _ = stand.pop(10)
        stand.arrive(tenant: 2)
        #expect(stand.pop() == 101)
        // One at a time, it takes turns; it does not get every permit.
        var got = 0
        for _ in 0..<20 {
            let next = stand.arrive(tenant: 2)
            if stand.pop() == next.waiter { got += 1 } else { _ = stand.pop() }
        }
        #expect(got <= 10)
        #expect(stand.queue.count(ofClass: 0) >= 70)
    }

    @Test func `lets no swarm of new tenants starve an old one`() {
        var stand = QueueStand()
        for _ in 0..<50 { stand.arrive(tenant: 1) }
        _ = stand.pop(1)
        var served = 0
        for tenant: UInt64 in 2..<402 {
            stand.arrive(tenant: tenant)
            if stand.pop() <= 50 { served += 1 }
        }
        // The swarm alone asks for every permit: the more of it waits, the rarer are the turns.
        #expect((20...45).contains(served))
    }
}

@Suite struct `A full admission queue` {
    @Test func `pushes out the newest of the longest tenant in the lowest class`() {
        var stand = QueueStand(length: 6)
        stand.arrive(3, tenant: 1)
        stand.arrive(2, tenant: 2)
        for _ in 0..<2 { stand.arrive(3, tenant: 3) }
        stand.arrive(1, tenant: 4)
        stand.arrive(3, tenant: 1, isRetry: true)
        // Tenants 1 and 3 are equally long: the newest new work of both goes, and no retry.
        #expect(stand.arrive(0).evicted == 4)
        #expect(stand.arrive(1).evicted == 1)
        #expect(stand.arrive(2).evicted == 6)
        #expect(stand.arrive(2, tenant: 9).evicted == 3)
        #expect(stand.queue.count == 6)
    }

    @Test func `refuses what is worse than all that wait`() {
        var stand = QueueStand(length: 2)
        stand.arrive(0, tenant: 1)
        stand.arrive(1, tenant: 1)
        #expect(stand.arrive(2, tenant: 2).refusal == .queueFull)
        #expect(stand.queue.count == 2)
    }

    @Test func `refuses a tenant that is or would be as long as the longest`() {
        var stand = QueueStand(length: 5)
        for _ in 0..<3 { stand.arrive(tenant: 1) }
        for _ in 0..<2 { stand.arrive(tenant: 2) }
        #expect(stand.arrive(tenant: 1).refusal == .queueFull)
        #expect(stand.arrive(tenant: 2).refusal == .queueFull)
        #expect(stand.arrive(tenant: 3).evicted == 3)
        #expect(stand.arrive(tenant: 3).refusal == .queueFull)
    }

    @Test func `measures tenants by weight`() {
        var stand = QueueStand(length: 8)
        for _ in 0..<6 { stand.arrive(tenant: 1, weight: 6) }
        for _ in 0..<2 { stand.arrive(tenant: 2, weight: 1) }
        #expect(stand.arrive(tenant: 2, weight: 1).refusal == .queueFull)
        #expect(stand.arrive(tenant: 1, weight: 6).evicted == 8)
        #expect(stand.arrive(tenant: 1, weight: 6).refusal == .queueFull)
    }

    @Test func `of no length lets nobody wait`() {
        for length in [0, -1, .min] {
            var stand = QueueStand(length: length)
            #expect(stand.arrive().refusal == .queueFull)
        }
    }

    @Test func `keeps who waits when its bound shrinks, and stays full until there is room`() {
        var stand = QueueStand(length: 4)
        for tenant: UInt64 in 1...4 { stand.arrive(1, tenant: tenant) }
        stand.setLength(2)
        #expect(stand.queue.count == 4)
        #expect(stand.arrive(1, tenant: 5).refusal == .queueFull)
        #expect(stand.arrive(0, tenant: 5).evicted == 4)
        #expect(stand.queue.count == 4)
        #expect(stand.pop(3) == [7 - 1, 1, 2])
        #expect(stand.arrive(1, tenant: 6).evicted == 0)
        #expect(stand.arrive(1, tenant: 7).refusal == .queueFull)
        stand.setLength(3)
        #expect(stand.arrive(1, tenant: 7).isQueued)
    }

    @Test func `has room where somebody's time is up`() {
        var stand = QueueStand(length: 2)
        for _ in 0..<2 { stand.arrive() }
        stand.pass(.milliseconds(100))
        let late = stand.arrive(7)
        #expect(late.isQueued && late.evicted == 0)
        #expect(stand.queue.count == 3)
        #expect(stand.popExpired() == [1, 2])
        #expect(stand.queue.count == 1)
    }

    @Test func `is bounded even where nobody collects what has expired`() {
        var stand = QueueStand(length: 4)
        var evicted: [UInt64] = []
        for _ in 0..<20 {
            let arrival = stand.arrive()
            #expect(arrival.isQueued)
            if arrival.evicted != 0 { evicted.append(arrival.evicted) }
            stand.pass(.milliseconds(100))
        }
        #expect(stand.queue.count == 8)
        #expect(evicted == Array(1...12))
    }
}

@Suite struct `Waiting in an admission queue` {
    @Test func `ends at the deadline or after the longest wait`() {
        var stand = QueueStand()
        stand.pass(.seconds(5))
        #expect(stand.arrive().expiry == stand.now + .milliseconds(100))
        #expect(stand.arrive(within: .milliseconds(30)).expiry == stand.now + .milliseconds(30))
        #expect(stand.arrive(within: .seconds(1)).expiry == stand.now + .milliseconds(100))
    }

    @Test func `is not begun past the deadline`() {
        var stand = QueueStand(length: 1)
        stand.arrive(1)
        #expect(stand.arrive(0, within: .zero).refusal == .deadline)
        #expect(stand.arrive(0, within: .milliseconds(-3)).refusal == .deadline)
        #expect(stand.drain() == [1])
    }

    @Test func `is shorter where the tenant's queue has stood`() {
        var stand = QueueStand()
        stand.arrive(tenant: 1)
        for _ in 0..<3 {
            stand.pass(.milliseconds(50))
            #expect(stand.arrive(tenant: 1).isQueued)
            _ = stand.pop()
        }
        // Never empty for 150 ms, though nobody has waited for longer than 50.
        #expect(stand.arrive(tenant: 1).expiry == stand.now + .milliseconds(20))
        #expect(stand.arrive(tenant: 2).expiry == stand.now + .milliseconds(100))
        #expect(stand.arrive(1, tenant: 1).expiry == stand.now + .milliseconds(100))
        let hurried = stand.arrive(tenant: 1, within: .milliseconds(5))
        #expect(hurried.expiry == stand.now + .milliseconds(5))
        while stand.pop() != 0 {}
        #expect(stand.arrive(tenant: 1).expiry == stand.now + .milliseconds(100))
    }

    @Test func `is not yet shorter at the longest wait itself`() {
        var stand = QueueStand()
        stand.arrive()
        stand.pass(.milliseconds(60))
        stand.arrive()
        stand.pass(.milliseconds(40))
        #expect(stand.arrive().expiry == stand.now + .milliseconds(100))
        stand.pass(Interval(nanoseconds: 1))
        #expect(stand.arrive().expiry == stand.now + .milliseconds(20))
    }

    @Test func `ends for all in the order of their expiries`() {
        var stand = QueueStand()
        for milliseconds: Int64 in [70, 10, 90, 200, 30] {
            stand.arrive(tenant: 1, within: .milliseconds(milliseconds))
        }
        #expect(stand.popExpired() == [])
        stand.pass(.milliseconds(29))
        #expect(stand.popExpired() == [2])
        stand.pass(.milliseconds(1))
        #expect(stand.popExpired() == [5])
        stand.pass(.milliseconds(70))
        #expect(stand.popExpired() == [1, 3, 4])
        #expect(stand.queue.count == 0)
    }

    @Test func `ends without a permit when the time is up`() {
        var stand = QueueStand()
        stand.arrive(within: .milliseconds(10))
        stand.arrive()
        stand.arrive(within: .milliseconds(10))
        stand.pass(.milliseconds(10))
        #expect(stand.drain() == [2])
        #expect(stand.queue.count == 2)
        #expect(stand.queue.count(ofClass: 0) == 0)
        #expect(stand.popExpired() == [1, 3])
    }

    @Test func `ends early for one that leaves, once`() {
        var stand = QueueStand()
        let arrivals = (0..<3).map { _ in stand.arrive() }
        #expect(stand.queue.remove(arrivals[1].handle, waiter: 2) == true)
        #expect(stand.queue.remove(arrivals[1].handle, waiter: 2) == false)
        #expect(stand.queue.remove(arrivals[1].handle, waiter: 0) == false)
        #expect(stand.queue.remove(0, waiter: 0) == false)
        #expect(stand.queue.remove(.max, waiter: 1) == false)
        #expect(stand.drain() == [1, 3])
        #expect(stand.queue.remove(arrivals[0].handle, waiter: 1) == false)
    }

    @Test func `is not ended by the handle of one before`() {
        var stand = QueueStand()
        let old = stand.arrive()
        #expect(stand.pop() == 1)
        let new = stand.arrive()
        #expect(new.handle == old.handle)
        #expect(stand.queue.remove(old.handle, waiter: old.waiter) == false)
        #expect(stand.queue.remove(new.handle, waiter: new.waiter) == true)
    }

    @Test func `may still be ended by one whose time is up`() {
        var stand = QueueStand()
        let arrivals = (0..<3).map { _ in stand.arrive() }
        stand.pass(.seconds(1))
        #expect(stand.pop() == 0)
        #expect(stand.queue.remove(arrivals[1].handle, waiter: 2) == true)
        #expect(stand.queue.count == 2)
        #expect(stand.popExpired() == [1, 3])
    }

    @Test func `is shown by class, by tenant and by age`() {
        var stand = QueueStand()
        #expect(stand.queue.oldestWait(now: stand.now) == .zero)
        stand.arrive(1, tenant: 1)
        stand.pass(.milliseconds(5))
        stand.arrive(0, tenant: 1)
        stand.arrive(1, tenant: 2)
        stand.arrive(1, tenant: 2)
        #expect(stand.queue.count == 4)
        #expect((-1...2).map { stand.queue.count(ofClass: $0) } == [0, 1, 3, 0])
        #expect(stand.queue.tenantsWaiting == 3)
        stand.pass(.milliseconds(2))
        #expect(stand.queue.oldestWait(now: stand.now) == .milliseconds(7))
        #expect(stand.pop(2) == [2, 1])
        #expect(stand.queue.tenantsWaiting == 1)
        #expect(stand.queue.oldestWait(now: stand.now) == .milliseconds(2))
    }
}
