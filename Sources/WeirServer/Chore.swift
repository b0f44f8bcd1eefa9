// Something small that the control thread does when its time has come.

import WeirNet
import WeirTime

/// A chore of a loop. It lives as long as the loop's process does.
final class Chore: TimerTarget {
    private let loop: EventLoop
    private let action: () -> Void
    private var timer = TimerID.none

    init(loop: EventLoop, action: @escaping () -> Void) {
        self.loop = loop
        self.action = action
        super.init()
        timer = loop.timers.add(self)
    }

    /// Does it once that time has passed; in the loop's next turn without one.
    func arm(after interval: Interval = .zero) {
        loop.timers.arm(timer, at: loop.now + interval)
    }

    override func timerFired() { action() }
}
