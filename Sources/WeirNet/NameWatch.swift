// Keeps one name resolved, and says when its addresses change.

package import WeirTime

/// Looks a name up now and again. Holds a timer of the loop: call `stop` before letting it go.
package final class NameWatch: TimerTarget {
    package let name: String
    package let port: UInt16

    private let loop: EventLoop
    private let resolver: Resolver
    private let onNews: (NameSchedule.News) -> Void
    private var schedule: NameSchedule
    private var chance: Chance
    private var timer = TimerID.none

    /// Starts looking up; `onNews` is called from the loop.
    ///
    /// - Parameter every: the time between lookups; `nil` follows the records' time to live.
    package init(
        loop: EventLoop, resolver: Resolver, name: String, port: UInt16, every: Interval?,
        chance: Chance, onNews: @escaping (NameSchedule.News) -> Void
    ) {
        self.loop = loop
        self.resolver = resolver
        self.name = name
        self.port = port
        self.chance = chance
        self.onNews = onNews
        schedule = NameSchedule(every: every)
        super.init()
        timer = loop.timers.add(self)
        lookUp()
    }

    /// The last good addresses, sorted.
    package var addresses: [SocketAddress] { schedule.addresses }

    /// Why the last lookup failed; `nil` when it worked or none has ended yet.
    package var failure: ResolveFailure? { schedule.failure }

    /// Ends the watch; `onNews` is not called any more.
    package func stop() {
        loop.timers.remove(timer)
        timer = .none
    }

    package override func timerFired() { lookUp() }

    private func lookUp() {
        resolver.resolve(name, port: port) { [weak self] answer in
            guard let self, timer != .none else { return }
            let news = schedule.answered(answer, now: loop.now, chance: &chance)
            loop.timers.arm(timer, at: schedule.nextLookup)
            if let news { onNews(news) }
        }
    }
}
