// What a call of gRPC says of itself.

import Testing
import WeirTime

@testable import WeirProxy

@Suite struct `Calls of gRPC` {
    private func timeout(_ text: String) -> Interval? {
        Array(text.utf8).withUnsafeBytes { GRPC.timeout($0) }
    }

    @Test(arguments: [
        ("1H", Interval.seconds(3600)), ("2M", .seconds(120)), ("03S", .seconds(3)),
        ("4m", .milliseconds(4)), ("5u", .microseconds(5)), ("6n", Interval(nanoseconds: 6)),
        ("0n", .zero), ("99999999n", Interval(nanoseconds: 99_999_999)),
    ])
    func `a timeout has a unit`(text: String, expected: Interval) {
        #expect(timeout(text) == expected)
    }

    @Test func `the longest has no end`() {
        #expect(timeout("99999999H") == .max)
    }

    @Test(arguments: [
        "", "1", "S", "1s", "1 S", " 1S", "-1S", "+1S", "1.5S", "1SS", "123456789S", "0x1S",
        "1\u{e9}",
    ])
    func `anything else is none`(text: String) {
        #expect(timeout(text) == nil)
    }
}
