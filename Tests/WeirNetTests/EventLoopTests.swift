// Turns: readiness, deferral, removal, timers.

import Foundation
import Glibc
import Synchronization
import Testing
import WeirNet
import WeirTime

/// Writes down what the loop says.
private final class Recorder: EventSource {
    var events: [Events] = []
    var resumptions: [UInt64] = []
    var onReady: (Recorder) -> Void = { _ in }
    var onResume: (Recorder) -> Void = { _ in }
    var onEnd: () -> Void = {}

    override func ready(_ events: Events) {
        self.events.append(events)
        onReady(self)
    }

    override func resume() { onResume(self) }

    deinit { onEnd() }
}

private final class Alarm: TimerTarget {
    var firings = 0
    var onFire: () -> Void = {}
    override func timerFired() {
        firings += 1
        onFire()
    }
}

private func socketPair() -> (Recorder, Recorder) {
    var pair: (Int32, Int32) = (-1, -1)
    withUnsafeMutableBytes(of: &pair) {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
        precondition(
            socketpair(AF_UNIX, type, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress) == 0)
    }
    return (Recorder(fd: pair.0), Recorder(fd: pair.1))
}

@Suite struct `An event loop` {
    @Test func `hears nothing of a removed source whose open file somebody else still holds`()
        throws
    {
        let loop = try EventLoop()
        let (near, far) = socketPair()
        try loop.add(near)
        loop.settle()
        let before = near.events.count
        // What reading /proc/PID/fd does for a moment.
        let other = dup(near.fd)
        defer { _ = close(other) }
        loop.remove(near)
        _ = Socket.send(far.fd, "x", count: 1)
        loop.settle()
        #expect(near.events.count == before)
    }

    @Test func `tells of readiness at its edges only`() throws {
        let loop = try EventLoop()
        let (near, far) = socketPair()
        try loop.add(near)
        loop.turn(maxWait: .zero)
        #expect(near.events == [.writable])
        loop.turn(maxWait: .zero)
        #expect(near.events == [.writable], "no new edge")
        _ = Socket.send(far.fd, "x", count: 1)
        loop.turn(maxWait: .zero)
        #expect(near.events.last == [.readable, .writable])
        Socket.shutdownSending(far.fd)
        loop.turn(maxWait: .zero)
        #expect(near.events.last?.contains([.readable, .peerEnded]) == true)
        #expect(near.events.count == 3)
        loop.remove(near)
        loop.turn(maxWait: .zero)
    }

    @Test func `tells a level-triggered source again until it has read`() throws {
        let loop = try EventLoop()
        let (near, far) = socketPair()
        try loop.addForReading(near)
        loop.turn(maxWait: .zero)
        #expect(near.events == [])
        _ = Socket.send(far.fd, "x", count: 1)
        loop.turn(maxWait: .zero)
        loop.turn(maxWait: .zero)
        #expect(near.events == [.readable, .readable])
        loop.remove(near)
        loop.turn(maxWait: .zero)
    }

    @Test func `tells a removed source nothing, even in the turn that removes it`() throws {
        let loop = try EventLoop()
        let (first, firstPeer) = socketPair()
        let (second, secondPeer) = socketPair()
        first.onReady = { [unowned second] _ in loop.remove(second) }
        second.onReady = { [unowned first] _ in loop.remove(first) }
        try loop.add(first)
        try loop.add(second)
        loop.turn(maxWait: .zero)
        #expect(first.events.count + second.events.count == 1)
        loop.turn(maxWait: .zero)
        #expect(first.events.count + second.events.count == 1)
        #expect((first.fd == -1) != (second.fd == -1))
        #expect(firstPeer.events.isEmpty && secondPeer.events.isEmpty)
        loop.remove(first)
        loop.remove(second)
        loop.turn(maxWait: .zero)
    }

    @Test func `keeps a source alive from add to the end of the turn that removes it`() throws {
        let loop = try EventLoop()
        var endings = 0
        weak var watched: Recorder?
        var far: Recorder?
        do {
            let (near, other) = socketPair()
            near.onEnd = { endings += 1 }
            try loop.add(near)
            watched = near
            far = other
        }
        #expect(watched != nil)
        loop.turn(maxWait: .zero)
        if let watched { loop.remove(watched) }
        #expect(endings == 0)
        loop.turn(maxWait: .zero)
        #expect(endings == 1)
        #expect(far != nil)
    }

