// Numbers, strings and times as JSON, written into memory that the caller has sized.

import CWeir
import Glibc

/// A place in memory that JSON text is written at. The caller guarantees the room: a number takes
/// at most 20 bytes, a string at most `JSONBytes.room(for:)`.
struct JSONBytes {
    var next: UnsafeMutablePointer<UInt8>

    /// The most that a string of `count` bytes takes: each may become `\u00XX`, plus two quotes.
    @inline(__always)
    static func room(for count: Int) -> Int { count &* 6 &+ 2 }

    /// Writes bytes that are JSON already; with a literal this compiles to a few stores.
    @inline(__always)
    mutating func raw(_ text: StaticString) {
        let count = text.utf8CodeUnitCount
        memcpy(next, text.utf8Start, count)
        next += count
    }

    @inline(__always)
    mutating func byte(_ value: UInt8) {
        next.pointee = value
        next += 1
    }

    /// Writes a decimal number.
    @inline(__always)
    mutating func number(_ value: UInt64) {
        if value >= 1000 { return longNumber(value) }
        if value >= 100 { return threeDigits(value) }
        if value < 10 { return byte(48 &+ UInt8(truncatingIfNeeded: value)) }
        let tens = (value &* 103) >> 10
        next[0] = 48 &+ UInt8(truncatingIfNeeded: tens)
        next[1] = 48 &+ UInt8(truncatingIfNeeded: value &- tens &* 10)
        next += 2
    }

    /// Writes a number below 1000 with leading zeros. The factors are exact in that range, and
    /// cost a third of what divisions by ten do.
    @inline(__always)
    mutating func threeDigits(_ value: UInt64) {
        let hundreds = (value &* 41) >> 12
        let rest = value &- hundreds &* 100
        let tens = (rest &* 103) >> 10
        next[0] = 48 &+ UInt8(truncatingIfNeeded: hundreds)
        next[1] = 48 &+ UInt8(truncatingIfNeeded: tens)
        next[2] = 48 &+ UInt8(truncatingIfNeeded: rest &- tens &* 10)
        next += 3
    }

    /// Three digits at a time: at most seven calls deep.
    @inline(never)
    private mutating func longNumber(_ value: UInt64) {
        let thousands = value / 1000
        number(thousands)
        threeDigits(value &- thousands &* 1000)
    }

    /// Writes a number of at most `count` digits with leading zeros.
    @inline(__always)
    mutating func padded(_ value: UInt64, digits count: Int) {
        var rest = value
        var position = count
        while position > 0 {
            position &-= 1
            let tenth = rest / 10
            next[position] = 48 &+ UInt8(truncatingIfNeeded: rest &- tenth &* 10)
            rest = tenth
        }
        next += count
    }

    /// Writes nanoseconds as milliseconds with three decimals, `null` when negative.
    @inline(__always)
    mutating func milliseconds(_ nanoseconds: Int64) {
        if nanoseconds < 1000 { return nanoseconds < 0 ? raw("null") : raw("0.000") }
        let microseconds = UInt64(bitPattern: nanoseconds) / 1000
        let whole = microseconds / 1000
        number(whole)
        byte(UInt8(ascii: "."))
        threeDigits(microseconds &- whole &* 1000)
    }

    /// Writes bytes as a JSON string, `null` when there are none.
    @inline(__always)
    mutating func stringOrNull(_ bytes: UnsafeRawBufferPointer) {
        if let start = bytes.baseAddress, !bytes.isEmpty {
            string(start, count: bytes.count)
        } else {
            raw("null")
        }
    }

    /// Writes text as a JSON string.
    mutating func string(_ utf8: UnsafeBufferPointer<UInt8>) {
        if let start = utf8.baseAddress { string(start, count: utf8.count) } else { raw("\"\"") }
    }

    /// Writes bytes as a JSON string. Bytes that are not UTF-8 become `\u00XX`, one each, so that
    /// a hostile request cannot break the line and none of what it sent is lost.
    @inline(never)
    mutating func string(_ start: UnsafeRawPointer, count: Int) {
        let out = UnsafeMutableRawPointer(next)
        out.storeBytes(of: UInt8(ascii: "\""), as: UInt8.self)
        let plain = Self.copyPlain(start, count: count, to: out + 1)
        next = out.assumingMemoryBound(to: UInt8.self) + 1 + plain
        if plain < count { escaped(start + plain, count: count &- plain) }
        next.pointee = UInt8(ascii: "\"")
        next += 1
    }

