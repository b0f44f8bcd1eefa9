// JSON for status pages and the process log.

import Foundation
import Testing
import WeirTelemetry

struct JSONWriterTests {
    @Test func `commas, nesting and escapes are right`() {
        var json = JSONWriter()
        json.object { json in
            json.member("a \"b\"\n", "\\ \u{1} é")
            json.key("list")
            json.array { json in
                json.number(Int64(-1))
                json.object { _ in }
                json.array { _ in }
                json.null()
                json.number(0.5)
                json.number(Double.nan)
            }
            json.member("yes", true)
            json.member("most", UInt64.max)
            json.member("", "")
        }
        #expect(
            String(decoding: json.bytes, as: UTF8.self) == #"""
                {"a \"b\"\n":"\\ \u0001 é","list":[-1,{},[],null,0.5,null],"yes":true,\#
                "most":18446744073709551615,"":""}
                """#)
    }
}

struct ProcessLogTests {
    private let time: Int64 = 1_709_210_096_000_042_999

    @Test func `a collector gets one object a line`() {
        let line = ProcessLog.jsonLine(
            .warn, "two\nlines", ["file": "a\"b"], unixNanoseconds: time)
        #expect(
            String(decoding: line, as: UTF8.self) == #"""
                {"time":"2024-02-29T12:34:56.000042Z","level":"warn","message":"two\nlines",\#
                "file":"a\"b"}

                """#)
    }

    @Test func `a person gets the time of day and no control characters`() {
        let line = ProcessLog.humanLine(
            .info, "reload \u{1B}[31m", ["generation": "7"], unixNanoseconds: time)
        #expect(
            String(decoding: line, as: UTF8.self)
                == "12:34:56 info  reload ?[31m generation=7\n")
    }
}