    @Test func `lets the end of one source remove another`() throws {
        let loop = try EventLoop()
        var endings = 0
        weak var first: Recorder?
        weak var second: Recorder?
        do {
            let (one, two) = socketPair()
            one.onEnd = { [unowned two] in
                endings += 1
                loop.remove(two)
            }
            two.onEnd = { endings += 1 }
            try loop.add(one)
            try loop.add(two)
            (first, second) = (one, two)
        }
        if let first { loop.remove(first) }
        loop.settle()
        #expect(endings == 2)
        #expect(second == nil)
    }

    @Test func `lets a source be removed that could not be added`() throws {
        let loop = try EventLoop()
        var endings = 0
        do {
            // A regular file cannot be watched.
            let source = Recorder(fd: open("/proc/self/exe", O_RDONLY))
            source.onEnd = { endings += 1 }
            #expect(throws: SystemError.self) { try loop.add(source) }
            loop.remove(source)
            loop.turn(maxWait: .zero)
            #expect(endings == 0)
        }
        #expect(endings == 1)
    }

    @Test func `gives a released descriptor back open`() throws {
        let loop = try EventLoop()
        let (near, far) = socketPair()
        try loop.add(near)
        let fd = loop.release(near)
        #expect(near.fd == -1)
        #expect(loop.release(near) == -1)
        _ = Socket.send(far.fd, "x", count: 1)
        loop.turn(maxWait: .zero)
        #expect(near.events == [])
        var byte: UInt8 = 0
        #expect(read(fd, &byte, 1) == 1)
        _ = close(fd)
    }

    @Test func `resumes a deferred source once, and the turn does not wait`() throws {
        let loop = try EventLoop()
        let (near, _) = socketPair()
        var resumedIn: [UInt64] = []
        near.onResume = { source in
            resumedIn.append(loop.turns)
            if resumedIn.count == 1 { loop.defer(source) }
        }
        loop.defer(near)
        loop.defer(near)
        loop.turn(maxWait: .max)
        loop.turn(maxWait: .max)
        loop.turn(maxWait: .zero)
        #expect(resumedIn == [1, 2])
    }

    @Test func `does not resume a source that was removed meanwhile`() throws {
        let loop = try EventLoop()
        let (near, _) = socketPair()
        var resumptions = 0
        near.onResume = { _ in resumptions += 1 }
        try loop.add(near)
        loop.defer(near)
        loop.remove(near)
        loop.turn(maxWait: .zero)
        #expect(resumptions == 0)
    }

    @Test func `leaves those for later turns who do not fit into this one, in their order`() throws
    {
        let loop = try EventLoop(share: .zero)
        let pairs = (0..<3).map { _ in socketPair() }
        var resumed: [Int] = []
        for (number, (near, _)) in pairs.enumerated() {
            near.onResume = { source in
                resumed.append(number)
                if resumed.count == 1 { loop.defer(source) }
            }
            loop.defer(near)
        }
        var turns: [[Int]] = []
        while resumed.count < 4 {
            let before = resumed.count
            loop.turn(maxWait: .max)
            turns.append(Array(resumed[before...]))
        }
        #expect(turns == [[0], [1], [2], [0]])
        #expect(pairs.allSatisfy { !$0.0.isQueued })
    }

    @Test func `lets nobody who is established wait for those who are not`() throws {
        let loop = try EventLoop(share: .zero)
        let pairs = (0..<4).map { _ in socketPair() }
        var resumed: [Int] = []
        for (number, (near, _)) in pairs.enumerated() {
            near.onResume = { _ in resumed.append(number) }
            loop.defer(near, isNew: number < 3)
        }
        loop.turn(maxWait: .max)
        loop.turn(maxWait: .max)
        #expect(resumed == [0, 3])
        loop.turn(maxWait: .max)
        loop.turn(maxWait: .max)
        #expect(resumed == [0, 3, 1, 2])
    }

