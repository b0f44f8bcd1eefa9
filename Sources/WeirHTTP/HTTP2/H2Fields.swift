// A head that is to be sent, as HPACK writes it.

import CWeir
import Glibc

/// The fields of one head, compressed (RFC 7541). Used for one head after the other.
///
/// Names are numbers of the static table where it has them, values are spelled out, and the peer's
/// own table stays empty. Filling that table would make a head a third as long, but each field had
/// to be looked up in it, which nghttp2 did for a sixth of the instructions of a request. And what
/// is written for one stream depends on no other, so that a head may be dropped or wait while
/// others leave.
package final class H2Fields {
    /// Fields that are known from the start, as the static table numbers them; those that begin a
    /// head come first.
    package enum Known: UInt8 {
        case authority = 1, method = 2, path = 4, scheme = 6, status = 8
        case contentLength = 28, userAgent = 58, via = 60
    }

    /// Bytes of the largest head that is sent: more than any that an endpoint may send, with what
    /// weir adds.
    static let most = 256 << 10
    /// The most that a field takes beside its name and value: three numbers.
    private static let overhead = 16

    private var memory: UnsafeMutableRawPointer
    private var capacity = 4 << 10
    private var count = 0
    /// What nghttp2 is to know of a request: what its answer may have depends on it.
    private(set) var method: StaticString = "GET"

    package init() { memory = .allocate(byteCount: capacity, alignment: 16) }

    deinit { memory.deallocate() }

    /// The fields so far; valid until the next one is added.
    package var block: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory, count: count)
    }

    /// It is larger than any that is sent.
    package var isTooLarge: Bool { count > Self.most }

    /// Begins another head.
    package func removeAll() {
        count = 0
        method = "GET"
    }

    /// Adds a field that is known.
    package func add(_ name: Known, _ value: UnsafeRawBufferPointer) {
        if name == .method { noteMethod(value) }
        var out = begin(value.count)
        if let whole = Self.number(of: name, value) {
            out.put(0x80 | whole)
        } else {
            out.put(Int(name.rawValue), bits: 4, kind: 0)
            out.put(string: value)
        }
        end(out)
    }

    /// Adds a field that is known, with a value that is.
    package func add(_ name: Known, _ value: StaticString) { add(name, value.bytes) }

    /// Adds a field whose name is in lower case, and which the static table does not have.
    package func add(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
        var out = begin(name.utf8CodeUnitCount + value.count)
        out.put(0)
        out.put(string: name.bytes)
        out.put(string: value)
        end(out)
    }

    /// The same, with a value that is known.
    package func add(_ name: StaticString, _ value: StaticString) { add(name, value.bytes) }

    /// Adds any field.
    package func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        guard let start = name.baseAddress else { return }
        var out = begin(name.count + value.count)
        let number = weir_hpack_name(start, name.count)
        out.put(Int(number), bits: 4, kind: Self.isSecret(number) ? 0x10 : 0)
        if number == 0 { out.put(name: name) }
        out.put(string: value)
        end(out)
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

    // MARK: What the static table has

    /// The number of a field together with its value.
    private static func number(of name: Known, _ value: UnsafeRawBufferPointer) -> UInt8? {
        switch name {
        case .method: value.isExactly("GET") ? 2 : value.isExactly("POST") ? 3 : nil
        case .path: value.isExactly("/") ? 4 : nil
        case .scheme: value.isExactly("http") ? 6 : value.isExactly("https") ? 7 : nil
        case .status: number(ofStatus: value)
        default: nil
        }
    }

    private static func number(ofStatus value: UnsafeRawBufferPointer) -> UInt8? {
        guard value.count == 3 else { return nil }
        switch (value[0], value[1], value[2]) {
        case (0x32, 0x30, 0x30): return 8
        case (0x32, 0x30, 0x34): return 9
        case (0x32, 0x30, 0x36): return 10
        case (0x33, 0x30, 0x34): return 11
        case (0x34, 0x30, 0x30): return 12
        case (0x34, 0x30, 0x34): return 13
        case (0x35, 0x30, 0x30): return 14
        default: return nil
        }
    }

    /// Nobody on the way to the peer may keep the field (RFC 7541 section 7.1.3): authorization,
    /// cookie, proxy-authorization and set-cookie.
    private static func isSecret(_ number: UInt8) -> Bool {
        (1 << 23 | 1 << 32 | 1 << 49 | 1 << 55) as UInt64 &>> UInt64(number) & 1 != 0
    }

    private func noteMethod(_ value: UnsafeRawBufferPointer) {
        method = value.isExactly("HEAD") ? "HEAD" : value.isExactly("CONNECT") ? "CONNECT" : "GET"
    }

    // MARK: Bytes

    /// Where a field with `bytes` of name and value is written.
    @inline(__always)
    private func begin(_ bytes: Int) -> FieldWriter {
        if capacity &- count < bytes &+ Self.overhead { grow(to: count + bytes + Self.overhead) }
        return FieldWriter(out: memory + count)
    }

    @inline(__always)
    private func end(_ writer: FieldWriter) { count = writer.out - memory }

    private func grow(to needed: Int) {
        let larger = max(2 * capacity, needed)
        let fresh = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
        fresh.copyMemory(from: memory, byteCount: count)
        memory.deallocate()
        memory = fresh
        capacity = larger
    }
}

/// Writes the parts of a field where there is room for them.
private struct FieldWriter {
    var out: UnsafeMutableRawPointer

    @inline(__always)
    mutating func put(_ byte: UInt8) {
        out.storeBytes(of: byte, as: UInt8.self)
        out += 1
    }

    /// A number behind the bits of `kind`, with `bits` left for it in the first byte (RFC 7541
    /// section 5.1).
    @inline(__always)
    mutating func put(_ number: Int, bits: Int, kind: UInt8) {
        let most = (1 &<< bits) &- 1
        if number < most { return put(kind | UInt8(truncatingIfNeeded: number)) }
        put(kind | UInt8(truncatingIfNeeded: most))
        var rest = number &- most
        while rest >= 0x80 {
            put(0x80 | UInt8(truncatingIfNeeded: rest))
            rest &>>= 7
        }
        put(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    mutating func put(string: UnsafeRawBufferPointer) {
        put(string.count, bits: 7, kind: 0)
        guard let start = string.baseAddress else { return }
        out.copyMemory(from: start, byteCount: string.count)
        out += string.count
    }

    /// HTTP/2 has names in lower case.
    @inline(__always)
    mutating func put(name: UnsafeRawBufferPointer) {
        put(name.count, bits: 7, kind: 0)
        for byte in name {
            let isUpper = byte &- UInt8(ascii: "A") < 26
            put(isUpper ? byte | 0x20 : byte)
        }
    }
}
