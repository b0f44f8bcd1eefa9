// The fields of a head that is to be sent, as nghttp2 wants them.

import CNghttp2
import Glibc

/// Fields of one head, which point to bytes of somebody else. Used for one head after the other.
package final class H2Fields {
    private(set) var base: UnsafeMutablePointer<nghttp2_nv>
    private(set) var count = 0
    private var capacity = 64

    package init() { base = .allocate(capacity: capacity) }

    deinit { base.deallocate() }

    /// Begins another head.
    package func removeAll() { count = 0 }

    /// Adds a field; names are put into lower case when they are sent.
    @inline(__always)
    package func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        add(name, value, flags: 0)
    }

    @inline(__always)
    private func add(
        _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, flags: UInt8
    ) {
        if count == capacity { grow() }
        base[count] = nghttp2_nv(
            name: Self.pointer(name), value: Self.pointer(value), namelen: name.count,
            valuelen: value.count, flags: flags)
        count &+= 1
    }

    /// Adds a field whose name is known, in lower case: it need not be copied.
    ///
    /// - Parameter isUnique: no other head will have the same value: it is not worth a place in the
    ///   peer's table.
    @inline(__always)
    package func add(_ name: StaticString, _ value: UnsafeRawBufferPointer, isUnique: Bool = false)
    {
        let unique = isUnique ? NGHTTP2_NV_FLAG_NO_INDEX.rawValue : 0
        add(
            name.bytes, value,
            flags: UInt8(truncatingIfNeeded: NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | unique))
    }

    /// Adds a field that is always the same.
    @inline(__always)
    package func add(_ name: StaticString, _ value: StaticString) {
        let flags = NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue
        add(name.bytes, value.bytes, flags: UInt8(truncatingIfNeeded: flags))
    }

    /// Adds each of the lines `name: value CRLF`.
    package func add(lines: UnsafeRawBufferPointer) {
        var start = 0
        while let end = Self.find(Byte.carriageReturn, in: lines, from: start) {
            let colon = Self.find(Byte.colon, in: lines, from: start) ?? end
            if colon < end {
                let value = UnsafeRawBufferPointer(rebasing: lines[(colon + 1)..<end])
                add(
                    UnsafeRawBufferPointer(rebasing: lines[start..<colon]),
                    FieldValue.trimmed(value))
            }
            start = end + 2
        }
    }

    private static func find(
        _ byte: UInt8, in bytes: UnsafeRawBufferPointer, from start: Int
    ) -> Int? {
        guard start < bytes.count, let base = bytes.baseAddress,
            let found = memchr(base + start, Int32(byte), bytes.count - start)
        else { return nil }
        return UnsafeRawPointer(found) - base
    }

    // nghttp2 reads them only.
    private static func pointer(_ bytes: UnsafeRawBufferPointer) -> UnsafeMutablePointer<UInt8>? {
        bytes.baseAddress.map {
            UnsafeMutablePointer(mutating: $0.assumingMemoryBound(to: UInt8.self))
        }
    }

    private func grow() {
        let larger = UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: 2 * capacity)
        larger.update(from: base, count: count)
        base.deallocate()
        base = larger
        capacity *= 2
    }
}
