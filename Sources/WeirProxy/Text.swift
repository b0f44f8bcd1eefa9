// Bytes made once and read for ever: names, literals, prepared header lines.

import Glibc

/// Immutable bytes that can be read without retaining, copying or bridging.
package final class TextStorage: @unchecked Sendable {
    fileprivate let base: UnsafeMutableRawPointer
    fileprivate let count: Int

    fileprivate init(_ bytes: some Collection<UInt8>) {
        count = bytes.count
        base = .allocate(byteCount: max(1, count), alignment: 1)
        var index = 0
        for byte in bytes {
            base.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
            index += 1
        }
    }

    deinit { base.deallocate() }
}

/// A handle on immutable bytes.
package struct Text: Sendable, Equatable, CustomStringConvertible {
    private let storage: TextStorage

    package init(_ string: String) { storage = TextStorage(string.utf8) }
    package init(_ bytes: [UInt8]) { storage = TextStorage(bytes) }

    package var count: Int { storage.count }

    /// The bytes; valid as long as this handle, or the plan it belongs to, is kept.
    package var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: storage.base, count: storage.count)
    }

    package static func == (a: Text, b: Text) -> Bool {
        a.count == b.count && memcmp(a.storage.base, b.storage.base, a.count) == 0
    }

    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
