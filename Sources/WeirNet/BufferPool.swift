// Memory for bytes that must wait: pooled by size class, bounded for the whole worker.

import Glibc

/// A worker's buffers, in classes of powers of two from 4 KiB to 1 MiB.
public final class BufferPool {
    /// Bytes of the smallest class.
    package static let smallest = 4 << 10
    /// Bytes of the largest class, and so the most that one queue can hold.
    package static let largest = 1 << 20
    private static let classes = 9
    /// Free buffers kept a class; more go back to the heap.
    private static let keptBytesPerClass = 1 << 20

    /// Bytes handed out.
    package private(set) var bytesInUse = 0
    /// The most that may be handed out; beyond it `take` refuses.
    package var limit: Int
    private let free: UnsafeMutablePointer<[UnsafeMutableRawPointer]>

    package init(limit: Int) {
        self.limit = limit
        free = .allocate(capacity: Self.classes)
        free.initialize(repeating: [], count: Self.classes)
    }

    deinit {
        for index in 0..<Self.classes {
            for pointer in free[index] { pointer.deallocate() }
        }
        free.deinitialize(count: Self.classes)
        free.deallocate()
    }

    /// New work should be refused: three quarters of the memory are in use.
    public var isNearlyExhausted: Bool { bytesInUse > limit / 4 * 3 }

    private static func classIndex(_ count: Int) -> Int {
        guard count > smallest else { return 0 }
        return (Int.bitWidth - (count - 1).leadingZeroBitCount) - 12
    }

    /// A buffer of at least `count` bytes; `nil` above the largest class or the pool's limit.
    func take(_ count: Int) -> UnsafeMutableRawBufferPointer? {
        guard count <= Self.largest else { return nil }
        let index = Self.classIndex(count)
        let size = Self.smallest << index
        guard bytesInUse + size <= limit else { return nil }
        bytesInUse += size
        let pointer = free[index].popLast() ?? .allocate(byteCount: size, alignment: 16)
        return UnsafeMutableRawBufferPointer(start: pointer, count: size)
    }

    func give(_ pointer: UnsafeMutableRawPointer, size: Int) {
        bytesInUse -= size
        let index = Self.classIndex(size)
        if (free[index].count + 1) * size <= Self.keptBytesPerClass {
            free[index].append(pointer)
        } else {
            pointer.deallocate()
        }
    }
}

/// Bytes in order, in one contiguous pooled buffer, which is held only while there are any.
public struct ByteQueue: ~Copyable {
    private var base: UnsafeMutableRawPointer?
    private var capacity: Int32 = 0
    private var start: Int32 = 0
    private var end: Int32 = 0

    package init() {}

    /// How many bytes wait.
    public var count: Int { Int(end &- start) }
    /// No bytes wait, and no buffer is held.
    public var isEmpty: Bool { end == start }

    /// The bytes; valid until the queue is changed.
    package var bytes: UnsafeMutableRawBufferPointer {
        guard let base else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        return UnsafeMutableRawBufferPointer(start: base + Int(start), count: count)
    }

    /// Adds bytes; `false`, with nothing added, when the pool has no room for them.
    package mutating func append(_ more: UnsafeRawBufferPointer, pool: BufferPool) -> Bool {
        guard let source = more.baseAddress, more.count > 0 else { return true }
        guard reserve(more.count, pool: pool), let base else { return false }
        memcpy(base + Int(end), source, more.count)
        end += Int32(more.count)
        return true
    }

    private mutating func reserve(_ extra: Int, pool: BufferPool) -> Bool {
        let needed = count + extra
        if let base, needed <= Int(capacity) {
            if Int(end) + extra > Int(capacity) {
                memmove(base, base + Int(start), count)
                end -= start
                start = 0
            }
            return true
        }
        guard let larger = pool.take(needed), let target = larger.baseAddress else { return false }
        let kept = count
        if let base {
            memcpy(target, base + Int(start), kept)
            pool.give(base, size: Int(capacity))
        }
        base = target
        capacity = Int32(larger.count)
        start = 0
        end = Int32(kept)
        return true
    }

    /// Drops bytes from the front.
    package mutating func consume(_ amount: Int, pool: BufferPool) {
        start += Int32(min(amount, count))
        if start == end { clear(pool: pool) }
    }

    /// Drops everything and gives the buffer back. Must be called before the queue dies.
    package mutating func clear(pool: BufferPool) {
        guard let base else { return }
        pool.give(base, size: Int(capacity))
        self.base = nil
        capacity = 0
        start = 0
        end = 0
    }
}
