// Says when a config file has changed, however its editor or Kubernetes puts it in place.

import CWeir
import Glibc
package import WeirTime

/// Watches one file through inotify and calls back, once the dust has settled, when it is another.
///
/// What is watched is each directory entry that the path leads through, not just the file: an
/// editor renames a new file over the old one, and a ConfigMap is swapped by re-pointing the link
/// `..data`, which is no event of the file at all. The file is watched, too, since one that is
/// mounted alone into a container has no directory that would tell.
package final class FileWatch: EventSource {
    /// What makes a file this one: nothing read by `stat` changes without the file being changed.
    package struct Fingerprint: Equatable, Sendable {
        var device: UInt
        var inode: UInt
        var size: Int
        var seconds: Int
        var nanoseconds: Int
    }

    /// Names that matter in a watched directory; empty for the file itself, where all events do.
    private typealias Watches = [Int32: Set<String>]

    private static let directoryMask =
        UInt32(IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_CLOSE_WRITE)
        | UInt32(IN_DELETE_SELF | IN_MOVE_SELF) | UInt32(IN_ONLYDIR)
    private static let fileMask = UInt32(IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)
    private static let bufferSize = 16 << 10

    private let path: String
    private let loop: EventLoop
    private let settle: Interval
    private let onChange: () -> Void
    private var watches: Watches = [:]
    private var last: Fingerprint?
    private var firstEvent: Instant?
    private var timer = TimerID.none

    /// Starts watching. Make the watch before reading the file, lest a change between the two be
    /// missed. The loop holds the watch until `stop`.
    ///
    /// - Parameters:
    ///   - settle: how long no further event may come before the file is looked at; a steady stream
    ///     of events delays that by ten times as much at most.
    ///   - onChange: called from the loop; the file exists.
    package init(
        loop: EventLoop, path: String, settle: Interval = .milliseconds(100),
        onChange: @escaping () -> Void
    ) throws(SystemError) {
        self.path = path
        self.loop = loop
        self.settle = settle
        self.onChange = onChange
        let descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0 else { throw .last("inotify_init1") }
        super.init(fd: descriptor)
        try watchTrail()
        last = Self.fingerprint(path)
        try loop.addForReading(self)
        timer = loop.timers.add(self)
    }

    /// Ends the watch; `onChange` is not called any more.
    package func stop() {
        loop.timers.remove(timer)
        timer = .none
        loop.remove(self)
    }

    package override func ready(_ events: Events) {
        var hasNews = false
        withUnsafeTemporaryAllocation(byteCount: Self.bufferSize, alignment: 8) { buffer in
            guard let base = buffer.baseAddress else { return }
            while true {
                let count = read(fd, base, buffer.count)
                guard count > 0 else { return }
                if concerns(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { hasNews = true }
            }
        }
        guard hasNews else { return }
        let first = firstEvent ?? loop.now
        firstEvent = first
        let latest = first + Interval(nanoseconds: settle.nanoseconds * 10)
        loop.timers.arm(timer, at: min(loop.now + settle, latest))
    }

    package override func timerFired() {
        firstEvent = nil
        // Rule: watch first, look then; what changes in between is an event to come.
        do {
            try watchTrail()
        } catch {
            // Out of inotify watches: look again, since nobody may tell any more.
            loop.timers.arm(timer, at: loop.now + .seconds(1))
        }
        guard let current = Self.fingerprint(path), current != last else { return }
        last = current
        onChange()
    }
}

extension FileWatch {
    /// Watches the path's directories as they now are, and drops those that it led through before.
    private func watchTrail() throws(SystemError) {
        let trail = PathTrail(following: path)
        var renewed: Watches = [:]
        for (directory, names) in trail.steps {
            let watch = inotify_add_watch(fd, directory, Self.directoryMask)
            if watch >= 0 {
                renewed[watch, default: []].formUnion(names)
            } else if cweir_errno() != ENOENT, cweir_errno() != ENOTDIR, cweir_errno() != EACCES {
                throw .last("inotify_add_watch")
            }
        }
        let watch = inotify_add_watch(fd, trail.end, Self.fileMask)
        if watch >= 0 { renewed[watch] = [] }
        for old in watches.keys where renewed[old] == nil { _ = inotify_rm_watch(fd, old) }
        watches = renewed
    }

    private func concerns(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let headerSize = MemoryLayout<inotify_event>.size
        var offset = 0
        while offset + headerSize <= bytes.count {
            let event = bytes.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
            let nameStart = offset + headerSize
            offset = nameStart + Int(event.len)
            guard offset <= bytes.count else { return true }
            if event.mask & UInt32(IN_Q_OVERFLOW) != 0 { return true }
            guard let names = watches[event.wd] else { continue }
            let name = bytes[nameStart..<offset].prefix { $0 != 0 }
            if name.isEmpty || names.contains(String(decoding: name, as: UTF8.self)) { return true }
        }
        return false
    }

    /// What the file is now; `nil` where there is none.
    package static func fingerprint(_ path: String) -> Fingerprint? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Fingerprint(
            device: status.st_dev, inode: status.st_ino, size: status.st_size,
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
    }
}
