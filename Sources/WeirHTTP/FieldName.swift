// Recognises the field names that weir has to know, and those that could pass for one.

import CWeir

package enum FieldName {
    /// What longer names are refused for; it also keeps a length within 16 bits.
    static let maxLength = WEIR_LONGEST_NAME

    /// Tells which known field a name is, letter case aside.
    ///
    /// - Parameter name: `length` bytes that are all tchars.
    package static func recognise(_ name: UnsafeRawPointer, length: Int) -> KnownField {
        KnownField(mark: weir_know_field(name, length))
    }

    /// Whether the name becomes a known one when `_` is read as `-`, as CGI and WSGI do:
    /// `X_Forwarded_For` would pass for the field that weir writes itself.
    @inline(never)
    static func isUnderscoreAlias(_ name: UnsafeRawBufferPointer) -> Bool {
        guard name.contains(UInt8(ascii: "_")), name.count <= 24 else { return false }
        var folded: (UInt64, UInt64, UInt64) = (0, 0, 0)
        return withUnsafeMutableBytes(of: &folded) { copy in
            for (index, byte) in name.enumerated() {
                copy[index] = byte == UInt8(ascii: "_") ? UInt8(ascii: "-") : byte
            }
            guard let start = copy.baseAddress else { return false }
            return recognise(UnsafeRawPointer(start), length: name.count) != .other
        }
    }

    /// Compares as many bytes as the literal has, in overlapping words; the literal is constant,
    /// so that all that is left of this is loads and comparisons.
    @inline(__always)
    static func same(_ name: UnsafeRawPointer, _ literal: StaticString) -> Bool {
        let length = literal.utf8CodeUnitCount
        let wanted = UnsafeRawPointer(literal.utf8Start)
        if length >= 8 {
            if long(name, 0) != long(wanted, 0) { return false }
            if length > 16, long(name, 8) != long(wanted, 8) { return false }
            return length == 8 || long(name, length - 8) == long(wanted, length - 8)
        }
        if length >= 4 {
            return short(name, 0) == short(wanted, 0)
                && (length == 4 || short(name, length - 4) == short(wanted, length - 4))
        }
        for index in 0..<length {
            let byte = name.load(fromByteOffset: index, as: UInt8.self) | 0x20
            if byte != wanted.load(fromByteOffset: index, as: UInt8.self) { return false }
        }
        return true
    }

    @inline(__always)
    private static func long(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) | 0x2020_2020_2020_2020
    }

    @inline(__always)
    private static func short(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt32 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self) | 0x2020_2020
    }
}

extension KnownField {
    /// Takes the field out of what is known about it.
    @inline(__always)
    init(mark: UInt32) { self = Self(rawValue: UInt8(truncatingIfNeeded: mark)) ?? .other }
}
