// The stack of objects that wait to be used again: order, and that none is leaked or freed early.

import Testing

@testable import WeirProxy

private final class Thing {
    let number: Int
    init(_ number: Int) { self.number = number }
}

@Suite struct SparesTests {
    @Test func `gives back the last one first, and grows`() {
        var spares = Spares<Thing>(capacity: 1)
        for number in 0..<9 { spares.push(Thing(number)) }
        var numbers: [Int] = []
        while let thing = spares.pop() { numbers.append(thing.number) }
        #expect(numbers == Array((0..<9).reversed()))
    }

    @Test func `removes one from the middle, and only once`() {
        var spares = Spares<Thing>()
        let things = (0..<4).map { Thing($0) }
        for thing in things { spares.push(thing) }
        let isRemoved = spares.remove(things[1])
        let isRemovedAgain = spares.remove(things[1])
        #expect(isRemoved && !isRemovedAgain)
        #expect(spares.removeAll().map(\.number) == [0, 2, 3])
        #expect(spares.count == 0)
    }

    @Test func `lets go of the first ones until it is told to stop`() {
        var spares = Spares<Thing>()
        weak var gone: Thing?
        do {
            let first = Thing(0)
            gone = first
            spares.push(first)
        }
        for number in 1..<4 { spares.push(Thing(number)) }
        var seen: [Int] = []
        spares.drain { thing in
            seen.append(thing.number)
            return seen.count < 2
        }
        #expect(seen == [0, 1] && gone == nil)
        spares.drain { thing in
            seen.append(thing.number)
            return true
        }
        #expect(seen == [0, 1, 2, 3] && spares.isEmpty)
    }

    @Test func `moves what there is room for, and lets go of the rest`() {
        var from = Spares<Thing>()
        var to = Spares<Thing>()
        let thing = Thing(0)
        weak var surplus: Thing?
        do {
            let last = Thing(1)
            surplus = last
            from.push(thing)
            from.push(last)
        }
        var seen: [Int] = []
        from.move(to: &to, atMost: 1) { seen.append($0.number) }
        #expect(seen == [0, 1])
        #expect(surplus == nil)
        #expect(from.count == 0)
        #expect(to.pop() === thing)
    }

    @Test func `lets go of all that it holds at its end`() {
        weak var held: Thing?
        do {
            var spares = Spares<Thing>()
            let thing = Thing(0)
            held = thing
            spares.push(thing)
        }
        #expect(held == nil)
    }
}
