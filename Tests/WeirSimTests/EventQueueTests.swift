// The engine: events happen by time, then in the order in which they were planned.

import Testing
import WeirTime

@testable import WeirSim

@Suite struct EventQueueTests {
    @Test func `events happen by time, and at one time as they were planned`() {
        var queue = EventQueue()
        var chance = Chance(seed: 7)
        for number in 0..<5000 {
            queue.plan(.sample, at: Int64(chance.below(500)), subject: UInt64(number))
        }
        var last: (time: Int64, subject: UInt64) = (-1, 0)
        var count = 0
        while let event = queue.next(until: .max) {
            #expect(
                event.time > last.time || event.time == last.time && event.subject > last.subject)
            last = (event.time, event.subject)
            count += 1
        }
        #expect(count == 5000)
    }

    @Test func `timers of one length keep their order among all other events`() {
        var queue = EventQueue()
        var chance = Chance(seed: 8)
        var expected: [(time: Int64, number: UInt64)] = []
        var happened: [(time: Int64, number: UInt64)] = []
        var number: UInt64 = 0
        while number < 3000 || !queue.isEmpty {
            if number < 3000 {
                for _ in 0..<3 {
                    number += 1
                    let length = Int64([10, 250, 1000][Int(chance.below(3))])
                    expected.append((queue.now + length, number))
                    queue.planTimer(.due, after: length, subject: number)
                }
                number += 1
                let time = queue.now + Int64(chance.below(40))
                expected.append((time, number))
                queue.plan(.answer, at: time, subject: number)
            }
            guard let event = queue.next(until: .max) else { break }
            happened.append((event.time, event.subject))
            if event.kind == .due { queue.follow(event) { _ in false } }
        }
        expected.sort { ($0.time, $0.number) < ($1.time, $1.number) }
        #expect(happened.map(\.number) == expected.map(\.number))
    }

    @Test func `a stale timer never goes off, and those behind it do`() {
        var queue = EventQueue()
        for number in 1...100 { queue.planTimer(.due, after: 50, subject: UInt64(number)) }
        var happened: [UInt64] = []
        while let event = queue.next(until: .max) {
            happened.append(event.subject)
            queue.follow(event) { $0.subject % 10 != 0 }
        }
        #expect(happened == [1] + (1...10).map { $0 * 10 })
    }

    @Test func `nothing after the end happens`() {
        var queue = EventQueue()
        queue.plan(.tick, at: 10)
        queue.plan(.tick, at: 11)
        #expect(queue.next(until: 10)?.time == 10)
        #expect(queue.next(until: 10) == nil)
        #expect(queue.next(until: 11)?.time == 11)
    }
}
