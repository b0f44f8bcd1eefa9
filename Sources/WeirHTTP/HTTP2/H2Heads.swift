// Heads that wait until their streams' turn to send them has come.

import Glibc

/// Frames of heads, in the order in which they were handed over.
///
/// nghttp2 decides when a head leaves, but knows only a placeholder for it: when that is due, the
/// frames that wait here leave in its place.
struct H2Heads: ~Copyable {
    /// Bytes of a frame that every peer takes (RFC 9113 section 4.2).
    private static let mostOfFrame = 16 << 10
    private static let frameHead = 9
    private static let headersType: UInt8 = 1
    private static let continuationType: UInt8 = 9
    private static let endsHead: UInt8 = 4
    /// "My table is empty from now on" (RFC 7541 section 6.3).
    private static let emptyTable: UInt8 = 0x20
    /// Before each head: its stream, 0 where it is not wanted any more, and its frames' length.
    private static let entryHead = 8
    private static let leastCapacity = 4 << 10

    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    private var start = 0
    private var end = 0
    /// Where the head begins that was added last.
    private var last = 0

    /// None waits, and no memory is held.
    var isEmpty: Bool { base == nil }

    /// The stream of a frame that is a head; `nil` of other frames.
    static func stream(ofHead frame: UnsafeRawBufferPointer) -> Int32? {
        guard frame.count >= frameHead, frame[3] == headersType else { return nil }
        let number = frame.loadUnaligned(fromByteOffset: 5, as: UInt32.self).bigEndian
        return Int32(truncatingIfNeeded: number & 0x7FFF_FFFF)
    }

    /// Adds a head; `false` where it is too large, or there is no memory for it.
    mutating func append(
        _ block: UnsafeRawBufferPointer, of id: Int32, memory: H2Memory
    ) -> Bool {
        guard block.count <= H2Fields.most else { return false }
        // The first frame has room for a byte that says that the table is empty.
        let more = max(0, block.count + 1 - Self.mostOfFrame)
        let rests = (more + Self.mostOfFrame - 1) / Self.mostOfFrame
        let length = block.count + 1 + (1 + rests) * Self.frameHead
        guard reserve(Self.entryHead + length, memory), let base else { return false }
        last = end
        base.storeBytes(of: id, toByteOffset: end, as: Int32.self)
        base.storeBytes(of: Int32(length), toByteOffset: end + 4, as: Int32.self)
        var out = base + end + Self.entryHead + Self.frameHead
        out += 1
        var taken = min(block.count, Self.mostOfFrame - 1)
        if let first = block.baseAddress { out.copyMemory(from: first, byteCount: taken) }
        out += taken
        while taken < block.count, let first = block.baseAddress {
            let count = min(block.count - taken, Self.mostOfFrame)
            let isLast = taken + count == block.count
            Self.write(
                Self.continuationType, isLast ? Self.endsHead : 0, id, length: count, to: out)
            (out + Self.frameHead).copyMemory(from: first + taken, byteCount: count)
            out += Self.frameHead + count
            taken += count
        }
        end += Self.entryHead + length
        return true
    }

    /// The frames of a stream's next head; valid until the next change.
    ///
    /// - Parameters:
    ///   - flags: those of the placeholder: what says that the stream ends is taken over.
    ///   - isFirst: it is the connection's first head. It tells the peer that there is no table:
    ///     whatever size the peer allows or comes to allow, nothing has to be said of it again.
    mutating func frames(of id: Int32, flags: UInt8, isFirst: Bool) -> UnsafeRawBufferPointer? {
        guard let place = place(of: id), let base else { return nil }
        let whole = base + place + Self.entryHead
        let length = Self.entry(base, at: place).length
        let payload = min(length - Self.frameHead, Self.mostOfFrame)
        let isAlone = payload == length - Self.frameHead
        let skipped = isFirst ? 0 : 1
        whole.storeBytes(of: Self.emptyTable, toByteOffset: Self.frameHead, as: UInt8.self)
        Self.write(
            Self.headersType, isAlone ? flags : flags & ~Self.endsHead, id,
            length: payload - skipped, to: whole + skipped)
        return UnsafeRawBufferPointer(start: whole + skipped, count: length - skipped)
    }

    /// A head of the stream waits.
    func has(_ id: Int32) -> Bool { id != 0 && place(of: id) != nil }

    /// Takes back what has just been added.
    mutating func removeLast(memory: H2Memory) {
        end = last
        if start == end { clear(memory) }
    }

    /// Drops a stream's next head.
    mutating func remove(of id: Int32, memory: H2Memory) {
        guard let place = place(of: id), let base else { return }
        base.storeBytes(of: 0, toByteOffset: place, as: Int32.self)
        while start < end {
            let head = Self.entry(base, at: start)
            guard head.id == 0 else { break }
            start += Self.entryHead + head.length
        }
        if start == end { clear(memory) }
    }

    /// Drops all heads, and gives the memory back. Must be called before this dies.
    mutating func clear(_ memory: H2Memory) {
        memory.give(base)
        base = nil
        capacity = 0
        start = 0
        end = 0
    }

    /// What stands before the head that begins at `place`.
    private static func entry(
        _ base: UnsafeMutableRawPointer, at place: Int
    ) -> (id: Int32, length: Int) {
        (
            base.loadUnaligned(fromByteOffset: place, as: Int32.self),
            Int(base.loadUnaligned(fromByteOffset: place + 4, as: Int32.self))
        )
    }

    /// Where a stream's next head begins; nearly always it is the first of all.
    private func place(of id: Int32) -> Int? {
        guard let base else { return nil }
        var place = start
        while place < end {
            let head = Self.entry(base, at: place)
            if head.id == id { return place }
            place += Self.entryHead + head.length
        }
        return nil
    }

    private static func write(
        _ type: UInt8, _ flags: UInt8, _ id: Int32, length: Int, to out: UnsafeMutableRawPointer
    ) {
        let first = UInt32(length) << 8 | UInt32(type)
        out.storeBytes(of: first.bigEndian, as: UInt32.self)
        out.storeBytes(of: flags, toByteOffset: 4, as: UInt8.self)
        out.storeBytes(of: UInt32(bitPattern: id).bigEndian, toByteOffset: 5, as: UInt32.self)
    }

    private mutating func reserve(_ extra: Int, _ memory: H2Memory) -> Bool {
        guard end + extra > capacity else { return true }
        let kept = end - start
        if let base, kept + extra <= capacity {
            memmove(base, base + start, kept)
        } else {
            let size = max(Self.leastCapacity, 2 * (kept + extra))
            guard let larger = memory.take(size) else { return false }
            if let base { memcpy(larger, base + start, kept) }
            memory.give(base)
            base = larger
            capacity = size
        }
        start = 0
        end = kept
        return true
    }
}
