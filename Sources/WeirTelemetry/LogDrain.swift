// What the log writer does in one pass: from the rings to the file, whole lines, nothing lost.

/// Moves lines from rings to an output. Lives on the log writer's thread.
///
/// A line leaves its ring only when all of it is written. So a full disk costs no line that is in
/// a ring already: the writer tries again, the rings fill up, and the workers drop and count.
package final class LogDrain {
    /// What a pass came to.
    package enum Outcome: Equatable {
        /// All rings were seen empty.
        case drained
        /// The output takes no more now.
        case blocked
        case failed
    }

    package private(set) var output: LogOutput
    package private(set) var failures: UInt64 = 0
    package private(set) var lastFailure: LogFailure?
    private let rings: [LogRing]
    /// The ring whose line is being written.
    private var current = 0
    /// Bytes at the start of what waits in it that are written, but not yet a whole line.
    private var partial = 0

    package init(rings: [LogRing], output: LogOutput) {
        self.rings = rings
        self.output = output
    }

    /// Goes on with another output. A line that the old one has only a part of is written anew.
    package func replaceOutput(_ output: LogOutput) {
        self.output = output
        partial = 0
    }

    /// Writes what waits, a stretch of each ring in turn, until all are empty or the output stops.
    package func pass() -> Outcome {
        guard !rings.isEmpty else { return .drained }
        var emptyInARow = 0
        while emptyInARow < rings.count {
            let waiting = rings[current].waiting()
            if waiting.isEmpty {
                emptyInARow += 1
            } else {
                emptyInARow = 0
                if let obstacle = write(waiting, of: rings[current]) { return obstacle }
            }
            current = (current + 1) % rings.count
        }
        return .drained
    }

    /// Bytes that still wait.
    package var hasRest: Bool { rings.contains { !$0.isEmpty } }

    private func write(_ waiting: UnsafeRawBufferPointer, of ring: LogRing) -> Outcome? {
        var released = 0
        while released + partial < waiting.count {
            let rest = UnsafeRawBufferPointer(rebasing: waiting[(released + partial)...])
            switch output.write(rest) {
            case .bytes(let count):
                let whole = wholeLines(waiting[released..<released + partial + count])
                partial += count - whole
                released += whole
                ring.release(whole)
            case .wouldBlock:
                return .blocked
            case .failed(let failure):
                failures += 1
                lastFailure = failure
                return .failed
            }
        }
        return nil
    }

    /// The length of `bytes` up to and including their last line end.
    private func wholeLines(_ bytes: Slice<UnsafeRawBufferPointer>) -> Int {
        guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else { return 0 }
        return end - bytes.startIndex + 1
    }
}
