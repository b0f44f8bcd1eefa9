// Whether a client keeps the least pace, measured over one window at a time.

import WeirTime

/// Byte counts at the start of a window in each direction. A window is judged when it is over and
/// not before, also where the other direction's window ends earlier.
struct ProgressWindow {
    private var sentAtStart = UInt64.max
    private var receivedAtStart = UInt64.max
    private(set) var sendingEnds = Instant.distantFuture
    private(set) var receivingEnds = Instant.distantFuture

    /// Begins to watch sending; `false`, without a look at the bytes, which may be a system call,
    /// when it is being watched already.
    mutating func beginSending(_ bytesSent: @autoclosure () -> UInt64, until end: Instant) -> Bool {
        guard sentAtStart == .max else { return false }
        sentAtStart = bytesSent()
        sendingEnds = end
        return true
    }

    mutating func beginReceiving(_ bytesReceived: UInt64, until end: Instant) {
        receivedAtStart = bytesReceived
        receivingEnds = end
    }

    mutating func endSending() {
        sentAtStart = .max
        sendingEnds = .distantFuture
    }

    mutating func endReceiving() {
        receivedAtStart = .max
        receivingEnds = .distantFuture
    }

    func isTooSlowSending(_ bytesSent: UInt64, least: UInt64) -> Bool {
        sentAtStart != .max && bytesSent &- sentAtStart < least
    }

    func isTooSlowReceiving(_ bytesReceived: UInt64, least: UInt64) -> Bool {
        receivedAtStart != .max && bytesReceived &- receivedAtStart < least
    }
}