    /// Copies bytes that need no escape, in wide steps that overlap at the end, and returns how
    /// many it took; what it has written beyond them is within the room for escapes.
    @inline(__always)
    private static func copyPlain(
        _ start: UnsafeRawPointer, count: Int, to out: UnsafeMutableRawPointer
    ) -> Int {
        if count >= 16 {
            var index = 0
            let last = count &- 16
            while true {
                let words = start.loadUnaligned(fromByteOffset: index, as: SIMD2<UInt64>.self)
                if needsEscape(words) { return index }
                out.storeBytes(of: words, toByteOffset: index, as: SIMD2<UInt64>.self)
                if index == last { return count }
                index = min(index &+ 16, last)
            }
        }
        if count >= 8 {
            let words = SIMD2(
                start.loadUnaligned(as: UInt64.self),
                start.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self))
            if needsEscape(words) { return 0 }
            out.storeBytes(of: words.x, as: UInt64.self)
            out.storeBytes(of: words.y, toByteOffset: count &- 8, as: UInt64.self)
            return count
        }
        if count < 4 { return copyFew(start, count: count, to: out) }
        let head = start.loadUnaligned(as: UInt32.self)
        let tail = start.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
        let both = UInt64(head) | UInt64(tail) << 32
        if needsEscape(SIMD2(both, both)) { return 0 }
        out.storeBytes(of: head, as: UInt32.self)
        out.storeBytes(of: tail, toByteOffset: count &- 4, as: UInt32.self)
        return count
    }

    /// `copyPlain` for one to three bytes: first, middle and last, which may be the same.
    @inline(__always)
    private static func copyFew(
        _ start: UnsafeRawPointer, count: Int, to out: UnsafeMutableRawPointer
    ) -> Int {
        if count == 0 { return 0 }
        let first = start.load(as: UInt8.self)
        let middle = start.load(fromByteOffset: count >> 1, as: UInt8.self)
        let last = start.load(fromByteOffset: count &- 1, as: UInt8.self)
        let word =
            0x2020_2020_2000_0000 | UInt64(first) | UInt64(middle) << 8 | UInt64(last) << 16
        if needsEscape(SIMD2(word, word)) { return 0 }
        out.storeBytes(of: first, as: UInt8.self)
        out.storeBytes(of: middle, toByteOffset: count >> 1, as: UInt8.self)
        out.storeBytes(of: last, toByteOffset: count &- 1, as: UInt8.self)
        return count
    }

    /// Writes the bytes of a string from the step that has the first one that needs an escape.
    @inline(never)
    private mutating func escaped(_ start: UnsafeRawPointer, count: Int) {
        var out = next
        var index = 0
        while index < count {
            let byte = start.load(fromByteOffset: index, as: UInt8.self)
            if byte >= 0x20, byte < 0x80, byte != 0x22, byte != 0x5C {
                out.pointee = byte
                out += 1
                index &+= 1
            } else {
                index &+= Self.escape(byte, start + index, left: count &- index, &out)
            }
        }
        next = out
    }

    /// Some byte is a control character, a quote, a backslash or not ASCII. Sixteen at a time by
    /// arithmetic in two words: vector comparisons cost five times as much.
    @inline(__always)
    private static func needsEscape(_ words: SIMD2<UInt64>) -> Bool {
        let ones = SIMD2<UInt64>(repeating: 0x0101_0101_0101_0101)
        let quotes = words ^ SIMD2(repeating: 0x2222_2222_2222_2222)
        let backslashes = words ^ SIMD2(repeating: 0x5C5C_5C5C_5C5C_5C5C)
        // A byte's top bit is set where it is below what is taken away; a borrow into the next
        // byte can only add to what is found already.
        let controls = words &- SIMD2(repeating: 0x2020_2020_2020_2020)
        let found = controls | (quotes &- ones) | (backslashes &- ones) | words
        return found & SIMD2(repeating: 0x8080_8080_8080_8080) != .zero
    }

    /// Writes one byte, or one whole UTF-8 character, and returns how many bytes it took.
    private static func escape(
        _ byte: UInt8, _ start: UnsafeRawPointer, left: Int,
        _ out: inout UnsafeMutablePointer<UInt8>
    ) -> Int {
        if byte >= 0x80 {
            let length = utf8Length(byte, start, left: left)
            if length > 0 {
                memcpy(out, start, length)
                out += length
                return length
            }
        }
        out[0] = UInt8(ascii: "\\")
        switch byte {
        case 0x22, 0x5C: out[1] = byte
        case 0x0A: out[1] = UInt8(ascii: "n")
        case 0x0D: out[1] = UInt8(ascii: "r")
        case 0x09: out[1] = UInt8(ascii: "t")
        default:
            out[1] = UInt8(ascii: "u")
            out[2] = UInt8(ascii: "0")
            out[3] = UInt8(ascii: "0")
            out[4] = hexDigit(byte >> 4)
            out[5] = hexDigit(byte & 15)
            out += 6
            return 1
        }
        out += 2
        return 1
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? 48 &+ value : 87 &+ value
    }

    /// The length of the well-formed UTF-8 character at `start`, 0 when there is none (Unicode
    /// table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
    private static func utf8Length(_ first: UInt8, _ start: UnsafeRawPointer, left: Int) -> Int {
        let length: Int
        var low: UInt8 = 0x80
        var high: UInt8 = 0xBF
        switch first {
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if first == 0xE0 { low = 0xA0 }
            if first == 0xED { high = 0x9F }
        case 0xF0...0xF4:
            length = 4
            if first == 0xF0 { low = 0x90 }
            if first == 0xF4 { high = 0x8F }
        default: return 0
        }
        guard left >= length else { return 0 }
        for index in 1..<length {
            let byte = start.load(fromByteOffset: index, as: UInt8.self)
            guard byte >= low, byte <= high else { return 0 }
            low = 0x80
            high = 0xBF
        }
        return length
    }
}

