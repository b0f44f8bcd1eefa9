// Pretended capacity: so many requests in service, each for so long, the others queue.

import Glibc
import WeirTime

/// The service station of one origin in one worker.
///
/// Work goes on when its client has gone, as it does in real servers: that waste is what an
/// overload drill is about.
final class Station {
    /// A request on its way through the station.
    final class Job: Waiter {
        fileprivate unowned let station: Station
        fileprivate weak var client: Client?

        fileprivate init(station: Station, client: Client) {
            self.station = station
            self.client = client
        }

        override func waitEnded() { station.finish(self) }
    }

    private let origin: Origin
    private let timeline: Timeline
    private var chance: Chance
    private var serving = 0
    private var queue: [Job] = []
    private var queueHead = 0

    init(origin: Origin, timeline: Timeline, chance: Chance) {
        self.origin = origin
        self.timeline = timeline
        self.chance = chance
    }

    /// Calls the client's `served` when the request has been served.
    func enter(_ client: Client) {
        let job = Job(station: self, client: client)
        let settings = origin.settings
        if serving < limit(settings) { return start(job, settings) }
        queue.append(job)
        origin.queued.add(1)
    }

    private func limit(_ settings: Settings) -> Int {
        settings.concurrency == 0 ? .max : max(1, settings.concurrency / origin.workers)
    }

    private func start(_ job: Job, _ settings: Settings) {
        serving += 1
        origin.serving.add(1)
        var time = settings.serviceTime
        if settings.serviceLaw == .exp {
            let share = Double(chance.next() >> 11) / Double(1 << 53 as UInt64)
            time = Interval(nanoseconds: Int64(-log(1 - share) * Double(time.nanoseconds)))
        }
        timeline.call(job, in: time)
    }

    private func finish(_ job: Job) {
        serving -= 1
        origin.serving.add(-1)
        let settings = origin.settings
        while queueHead < queue.count, serving < limit(settings) {
            let next = queue[queueHead]
            queueHead += 1
            origin.queued.add(-1)
            start(next, settings)
        }
        if queueHead == queue.count || queueHead > 4096 {
            queue.removeFirst(queueHead)
            queueHead = 0
        }
        job.client?.served()
    }
}
