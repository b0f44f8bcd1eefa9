// Writes heads: bytes, literals and numbers into memory that somebody else owns.

import CWeir

/// Appends to a fixed stretch of memory. What does not fit sets `hasOverflowed` and is dropped.
package struct ByteWriter {
    package let base: UnsafeMutableRawPointer
    package let capacity: Int
    package private(set) var count = 0
    package private(set) var hasOverflowed = false

    package init(_ memory: UnsafeMutableRawBufferPointer) {
        // An empty buffer may have no address; it has no room either.
        base = memory.baseAddress ?? UnsafeMutableRawPointer(bitPattern: 8)!
        capacity = memory.count
    }
}
