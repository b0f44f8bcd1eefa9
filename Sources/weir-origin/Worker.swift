// One thread: a loop, its listeners and what its connections share.

import Glibc
import WeirHTTP
import WeirNet
import WeirTime

/// Everything that a thread's connections have in common.
final class Worker {
    static let scratchSize = 256 << 10
    static let patternSize = 26 * 40_330
    static let headLimits = HeadLimits(
        maxBytes: 256 << 10, maxFields: 1000, maxTargetBytes: 64 << 10)

    let loop: EventLoop
    let timeline: Timeline
    /// Body bytes are read into this when nobody needs them.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: scratchSize, alignment: 16)
    /// `abc...z` again and again: every body is a piece of it.
    let pattern = UnsafeMutableRawBufferPointer.allocate(byteCount: patternSize, alignment: 16)
    var chance: Chance
    var head = RequestHead(maxFields: headLimits.maxFields)
    private var date = HTTPDate()
    private let sockets: [Listening]

    init(_ seed: WorkerSeed) throws(SystemError) {
        loop = try EventLoop()
        timeline = try Timeline(loop: loop)
        chance = Chance(seed: seed.seed &* 0x9E37_79B9 &+ UInt64(seed.number))
        sockets = seed.sockets
        for index in pattern.indices { pattern[index] = UInt8(ascii: "a") + UInt8(index % 26) }
    }

    deinit {
        scratch.deallocate()
        pattern.deallocate()
    }

    func run() throws(SystemError) {
        for socket in sockets {
            let station = Station(
                origin: socket.origin, timeline: timeline, chance: Chance(seed: chance.next()))
            let acceptor = Acceptor(
                fd: socket.fd, worker: self, origin: socket.origin, station: station)
            try loop.addForReading(acceptor)
        }
        loop.run {}
    }

    /// Now, as `Date` has it.
    var dateBytes: [UInt8] {
        date.bytes(unixSeconds: loop.wallClock.unixNanoseconds(loop.now) / 1_000_000_000)
    }
}

/// A listener of one worker.
final class Acceptor: EventSource {
    private let worker: Worker
    private let origin: Origin
    private let station: Station

    init(fd: Int32, worker: Worker, origin: Origin, station: Station) {
        self.worker = worker
        self.origin = origin
        self.station = station
        super.init(fd: fd)
    }

    override func ready(_ events: Events) {
        // Bounded, so that a flood of connections leaves time for those that are open.
        for _ in 0..<64 {
            do {
                guard let (fd, _) = try Socket.accept(self.fd) else { return }
                Socket.setNoDelay(fd)
                let client = Client(fd: fd, worker: worker, origin: origin, station: station)
                try worker.loop.add(client)
                client.opened()
            } catch {
                // Out of descriptors: the connection waits in the backlog until one is closed.
                return
            }
        }
    }
}
