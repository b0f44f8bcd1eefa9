// Reads a small file whole.

import Glibc
import WeirNet

/// Files that fit in memory.
enum FileBytes {
    static func read(_ path: String, maxBytes: Int) -> Result<[UInt8], SystemError> {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return .failure(.last("open")) }
        defer { _ = close(fd) }
        var bytes: [UInt8] = []
        var failure: SystemError?
        while failure == nil {
            guard bytes.count <= maxBytes else {
                return .failure(SystemError(call: "read", code: EFBIG))
            }
            let more = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
                let n = Glibc.read(fd, buffer.baseAddress, buffer.count)
                if n < 0 { failure = .last("read") }
                count = max(0, n)
            }
            if more.isEmpty { break }
            bytes += more
        }
        if let failure { return .failure(failure) }
        return .success(bytes)
    }
}
