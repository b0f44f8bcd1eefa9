// What heads are written with: bytes, numbers, dates, reasons.

import Testing
import WeirHTTP

/// Runs a writer over `capacity` bytes; gives back what it wrote.
private func write(_ capacity: Int, _ body: (inout ByteWriter) -> Void) -> (String, Bool) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    body(&writer)
    return (String(decoding: writer.written, as: UTF8.self), writer.hasOverflowed)
}

@Suite struct ByteWriterTests {
    @Test func `appends what it is given`() {
        let (text, hasOverflowed) = write(200) { writer in
            writer.append("HTTP/1.1 ")
            writer.append(decimal: 200)
            writer.append(byte: 32)
            writer.append(string: "Très bien")
            [UInt8]("|raw".utf8).withUnsafeBytes { writer.append($0) }
            [UInt8]("|counted".utf8).withUnsafeBytes { bytes in
                if let start = bytes.baseAddress { writer.append(start, count: 4) }
            }
            writer.append(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        #expect(text == "HTTP/1.1 200 Très bien|raw|cou")
        #expect(!hasOverflowed)
    }

    static let numbers: [UInt64] = [
        0, 1, 9, 10, 99, 100, 9999, 10_000, 12_345, 1_000_001, 87_654_321, 99_999_999, 100_000_000,
        UInt64.max, UInt64.max / 2 + 1,
    ]

    @Test(arguments: numbers)
    func `writes numbers as Swift prints them`(number: UInt64) {
        #expect(write(40) { $0.append(decimal: number) }.0 == "\(number)")
        #expect(write(40) { $0.append(hex: number) }.0 == String(number, radix: 16))
    }

    @Test(arguments: [0, 7, -7, Int.max, Int.min])
    func `writes signed numbers`(number: Int) {
        #expect(write(40) { $0.append(decimal: number) }.0 == "\(number)")
    }

    @Test func `what does not fit is dropped whole and remembered`() {
        #expect(write(4) { $0.append("abcd") } == ("abcd", false))
        #expect(write(4) { $0.append("abcde") } == ("", true))
        #expect(write(4) { $0.append(decimal: 12_345) } == ("", true))
        #expect(write(5) { $0.append(decimal: 12_345) } == ("12345", false))
        #expect(write(4) { $0.append(hex: 0x12345) } == ("", true))
        let later = write(4) {
            $0.append("abc")
            $0.append("de")
            $0.append("f")
            $0.append(byte: 0x67)
        }
        #expect(later == ("abcf", true))
    }

    @Test func `an empty buffer takes nothing`() {
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
        writer.append("")
        #expect(!writer.hasOverflowed)
        writer.append(byte: 0)
        #expect(writer.hasOverflowed)
        #expect(writer.written.isEmpty)
    }

    @Test func `truncates to an earlier length`() {
        let (text, _) = write(10) {
            $0.append("abcdef")
            $0.truncate(to: 2)
            $0.append("x")
        }
        #expect(text == "abx")
    }
}

@Suite struct HTTPDateTests {
    @Test(
        arguments: [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (Int64.max, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (Int64.min, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ] as [(Int64, String)])
    func `formats a second`(second: Int64, text: String) {
        var date = HTTPDate()
        #expect(String(decoding: date.bytes(unixSeconds: second), as: UTF8.self) == text)
    }

    @Test func `agrees with the calendar on every day of four centuries`() {
        // One known day, and from there by counting.
        var date = HTTPDate()
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(separator: " ")
        let weekdays = "Thu Fri Sat Sun Mon Tue Wed".split(separator: " ")
        var (year, month, day) = (1970, 0, 1)
        for count in 0..<146_097 {
            let text = String(
                decoding: date.bytes(unixSeconds: Int64(count) * 86_400 + 3_661), as: UTF8.self)
            let padded = day < 10 ? "0\(day)" : "\(day)"
            let wanted = "\(weekdays[count % 7]), \(padded) \(months[month]) \(year) 01:01:01 GMT"
            if text != wanted {
                #expect(text == wanted)
                return
            }
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            day += 1
            if day > lengths[month] + (month == 1 && isLeap ? 1 : 0) {
                day = 1
                month += 1
            }
            if month == 12 {
                month = 0
                year += 1
            }
        }
    }

    @Test func `keeps the text while the second lasts, and not longer`() {
        var date = HTTPDate()
        let (text, hasOverflowed) = write(100) { writer in
            date.append(unixSeconds: 784_111_777, to: &writer)
            date.append(unixSeconds: 784_111_777, to: &writer)
            date.append(unixSeconds: 784_111_778, to: &writer)
        }
        #expect(
            text == """
                Sun, 06 Nov 1994 08:49:37 GMTSun, 06 Nov 1994 08:49:37 GMT\
                Sun, 06 Nov 1994 08:49:38 GMT
                """)
        #expect(!hasOverflowed)
        #expect(HTTPDate.length == 29)
    }
}

@Suite struct StatusReasonTests {
    @Test func `every status has a reason that fits on a status line`() {
        for status in -1...1000 {
            let reason = "\(StatusReason.text(for: status))"
            #expect(!reason.isEmpty)
            #expect(reason.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
        }
    }

    @Test(arguments: [
        (200, "OK"), (404, "Not Found"), (429, "Too Many Requests"), (502, "Bad Gateway"),
        (103, "Early Hints"), (451, "Unavailable For Legal Reasons"), (299, "Success"),
        (499, "Client Error"), (599, "Server Error"), (600, "Unknown"),
    ])
    func `uses the registered phrase`(status: Int, reason: String) {
        #expect("\(StatusReason.text(for: status))" == reason)
    }
}
