// Watches on the files that the configuration in use names.

import WeirNet

/// Watches on files, as many as the configuration in use names.
final class FileWatches {
    private let loop: EventLoop
    private let onChange: (String) -> Void
    private var watches: [String: FileWatch] = [:]

    /// - Parameter onChange: called from the loop with the path of a file that has changed.
    init(loop: EventLoop, onChange: @escaping (String) -> Void) {
        self.loop = loop
        self.onChange = onChange
    }

    /// Watches these files and no others; calls `onFailure` for one that cannot be watched.
    func keep(_ paths: Set<String>, onFailure: (String, SystemError) -> Void) {
        for (path, watch) in watches where !paths.contains(path) {
            watch.stop()
            watches[path] = nil
        }
        for path in paths where watches[path] == nil {
            do {
                watches[path] = try FileWatch(loop: loop, path: path) { [unowned self] in
                    onChange(path)
                }
            } catch {
                onFailure(path, error)
            }
        }
    }
}