/// The date and time of one second as RFC 3339 text, remembered: most lines share it.
struct SecondCache {
    /// `2026-11-24T02:26:52.`
    static var length: Int { 20 }

    private var second = Int64.min
    private let text: UnsafeMutablePointer<UInt8>

    init() { text = .allocate(capacity: Self.length) }

    func deallocate() { text.deallocate() }

    /// Writes `"2026-11-24T02:26:52.123456Z"`, quotes included: 29 bytes.
    @inline(__always)
    mutating func write(_ unixNanoseconds: Int64, to out: inout JSONBytes) {
        let nanoseconds = max(0, unixNanoseconds)
        let now = nanoseconds / 1_000_000_000
        if now != second { format(now) }
        out.byte(UInt8(ascii: "\""))
        memcpy(out.next, text, Self.length)
        out.next += Self.length
        let microseconds = UInt64(nanoseconds &- now &* 1_000_000_000) / 1000
        out.threeDigits(microseconds / 1000)
        out.threeDigits(microseconds % 1000)
        out.raw("Z\"")
    }

    @inline(never)
    private mutating func format(_ now: Int64) {
        second = now
        // Beyond the year 9999 the text would not fit; no clock is there.
        let bounded = min(now, 253_402_300_799)
        let (year, month, day) = Self.civil(bounded / 86400)
        let time = bounded % 86400
        var out = JSONBytes(next: text)
        out.padded(UInt64(year), digits: 4)
        out.byte(UInt8(ascii: "-"))
        out.padded(UInt64(month), digits: 2)
        out.byte(UInt8(ascii: "-"))
        out.padded(UInt64(day), digits: 2)
        out.byte(UInt8(ascii: "T"))
        out.padded(UInt64(time / 3600), digits: 2)
        out.byte(UInt8(ascii: ":"))
        out.padded(UInt64(time / 60 % 60), digits: 2)
        out.byte(UInt8(ascii: ":"))
        out.padded(UInt64(time % 60), digits: 2)
        out.byte(UInt8(ascii: "."))
    }

    /// The Gregorian date of a day since 1970 (Hinnant, "chrono-compatible low-level date
    /// algorithms").
    private static func civil(_ day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let z = day + 719_468
        let era = z / 146_097
        let ofEra = z - era * 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * ofYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        return (
            yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month,
            ofYear - (153 * shifted + 2) / 5 + 1
        )
    }
}
