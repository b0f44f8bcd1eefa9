// What the process uses, read from the kernel when somebody asks.

import CWeir
import Glibc

/// CPU, memory and descriptors of this process.
package struct ProcessUsage: Sendable {
    package var cpuSeconds: Double = 0
    package var residentBytes: UInt64 = 0
    package var heapBytes: UInt64 = 0
    package var openDescriptors: UInt64 = 0
    package var maxDescriptors: UInt64 = 0
    package var startUnixSeconds: Double = 0

    package init() {}

    /// Reads the present values; what cannot be read stays 0.
    package static func now() -> ProcessUsage {
        var usage = ProcessUsage()
        usage.cpuSeconds = seconds(of: CLOCK_PROCESS_CPUTIME_ID)
        let pages = readText("/proc/self/statm").split(separator: " ")
        if pages.count > 1, let resident = UInt64(pages[1]) {
            usage.residentBytes = resident &* UInt64(clamping: sysconf(Int32(_SC_PAGESIZE)))
        }
        usage.heapBytes = UInt64(cweir_heap_in_use())
        usage.openDescriptors = countDescriptors()
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            usage.maxDescriptors = UInt64(limit.rlim_cur)
        }
        usage.startUnixSeconds = startTime
        return usage
    }

    /// Does not change: read once.
    private static let startTime: Double = {
        // The name in the second field may hold spaces: count from its closing parenthesis.
        let stat = readText("/proc/self/stat")
        let afterName = stat.split(separator: ")", omittingEmptySubsequences: false).last ?? ""
        let fields = afterName.split(separator: " ")
        let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
        guard fields.count > 19, let ticks = Double(fields[19]), ticksPerSecond > 0 else {
            return 0
        }
        // /proc/stat, which says when the machine was started, may be hidden.
        let age = seconds(of: CLOCK_BOOTTIME) - ticks / ticksPerSecond
        return seconds(of: CLOCK_REALTIME) - age
    }()

    private static func seconds(of clock: clockid_t) -> Double {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else { return 0 }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func countDescriptors() -> UInt64 {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var entries: UInt64 = 0
        while readdir(directory) != nil { entries += 1 }
        // Not `.`, `..` and the directory itself.
        return entries >= 3 ? entries - 3 : 0
    }

    private static func readText(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { _ = close(file) }
        var bytes: [UInt8] = []
        // More than a mebibyte of it is of no use to anybody.
        while bytes.count < 1 << 20 {
            let piece = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
                count = max(0, read(file, buffer.baseAddress, 4096))
            }
            if piece.isEmpty { break }
            bytes += piece
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
