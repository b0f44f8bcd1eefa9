// Memory for sessions: what a stream gives back is what the next one takes.

import CNghttp2
import Glibc

/// Free blocks by size, for all sessions of a worker: nghttp2 asks for five a request, of a few
/// hundred bytes each, and the heap takes five times as long to find one.
///
/// Its owner must outlive the sessions that use it.
final class H2Memory {
    /// Blocks of 64 to 4,096 bytes; others are the heap's.
    private static let classes = 7
    private static let smallest = 64
    /// Free blocks kept of a class.
    private static let kept = 1024
    /// Before each block: which class it is of, and how many bytes it holds.
    private static let headSize = 16

    private let free: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private let counts: UnsafeMutablePointer<Int>
    /// For nghttp2, which copies it.
    var table = nghttp2_mem()

    init() {
        free = .allocate(capacity: Self.classes)
        free.initialize(repeating: nil, count: Self.classes)
        counts = .allocate(capacity: Self.classes)
        counts.initialize(repeating: 0, count: Self.classes)
        table.mem_user_data = Unmanaged.passUnretained(self).toOpaque()
        table.malloc = { size, user in H2Memory.of(user) { $0.take(size) } }
        table.free = { block, user in
            _ = H2Memory.of(user) { memory -> UnsafeMutableRawPointer? in
                memory.give(block)
                return nil
            }
        }
        table.calloc = { count, size, user in
            let (bytes, isTooMuch) = count.multipliedReportingOverflow(by: size)
            guard !isTooMuch, let block = H2Memory.of(user, { $0.take(bytes) }) else { return nil }
            return memset(block, 0, bytes)
        }
        table.realloc = { block, size, user in H2Memory.of(user) { $0.resize(block, size) } }
    }

    deinit {
        for index in 0..<Self.classes {
            var next = free[index]
            while let block = next {
                next = block.load(as: UnsafeMutableRawPointer?.self)
                Glibc.free(block)
            }
        }
        free.deallocate()
        counts.deallocate()
    }

    @inline(__always)
    private static func of(
        _ user: UnsafeMutableRawPointer?,
        _ body: (H2Memory) -> UnsafeMutableRawPointer?
    ) -> UnsafeMutableRawPointer? {
        guard let user else { return nil }
        return Unmanaged<H2Memory>.fromOpaque(user)._withUnsafeGuaranteedRef(body)
    }

    /// Which class blocks of that size are of; `classes` is none.
    @inline(__always)
    private static func classIndex(_ size: Int) -> Int {
        guard size > smallest else { return 0 }
        return min(classes, Int.bitWidth - (size &- 1).leadingZeroBitCount - 6)
    }

    func take(_ size: Int) -> UnsafeMutableRawPointer? {
        let index = Self.classIndex(size)
        var block: UnsafeMutableRawPointer?
        var room = size
        if index < Self.classes {
            room = Self.smallest << index
            block = free[index]
            if let block {
                free[index] = block.load(as: UnsafeMutableRawPointer?.self)
                counts[index] &-= 1
            }
        }
        guard let start = block ?? malloc(room &+ Self.headSize) else { return nil }
        start.storeBytes(of: index, as: Int.self)
        start.storeBytes(of: room, toByteOffset: 8, as: Int.self)
        return start + Self.headSize
    }

    func give(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer else { return }
        let start = pointer - Self.headSize
        let index = start.load(as: Int.self)
        guard index < Self.classes, counts[index] < Self.kept else { return Glibc.free(start) }
        start.storeBytes(of: free[index], as: UnsafeMutableRawPointer?.self)
        free[index] = start
        counts[index] &+= 1
    }

    private func resize(
        _ pointer: UnsafeMutableRawPointer?, _ size: Int
    ) -> UnsafeMutableRawPointer? {
        guard let pointer else { return take(size) }
        let room = (pointer - Self.headSize).load(fromByteOffset: 8, as: Int.self)
        if size <= room { return pointer }
        guard let larger = take(size) else { return nil }
        memcpy(larger, pointer, room)
        give(pointer)
        return larger
    }
}
