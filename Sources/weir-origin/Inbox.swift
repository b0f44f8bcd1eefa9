// Bytes that have come in and not been used: one stretch of memory, grown for large heads only.

import WeirNet

/// A connection's read buffer.
struct Inbox: ~Copyable {
    private static let maxCapacity = 512 << 10

    private var memory: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0

    init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: 16) }

    deinit { memory.deallocate() }

    var isEmpty: Bool { start == end }

    /// What is there, which a decoder may move about in place.
    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory[start..<end])
    }

    mutating func use(_ count: Int) {
        start += min(max(count, 0), end - start)
        if start == end { (start, end) = (0, 0) }
    }

    /// Reads once; `wasShort` says that the socket is drained.
    mutating func receive(from fd: Int32) -> (transfer: Transfer, wasShort: Bool) {
        if end == memory.count { makeRoom() }
        let room = UnsafeMutableRawBufferPointer(rebasing: memory[end...])
        guard let base = room.baseAddress, !room.isEmpty else { return (.wouldBlock, false) }
        let transfer = Socket.receive(fd, into: base, count: room.count)
        guard case .bytes(let count) = transfer else { return (transfer, true) }
        end += count
        return (transfer, count < room.count)
    }

    private mutating func makeRoom() {
        if start > 0 {
            memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[start..<end]))
        } else if memory.count < Self.maxCapacity {
            let larger = UnsafeMutableRawBufferPointer.allocate(
                byteCount: memory.count * 2, alignment: 16)
            larger.copyMemory(from: UnsafeRawBufferPointer(memory))
            memory.deallocate()
            memory = larger
        }
        (start, end) = (0, end - start)
    }
}
