// What tests of a loop share: turning it until something has happened, and temporary folders.

import Foundation
import WeirNet
import WeirTime

extension EventLoop {
    /// Takes turns until `condition` holds; `false` when it does not within ten seconds, which only
    /// a failing test waits for.
    func turn(until condition: () -> Bool) -> Bool {
        let limit = MonotonicClock.now() + .seconds(10)
        while !condition() {
            guard MonotonicClock.now() < limit else { return false }
            turn(maxWait: .milliseconds(100))
        }
        return true
    }

    /// Serves what has already happened, and does not wait.
    func settle() {
        for _ in 0..<4 { turn(maxWait: .zero) }
    }
}

/// A folder of its own for one test.
final class ScratchFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "weir-test-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }

    func makeFolder(_ name: String) throws {
        try FileManager.default.createDirectory(
            atPath: "\(path)/\(name)", withIntermediateDirectories: false)
    }

    func rename(_ old: String, to new: String) {
        precondition(Glibc.rename("\(path)/\(old)", "\(path)/\(new)") == 0)
    }

    func link(_ name: String, to target: String) {
        precondition(symlink(target, "\(path)/\(name)") == 0)
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }
}
