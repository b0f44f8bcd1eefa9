// Arithmetic on time, at its edges above all.

import Testing
import WeirTime

@Suite struct `Time` {
    @Test func `saturates instead of trapping`() {
        #expect(Interval.seconds(.max) == .max)
        #expect(Interval.seconds(.min).nanoseconds == .min)
        #expect(Interval.max + .seconds(1) == .max)
        #expect(Interval(nanoseconds: .min) - .seconds(1) == Interval(nanoseconds: .min))
        #expect(Interval.max - .seconds(-1) == .max)
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
        #expect(Instant.distantPast + .seconds(-1) == .distantPast)
        #expect(Instant.distantFuture - .distantPast == .max)
        #expect(Instant.distantPast - .distantFuture == Interval(nanoseconds: .min))
    }

    @Test func `adds and subtracts`() {
        let start = Instant(nanoseconds: 100)
        #expect(start + .microseconds(2) == Instant(nanoseconds: 2100))
        #expect(start + .milliseconds(3) - start == .milliseconds(3))
        #expect(Interval.seconds(2) - .milliseconds(500) == .milliseconds(1500))
        #expect(Interval.milliseconds(1500).seconds == 1.5)
    }

    @Test(
        arguments: [
            (0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (-1, 0), (-1_500_000, -1),
        ] as [(Int64, Int64)])
    func `rounds up to whole milliseconds`(nanoseconds: Int64, milliseconds: Int64) {
        #expect(Interval(nanoseconds: nanoseconds).millisecondsRoundedUp == milliseconds)
    }
}
