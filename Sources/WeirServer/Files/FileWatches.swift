// Watches on the files that the configuration in use names.

import WeirNet
import WeirTime

/// As many watches as the configuration names files. Where the kernel gives no more of them, the
/// files that are left are looked at every few seconds instead.
final class FileWatches: TimerTarget {
    /// How often files are looked at that nobody would tell about.
    private static let period = Interval.seconds(5)

    private let loop: EventLoop
    private let onChange: (String) -> Void
    private var watches: [String: FileWatch] = [:]
    /// Files without a watch, as they were when they were looked at.
    private var looked: [String: FileWatch.Fingerprint?] = [:]
    private var timer = TimerID.none

    /// - Parameter onChange: called from the loop with the path of a file that has changed.
    init(loop: EventLoop, onChange: @escaping (String) -> Void) {
        self.loop = loop
        self.onChange = onChange
        super.init()
        timer = loop.timers.add(self)
    }

    /// Watches these files and no others.
    ///
    /// - Returns: whether any is new, and may have changed since it was read.
    func keep(_ paths: Set<String>) -> Bool {
        for (path, watch) in watches where !paths.contains(path) {
            watch.stop()
            watches[path] = nil
        }
        looked = looked.filter { paths.contains($0.key) }
        var hasNews = false
        for path in paths where watches[path] == nil && looked[path] == nil {
            hasNews = true
            do {
                watches[path] = try FileWatch(loop: loop, path: path) { [unowned self] in
                    onChange(path)
                }
            } catch {
                looked[path] = .some(FileWatch.fingerprint(path))
                loop.timers.arm(timer, at: loop.now + Self.period)
            }
        }
        return hasNews
    }

    override func timerFired() {
        for (path, before) in looked {
            let now = FileWatch.fingerprint(path)
            guard now != before else { continue }
            looked[path] = .some(now)
            if now != nil { onChange(path) }
        }
        if !looked.isEmpty { loop.timers.arm(timer, at: loop.now + Self.period) }
    }
}
