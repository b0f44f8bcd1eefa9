// Field lines: names, values, line ends, limits.

import Testing
import WeirHTTP

@Suite struct FieldLineTests {
    @Test func `keeps names and values as they were sent, without blanks around values`() throws {
        let read = try #require(
            readRequest(request("X-One:1", "x-TWO: \t two words \t ", "X-Empty:", "X-Blank:  "))
                .head)
        #expect(
            read.fields.map { "\($0.name)|\($0.value)" } == [
                "Host|a", "X-One|1", "x-TWO|two words", "X-Empty|", "X-Blank|",
            ])
        #expect(read.fields.allSatisfy { !$0.isHopByHop })
    }

    @Test(arguments: [
        ("X y: 1", Malformed.whitespace), ("X : 1", .whitespace), ("X\t: 1", .whitespace),
        (": 1", .fieldName), ("X", .fieldName), ("X\u{0}: 1", .fieldName),
        ("X\u{e9}: 1", .fieldName), ("X@: 1", .fieldName), ("\"X\": 1", .fieldName),
        ("X[]: 1", .fieldName), ("X,Y: 1", .fieldName), (" X: 1", .foldedLine),
        ("\tX: 1", .foldedLine), ("X: 1\r\n 2", .foldedLine), ("X: 1\r\n\t2", .foldedLine),
        ("X: 1\r\n \r\nY: 2", .foldedLine), ("X: a\nY: b", .lineEnding),
        ("X: a\rY: b", .lineEnding), ("X: a\r\r\nY: b", .lineEnding), ("X: a\0b", .fieldValue),
        ("X: a\u{1}b", .fieldValue), ("X: a\u{b}b", .fieldValue), ("X: a\u{c}", .fieldValue),
        ("X: a\u{7f}b", .fieldValue), ("X: \u{1b}[0m", .fieldValue), ("\nX: 1", .lineEnding),
        ("X\n: 1", .lineEnding), ("X:\n1", .lineEnding),
        ("Content-Length\u{b}: 5", .fieldName), ("Transfer-Encoding\u{0}: chunked", .fieldName),
        ("Transfer-Encoding : chunked", .whitespace),
        ("Transfer-Encoding: \u{b}chunked", .fieldValue),
        ("Transfer-Encoding:\n chunked", .lineEnding), ("X: \u{e9}\u{85}\u{0}", .fieldValue),
    ])
    func `refuses a broken field line`(line: String, fault: Malformed) {
        #expect(readRequest(request(line)).fault == fault)
        #expect(readResponse(response(line)).fault == fault)
    }

    @Test func `a fold right after the first line is refused`() {
        #expect(
            readRequest("GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n").fault == .foldedLine)
        #expect(readResponse("HTTP/1.1 200 OK\r\n X: a\r\n\r\n").fault == .foldedLine)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: a\r\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX", "GET / HTTP/1.1\nHost: a\n\n",
    ])
    func `a head ends with CRLF CRLF and nothing else`(text: String) {
        #expect(readRequest(text).fault == .lineEnding)
    }

    @Test func `a value may hold every byte but controls, a name only token bytes`() {
        let token = Set("!#$%&'*+-.^_`|~".utf8).union(UInt8(ascii: "0")...UInt8(ascii: "9"))
            .union(UInt8(ascii: "a")...UInt8(ascii: "z"))
            .union(UInt8(ascii: "A")...UInt8(ascii: "Z"))
        let head = [UInt8]("GET / HTTP/1.1\r\nHost: a\r\n".utf8)
        for byte in UInt8.min...UInt8.max {
            for padding in [0, 3, 15, 16, 17, 33] {
                let filler = [UInt8](repeating: UInt8(ascii: "x"), count: padding)
                let inName = head + [0x58] + filler + [byte] + [UInt8]("x: 1\r\n\r\n".utf8)
                let mayName = token.contains(byte) || byte == UInt8(ascii: ":")
                #expect((readRequest(inName).head != nil) == mayName, "name \(byte), \(padding)")
                let inValue =
                    head + [UInt8]("X: y".utf8) + filler + [byte] + filler
                    + [UInt8]("z\r\n\r\n".utf8)
                let mayValue = byte == 9 || byte >= 0x20 && byte != 0x7f
                #expect((readRequest(inValue).head != nil) == mayValue, "value \(byte), \(padding)")
            }
        }
    }

    @Test func `as many fields as the limit, and no more`() {
        let limits = HeadLimits(maxBytes: 16_384, maxFields: 5, maxTargetBytes: 100)
        let four = String(repeating: "X: 1\r\n", count: 4)
        #expect(
            readRequest("GET / HTTP/1.1\r\nHost: a\r\n\(four)\r\n", limits: limits).head?.fields
                .count == 5)
        #expect(
            readRequest("GET / HTTP/1.1\r\nHost: a\r\n\(four)X: 1\r\n\r\n", limits: limits).fault
                == .tooManyFields)
        #expect(
            readResponse("HTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\n\(four)\r\n", limits: limits).fault
                == .tooManyFields)
        #expect(Malformed.tooManyFields.statusCode == 431)
    }

    @Test func `as many bytes as the limit, and no more`() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX: 1234\r\n\r\n"
        let length = text.utf8.count
        let exact = HeadLimits(maxBytes: length, maxFields: 5, maxTargetBytes: 100)
        let short = HeadLimits(maxBytes: length - 1, maxFields: 5, maxTargetBytes: 100)
        #expect(readRequest(text + "body", limits: exact).head?.length == length)
        #expect(readRequest(text, limits: short).fault == .headTooLarge)
        #expect(
            readRequest(text, limits: short, cuts: Array(1..<length)).fault == .headTooLarge)
        let answer = "HTTP/1.1 200 OK\r\nX: 1234\r\n\r\n"
        let tight = HeadLimits(
            maxBytes: answer.utf8.count - 1, maxFields: 5, maxTargetBytes: 100)
        #expect(readResponse(answer, limits: tight).fault == .headTooLarge)
        #expect(Malformed.headTooLarge.statusCode == 431)
    }

    @Test func `a head that cannot end within the limit is refused without its end`() {
        let limits = HeadLimits(maxBytes: 1024, maxFields: 5, maxTargetBytes: 100)
        let open = "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "x", count: 2000)
        #expect(readRequest(open, limits: limits).fault == .headTooLarge)
        #expect(
            readRequest(open, limits: limits, cuts: Array(1..<2000)).fault == .headTooLarge)
    }

    @Test func `a name of more than 65,535 bytes cannot wrap around`() {
        let limits = HeadLimits(maxBytes: 1 << 20, maxFields: 5, maxTargetBytes: 100)
        for length in [1024, 1025, 65_535, 65_536, 65_540, 200_000] {
            let name = String(repeating: "n", count: length)
            let verdict = readRequest(
                "GET / HTTP/1.1\r\nHost: a\r\n\(name): 1\r\n\r\n", limits: limits)
            #expect(verdict.fault == (length > 1024 ? .fieldName : nil))
        }
    }

    @Test func `a value may be as long as the head`() throws {
        let limits = HeadLimits(maxBytes: 1 << 20, maxFields: 5, maxTargetBytes: 100)
        let value = String(repeating: "v", count: 1_000_000)
        let read = try #require(
            readRequest("GET / HTTP/1.1\r\nHost: a\r\nX: \(value)\r\n\r\n", limits: limits).head)
        #expect(read.fields[1].value == value)
    }
}
