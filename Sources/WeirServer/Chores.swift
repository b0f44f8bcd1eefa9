// Small things that the control thread does in its own time.

import WeirNet
import WeirTime

/// Draws a new key for tickets now and then.
final class TicketRotation: TimerTarget {
    private let loop: EventLoop
    private let tickets: TLSTicketKeys
    private var timer = TimerID.none

    init(loop: EventLoop, tickets: TLSTicketKeys) {
        self.loop = loop
        self.tickets = tickets
        super.init()
        timer = loop.timers.add(self)
        loop.timers.arm(timer, at: loop.now + TLSTicketKeys.rotation)
    }

    override func timerFired() {
        tickets.rotate()
        loop.timers.arm(timer, at: loop.now + TLSTicketKeys.rotation)
    }
}

/// Looks once more, in the loop's next turn, at what may have changed while it was taken up.
final class Recheck: TimerTarget {
    private let loop: EventLoop
    private let look: () -> Void
    private var timer = TimerID.none

    init(loop: EventLoop, look: @escaping () -> Void) {
        self.loop = loop
        self.look = look
        super.init()
        timer = loop.timers.add(self)
    }

    func arm() { loop.timers.arm(timer, at: loop.now) }

    override func timerFired() { look() }
}
