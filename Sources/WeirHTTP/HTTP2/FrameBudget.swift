// How much a peer may ask for that brings it nothing: what tells a flood from use.

/// Frames that cost this side work without a request or a byte of a body. A peer begins with some
/// credit, earns more by using the connection and by time, and is cut off where it has none left.
package struct FrameBudget: Sendable {
    /// Frames on credit at most.
    package static let mostFrames = 2000
    /// Streams that the peer may reset on credit before they are answered.
    package static let mostResets = 100
    /// Openings of windows that the peer has on credit at most for what it was sent.
    private static let mostWindows = 1 << 16
    /// Both of the first come back with time.
    private static let framesPerSecond = 20
    private static let resetsPerSecond = 5
    /// Answers that are as good as one reset is bad: else it would pay to ask for cheap ones.
    private static let answersPerReset = 4

    private var frames = mostFrames
    private var windows = 0
    /// In answers.
    private var resets = mostResets * answersPerReset
    private var second: Int64 = .min

    package init() {}

    /// The peer has used up its credit.
    package var isSpent: Bool { frames < 0 || resets < 0 }

    /// Time has passed; `now` is in seconds since any moment.
    package mutating func refill(now: Int64) {
        guard now > second else { return }
        if second != .min {
            let passed = Int(min(now - second, 3600))
            earn(frames: passed * Self.framesPerSecond)
            earnAnswers(passed * Self.resetsPerSecond * Self.answersPerReset)
        }
        second = now
    }

    /// The peer has sent frames that bring nothing.
    package mutating func spend(frames count: Int) { frames -= count }

    /// The peer has done what no credit is enough for.
    package mutating func exhaust() { frames = -1 }

    /// Something was sent or received that is the connection's purpose.
    package mutating func earn(frames count: Int) {
        frames = min(Self.mostFrames, frames + count)
    }

    /// A part of a body was sent: some peers open both windows for each few KiB that they have
    /// taken, long after a whole window of them was sent.
    package mutating func earn(bytes count: Int) {
        windows = min(Self.mostWindows, windows + count / 1024)
    }

    /// The peer has opened a window.
    package mutating func spendWindow() {
        if windows > 0 { windows -= 1 } else { frames -= 1 }
    }

    /// The peer has given up a stream before it was answered.
    package mutating func spendReset() { resets -= Self.answersPerReset }

    /// A stream was answered.
    package mutating func earnAnswer() { earnAnswers(1) }

    private mutating func earnAnswers(_ count: Int) {
        resets = min(Self.mostResets * Self.answersPerReset, resets + count)
    }
}
