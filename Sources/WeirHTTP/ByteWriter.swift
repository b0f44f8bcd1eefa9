// Writes heads: bytes, literals and numbers into memory that somebody else owns.

/// Appends to a fixed stretch of memory. What does not fit sets `hasOverflowed` and is dropped
/// whole; what comes after it may still fit, so ask before the bytes are used.
///
/// Public, as all small types of the hot path are: the compiler inlines nothing that is `package`
/// into another module, and here the calls cost more than the work.
public struct ByteWriter {
    /// `nil` when there is no room at all.
    public let base: UnsafeMutableRawPointer?
    /// Bytes that fit in all.
    public let capacity: Int
    @usableFromInline var used = 0
    @usableFromInline var isCut = false

    /// Bytes written so far.
    @inlinable public var count: Int { used }
    /// Something did not fit.
    @inlinable public var hasOverflowed: Bool { isCut }

    /// Writes from the start of `memory`.
    @inlinable
    public init(_ memory: UnsafeMutableRawBufferPointer) {
        base = memory.baseAddress
        capacity = memory.count
    }

    /// What has been written so far.
    public var written: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base, count: count)
    }

    /// Takes back what was written after the first `length` bytes; an overflow stays.
    public mutating func truncate(to length: Int) {
        precondition(length >= 0 && length <= used)
        used = length
    }

    /// Appends `length` bytes.
    @inlinable @inline(__always)
    public mutating func append(_ bytes: UnsafeRawPointer, count length: Int) {
        guard let base, length >= 0, length <= capacity &- used else {
            isCut = isCut || length != 0
            return
        }
        (base + used).copyMemory(from: bytes, byteCount: length)
        used &+= length
    }

    /// Appends bytes.
    @inlinable @inline(__always)
    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        append(start, count: bytes.count)
    }

    /// Appends a literal; where it is inlined that comes down to a few stores.
    @inlinable @inline(__always)
    public mutating func append(_ literal: StaticString) {
        append(UnsafeRawPointer(literal.utf8Start), count: literal.utf8CodeUnitCount)
    }

    /// Appends one byte.
    @inlinable @inline(__always)
    public mutating func append(byte: UInt8) {
        guard let base, used < capacity else {
            isCut = true
            return
        }
        base.storeBytes(of: byte, toByteOffset: used, as: UInt8.self)
        used &+= 1
    }

    /// Appends a string's UTF-8.
    public mutating func append(string: String) {
        for byte in string.utf8 { append(byte: byte) }
    }

    /// Appends a number's decimal digits.
    public mutating func append(decimal number: Int) {
        if number < 0 { append(byte: UInt8(ascii: "-")) }
        append(decimal: UInt64(number.magnitude))
    }

    /// Appends a number's decimal digits.
    public mutating func append(decimal number: UInt64) {
        if number < 10 {
            return append(byte: UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: number))
        }
        guard let base, number < 100_000_000, 8 <= capacity &- used else {
            return appendDigits(of: number, radix: 10)
        }
        // Leading zeros are the word's first bytes, which are its low ones.
        let digits = Self.eightDigits(of: number)
        let zeros = digits.trailingZeroBitCount / 8
        let text = (digits | 0x3030_3030_3030_3030) &>> UInt64(8 &* zeros)
        base.storeBytes(of: text.littleEndian, toByteOffset: used, as: UInt64.self)
        used &+= 8 &- zeros
    }

    /// The digits of a number below 10^8, one a byte, the first in the lowest. Halves, then their
    /// halves, then theirs are divided side by side in one word.
    @inline(__always)
    private static func eightDigits(of number: UInt64) -> UInt64 {
        let high = number / 10_000
        let fours = high | (number &- high &* 10_000) &<< 32
        let hundreds = (fours &* 10_486) &>> 20 & 0x0000_007F_0000_007F
        let twos = hundreds | (fours &- hundreds &* 100) &<< 16
        let tens = (twos &* 103) &>> 10 & 0x000F_000F_000F_000F
        return tens | (twos &- tens &* 10) &<< 8
    }

    /// Without leading zeros, in lower case: the size of a chunk.
    public mutating func append(hex number: UInt64) {
        appendDigits(of: number, radix: 16)
    }

    @inline(__always)
    private mutating func appendDigits(of number: UInt64, radix: UInt64) {
        let length = Self.digitCount(of: number, radix: radix)
        guard let base, length <= capacity &- used else {
            isCut = true
            return
        }
        var rest = number
        var place = used &+ length
        while place > used {
            place &-= 1
            let quotient = rest / radix
            let digit = UInt8(truncatingIfNeeded: rest &- quotient &* radix)
            let isNumeral = radix == 10 || digit < 10
            let first = isNumeral ? UInt8(ascii: "0") : UInt8(ascii: "a") &- 10
            base.storeBytes(of: first &+ digit, toByteOffset: place, as: UInt8.self)
            rest = quotient
        }
        used &+= length
    }

    @inline(__always)
    private static func digitCount(of number: UInt64, radix: UInt64) -> Int {
        // Multiplied up, which is cheaper than dividing; no number has more digits.
        let most = radix == 10 ? 20 : 16
        var length = 1
        var bound = radix
        while length < most, number >= bound {
            length &+= 1
            bound &*= radix
        }
        return length
    }
}