    @Test func `serves what has become ready before it goes on with those`() throws {
        let loop = try EventLoop(share: .zero)
        let (busy, _) = socketPair()
        let (near, far) = socketPair()
        var order: [String] = []
        busy.onResume = { source in
            order.append("busy")
            loop.defer(source)
        }
        near.onReady = { _ in order.append("ready") }
        try loop.addForReading(near)
        loop.defer(busy)
        loop.turn(maxWait: .max)
        _ = Socket.send(far.fd, "x", count: 1)
        loop.turn(maxWait: .max)
        #expect(order == ["busy", "ready", "busy"])
        loop.remove(near)
        loop.remove(busy)
        loop.turn(maxWait: .zero)
    }

    @Test func `leaves timers for the next turn that do not fit into this one`() throws {
        let loop = try EventLoop(share: .zero)
        let alarms = (0..<3).map { _ in Alarm() }
        let timers = alarms.map { loop.timers.add($0) }
        for timer in timers { loop.timers.arm(timer, at: loop.now) }
        var fired: [Int] = []
        #expect(
            loop.turn {
                fired.append(alarms.reduce(0) { $0 + $1.firings })
                return fired.last == 3
            })
        #expect(fired.suffix(4) == [0, 1, 2, 3])
        for timer in timers { loop.timers.remove(timer) }
    }

    @Test func `fires a timer when it is due and not before`() throws {
        let loop = try EventLoop()
        let alarm = Alarm()
        let timer = loop.timers.add(alarm)
        let due = loop.now + .milliseconds(30)
        loop.timers.arm(timer, at: due)
        #expect(loop.turn { alarm.firings > 0 })
        #expect(loop.now >= due)
        #expect(alarm.firings == 1)
        loop.timers.remove(timer)
    }

    @Test func `is not held by a timer that arms itself for the past`() throws {
        let loop = try EventLoop()
        let alarm = Alarm()
        let timer = loop.timers.add(alarm)
        alarm.onFire = { loop.timers.arm(timer, at: .distantPast) }
        loop.timers.arm(timer, at: .distantPast)
        #expect(loop.turn { alarm.firings > 0 })
        let firings = alarm.firings
        let (near, far) = socketPair()
        try loop.addForReading(near)
        _ = Socket.send(far.fd, "x", count: 1)
        #expect(loop.turn { !near.events.isEmpty })
        #expect(alarm.firings >= firings)
        loop.timers.remove(timer)
        loop.remove(near)
        loop.turn(maxWait: .zero)
    }

    @Test func `runs until it is stopped`() throws {
        let loop = try EventLoop()
        let (near, _) = socketPair()
        var turns = 0
        loop.defer(near)
        loop.run {
            turns += 1
            loop.defer(near)
            if turns == 3 { loop.stop() }
        }
        #expect(turns == 3)
    }
}

@Suite struct `A mailbox` {
    @Test func `wakes a waiting loop from another thread`() throws {
        let loop = try EventLoop()
        let mailbox = try Mailbox<Int>(capacity: 1000)
        var received: [Int] = []
        let watch = ReadinessWatch(fd: try mailbox.makeWakeDescriptor()) {
            received += mailbox.drain()
        }
        try loop.addForReading(watch)
        let accepted = Atomic(0)
        let senders = (0..<4).map { sender in
            Thread {
                for index in 0..<100 where mailbox.post(sender * 100 + index) {
                    accepted.add(1, ordering: .relaxed)
                }
            }
        }
        for sender in senders { sender.start() }
        // A message may be received before its sender has counted it.
        #expect(loop.turn { received.count == 400 && accepted.load(ordering: .relaxed) == 400 })
        #expect(received.sorted() == Array(0..<400))
        for sender in 0..<4 {
            let own = received.filter { $0 / 100 == sender }
            #expect(own == own.sorted(), "each sender's messages stay in order")
        }
        loop.remove(watch)
        loop.turn(maxWait: .zero)
    }

    @Test func `refuses what is beyond its capacity`() throws {
        let mailbox = try Mailbox<Int>(capacity: 2)
        #expect(mailbox.post(1))
        #expect(mailbox.post(2))
        #expect(!mailbox.post(3))
        #expect(mailbox.drain() == [1, 2])
        #expect(mailbox.post(4))
        #expect(mailbox.drain() == [4])
        #expect(mailbox.drain() == [])
    }
}
