// Whether a client keeps the least pace, measured over one window at a time.

/// Byte counts at the start of a window.
struct ProgressWindow {
    private var sentAtStart = UInt64.max
    private var receivedAtStart = UInt64.max

    /// Begins to watch sending; `false` when it is being watched already.
    mutating func beginSending(_ bytesSent: UInt64) -> Bool {
        guard sentAtStart == .max else { return false }
        sentAtStart = bytesSent
        return true
    }

    mutating func beginReceiving(_ bytesReceived: UInt64) { receivedAtStart = bytesReceived }

    mutating func end() {
        sentAtStart = .max
        receivedAtStart = .max
    }

    func isTooSlowSending(_ bytesSent: UInt64, least: UInt64) -> Bool {
        sentAtStart != .max && bytesSent &- sentAtStart < least
    }

    func isTooSlowReceiving(_ bytesReceived: UInt64, least: UInt64) -> Bool {
        receivedAtStart != .max && bytesReceived &- receivedAtStart < least
    }
}
