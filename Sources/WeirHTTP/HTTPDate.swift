// The `Date` of a response, formatted once a second.

/// An IMF-fixdate (RFC 9110 section 5.6.7) that is remembered until the second changes.
package struct HTTPDate {
    package static let length = 29

    private var second: Int64 = 0
    private var text = [UInt8]("Thu, 01 Jan 1970 00:00:00 GMT".utf8)

    package init() {}

    /// Appends the date of a time in seconds since 1970, UTC; years 0000 to 9999.
    @inline(__always)
    package mutating func append(unixSeconds: Int64, to writer: inout ByteWriter) {
        if unixSeconds != second { format(unixSeconds) }
        text.withUnsafeBytes { writer.append($0) }
    }

    /// The same as bytes, for those who do not write heads.
    package mutating func bytes(unixSeconds: Int64) -> [UInt8] {
        if unixSeconds != second { format(unixSeconds) }
        return text
    }

    private mutating func format(_ unixSeconds: Int64) {
        second = unixSeconds
        // 0000-01-01 to 9999-12-31: a clock outside this is broken, and the text has no room.
        let seconds = min(max(unixSeconds, -62_167_219_200), 253_402_300_799)
        let days = Self.floorDivide(seconds, 86_400)
        let time = seconds - days * 86_400
        let weekday = (days + 4) - Self.floorDivide(days + 4, 7) * 7
        let date = Self.civil(from: days)
        put("SunMonTueWedThuFriSat", name: Int(weekday), at: 0)
        put(date.day, digits: 2, at: 5)
        put("JanFebMarAprMayJunJulAugSepOctNovDec", name: Int(date.month) - 1, at: 8)
        put(date.year, digits: 4, at: 12)
        put(time / 3600, digits: 2, at: 17)
        put(time / 60 % 60, digits: 2, at: 20)
        put(time % 60, digits: 2, at: 23)
    }

    private mutating func put(_ number: Int64, digits: Int, at start: Int) {
        var rest = number
        for place in stride(from: start + digits - 1, through: start, by: -1) {
            text[place] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
    }

    private mutating func put(_ names: StaticString, name: Int, at start: Int) {
        names.withUTF8Buffer { bytes in
            for index in 0..<3 { text[start + index] = bytes[name * 3 + index] }
        }
    }

    private static func floorDivide(_ number: Int64, _ divisor: Int64) -> Int64 {
        let quotient = number / divisor
        return number % divisor < 0 ? quotient - 1 : quotient
    }

    /// Days since 1970 to a date of the Gregorian calendar. Counting years from March puts the
    /// leap day at a year's end, so that months before it need no exception.
    private static func civil(from days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
