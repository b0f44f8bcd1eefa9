// A request's head, copied out of the read buffer, with what weir derives from it.

import CWeir
import Glibc
import WeirHTTP
import WeirNet
import WeirTime

/// The bytes of one head and the request's ID. Memory is kept from one request to the next.
struct HeadStore {
    static let maxIDLength = 64
    private static let usualCapacity = 4 << 10
    /// Bytes that may be noted behind the head.
    private static let noteCapacity = 256
    private static let keptCapacity = 16 << 10

    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private var length = 0
    private let identity: UnsafeMutableRawPointer
    private var identityLength = 0
    /// The path with needless percent-encoding removed, stored behind the head; empty when the
    /// path has none.
    private var normalPath = Stretch.empty

    init() {
        capacity = Self.usualCapacity
        base = .allocate(byteCount: capacity, alignment: 16)
        identity = .allocate(byteCount: Self.maxIDLength, alignment: 16)
    }

    mutating func release() {
        base.deallocate()
        identity.deallocate()
    }

    /// What the head's stretches point into.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: length) }

    /// The request's ID as text.
    var requestID: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: identity, count: identityLength)
    }

    /// Copies a head.
    mutating func take(_ source: UnsafeRawBufferPointer, _ head: borrowing RequestHead) {
        let needed = source.count + Int(head.path.length) + Self.noteCapacity
        if needed > capacity || (capacity > Self.keptCapacity && needed <= Self.keptCapacity) {
            base.deallocate()
            capacity = max(needed, Self.usualCapacity)
            base = .allocate(byteCount: capacity, alignment: 16)
        }
        length = source.count
        if let start = source.baseAddress { memcpy(base, start, source.count) }
        normalPath = .empty
        if head.hasOddPath { normalisePath(head.path) }
    }

    /// Keeps bytes that are derived from the head, as one of its stretches; what is longer than
    /// there is room for is cut.
    mutating func note(_ text: UnsafeRawBufferPointer) -> Stretch {
        let count = min(text.count, capacity - length, Self.noteCapacity)
        guard count > 0, let start = text.baseAddress else { return .empty }
        memcpy(base + length, start, count)
        defer { length += count }
        return Stretch(start: UInt32(length), length: UInt32(count))
    }

    /// Where bytes of the head stand in it.
    func stretch(of part: UnsafeRawBufferPointer) -> Stretch {
        guard let start = part.baseAddress else { return .empty }
        let offset = start - UnsafeRawPointer(base)
        guard offset >= 0, offset + part.count <= length else { return .empty }
        return Stretch(start: UInt32(offset), length: UInt32(part.count))
    }

    /// Forgets the head.
    mutating func clear() {
        length = 0
        identityLength = 0
        normalPath = .empty
    }

    /// Decodes the percent-encoded characters of the path that need no encoding, so that `/%61`
    /// finds the same route as `/a` (RFC 3986 section 6.2.2.2).
    private mutating func normalisePath(_ path: Stretch) {
        let source = base + Int(path.start)
        guard memchr(source, 0x25, Int(path.length)) != nil else { return }
        let target = base + length
        var written = 0
        var index = 0
        let count = Int(path.length)
        while index < count {
            var byte = source.load(fromByteOffset: index, as: UInt8.self)
            if byte == 0x25, index + 2 < count,
                let high = Self.hex(source.load(fromByteOffset: index + 1, as: UInt8.self)),
                let low = Self.hex(source.load(fromByteOffset: index + 2, as: UInt8.self)),
                Self.isUnreserved(high << 4 | low)
            {
                byte = high << 4 | low
                index += 2
            }
            target.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
            written += 1
            index += 1
        }
        normalPath = Stretch(start: UInt32(length), length: UInt32(written))
        length += written
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, 0x2D, 0x2E, 0x5F, 0x7E: true
        default: false
        }
    }

    /// The host that the request names, without its port.
    func host(_ head: borrowing RequestHead) -> UnsafeRawBufferPointer { bytes[head.host] }

    /// The path that routes are matched with; `/` where the target has none.
    func path(_ head: borrowing RequestHead) -> UnsafeRawBufferPointer {
        if !normalPath.isEmpty { return bytes[normalPath] }
        if !head.path.isEmpty { return bytes[head.path] }
        return head.targetForm == .absolute ? Self.root : bytes[head.target]
    }

    private static let slash: StaticString = "/"
    private static var root: UnsafeRawBufferPointer { slash.bytes }

    // MARK: The request's ID

    /// Makes an ID of 32 hexadecimal digits.
    mutating func makeID(_ chance: inout Chance) {
        weir_write_hex(chance.next(), identity)
        weir_write_hex(chance.next(), identity + 16)
        identityLength = 32
    }

    /// Takes a trusted proxy's ID; `false` when it is not plain text of at most 64 bytes.
    mutating func adoptID(_ id: UnsafeRawBufferPointer) -> Bool {
        guard id.count > 0, id.count <= Self.maxIDLength, let start = id.baseAddress,
            id.allSatisfy({ Self.isUnreserved($0) || $0 == 0x3A || $0 == 0x2F || $0 == 0x3D })
        else { return false }
        memcpy(identity, start, id.count)
        identityLength = id.count
        return true
    }
}

extension RequestHead {
    /// Forgets what was parsed, where the head turned out to be malformed.
    mutating func discard() {
        length = 0
        method = .other
        methodName = .empty
        target = .empty
        targetForm = .origin
        path = .empty
        query = .empty
        authority = .empty
        host = .empty
        minorVersion = 1
        framing = .none
        isPersistent = false
        expectsContinue = false
        wantsUpgrade = false
        hasOddPath = false
        deadline = .empty
        attempt = .empty
        fields.removeAll()
    }
}
