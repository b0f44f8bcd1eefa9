// File descriptors bound how many connections there can be, whatever the configuration says.

import Glibc
import WeirConfig
import WeirTelemetry

/// The process's descriptors.
enum Descriptors {
    /// Held back for listeners, logs, names, the admin listener and idle upstream connections.
    private static let reserve = 64

    /// The most that this process may open now.
    static func limit() -> Int {
        var limits = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0 else {
            return 1024
        }
        return Int(clamping: limits.rlim_cur)
    }

    /// Raises the soft limit to the hard one and returns it.
    static func raiseLimit() -> Int {
        var limits = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limits) == 0 else { return 1024 }
        limits.rlim_cur = limits.rlim_max
        _ = setrlimit(resource, &limits)
        return limit()
    }

    /// How many downstream connections there may be: each may need an upstream one as well.
    ///
    /// - Parameter isNews: whether to log that there may be fewer than the configuration says.
    static func connections(
        _ configuration: Configuration, descriptors: Int, isNews: Bool = true
    ) -> Int {
        let wanted = configuration.runtime.maxConnections
        let possible = max(1, (descriptors - reserve) / 2)
        if isNews, wanted > possible {
            ProcessLog.info(
                "max_connections is bounded by the descriptors that the process may open",
                ["max_connections": "\(wanted)", "bound": "\(possible)"])
        }
        return min(wanted, possible)
    }

    /// Has the kernel's table of this process's descriptors hold what so many connections need.
    ///
    /// The table doubles as it fills, and where a process has several threads each doubling waits
    /// until no CPU can still be looking at the old one (`expand_files` in Linux): a worker that
    /// opens a socket then serves nobody for 5 to 25 ms, just when many come at once.
    static func makeRoom(for connections: Int) {
        let any = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard any >= 0 else { return }
        defer { _ = close(any) }
        let copy = fcntl(any, F_DUPFD_CLOEXEC, Int32(clamping: 2 * connections + reserve - 1))
        if copy >= 0 { _ = close(copy) }
    }
}
