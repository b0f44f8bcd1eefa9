// Memory that ends at a page nobody may touch: a read beyond the input ends the fuzzer at once.

import Glibc

/// One stretch of memory before a forbidden page, lent to one user at a time.
///
/// The address sanitizer does not see what C inlined into Swift reads; this does.
package struct GuardedMemory: ~Copyable {
    /// The longest input that fits.
    package static let capacity = 1 << 20

    private let base: UnsafeMutableRawPointer

    package init() {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        guard
            let memory = mmap(
                nil, Self.capacity + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0),
            memory != MAP_FAILED, mprotect(memory + Self.capacity, page, PROT_NONE) == 0
        else { finding("no memory") }
        base = memory
    }

    deinit { munmap(base, Self.capacity + Int(sysconf(Int32(_SC_PAGESIZE)))) }

    /// Copies `bytes` so that they end where the forbidden page begins.
    package func place(_ bytes: UnsafeRawBufferPointer) -> UnsafeMutableRawBufferPointer {
        let length = min(bytes.count, Self.capacity)
        let memory = UnsafeMutableRawBufferPointer(
            start: base + (Self.capacity - length), count: length)
        memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<length]))
        return memory
    }
}
