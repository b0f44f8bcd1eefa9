// The clocks, read once a turn.

import Glibc
package import WeirTime

/// The kernel's monotonic clock.
package enum MonotonicClock {
    /// The time since boot.
    package static func now() -> Instant {
        var time = timespec()
        _ = clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}

/// Maps monotonic instants to Unix time, re-reading the wall clock at most once a second.
package struct WallClock: Sendable {
    private var offset: Int64
    private var readAgainAt: Instant

    package init(at now: Instant) {
        offset = 0
        readAgainAt = .distantPast
        refresh(at: now)
    }

    /// Re-reads the wall clock when the last reading is a second old.
    package mutating func refresh(at now: Instant) {
        guard now >= readAgainAt else { return }
        var time = timespec()
        _ = clock_gettime(CLOCK_REALTIME, &time)
        offset = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) - now.nanoseconds
        readAgainAt = now + .seconds(1)
    }

    /// Nanoseconds since 1970 at `instant`.
    package func unixNanoseconds(_ instant: Instant) -> Int64 { instant.nanoseconds &+ offset }
}
