// Numbers with units: what is read, what is refused, and that writing is exact.

import Testing
import WeirConfig
import WeirTime

@Suite struct QuantityTests {
    @Test(arguments: [
        ("0s", 0), ("1ns", 1), ("2us", 2000), ("250ms", 250_000_000), ("2s", 2_000_000_000),
        ("5m", 300_000_000_000), ("1h", 3_600_000_000_000),
        ("9223372036854775807ns", Int64.max),
    ])
    func `reads a duration`(text: String, nanoseconds: Int64) throws {
        #expect(try Quantity.duration(text).nanoseconds == nanoseconds)
    }

    @Test(arguments: [
        ("", QuantityError.notANumber), ("s", .notANumber), ("-5s", .notANumber),
        (" 5s", .notANumber), ("٥s", .notANumber), ("5", .missingUnit), ("1.5s", .fraction),
        ("1_000ms", .fraction), ("5x", .badUnit("x", offset: 1)),
        ("10 s", .badUnit(" s", offset: 2)), ("10S", .badUnit("S", offset: 2)),
        ("1m30s", .badUnit("m30s", offset: 1)), ("9223372036854775808ns", .tooLarge),
        ("9223372036854775807us", .tooLarge),
    ])
    func `refuses what is no duration`(text: String, error: QuantityError) {
        #expect(throws: error) { try Quantity.duration(text) }
    }

    @Test func `reads sizes and rates`() throws {
        #expect(try Quantity.size("512B") == 512)
        #expect(try Quantity.size("64KiB") == 65536)
        #expect(try Quantity.size("3GiB") == 3 << 30)
        #expect(try Quantity.rate("1KiB/s") == 1024)
        #expect(throws: QuantityError.badUnit("KB", offset: 1)) { try Quantity.size("1KB") }
        #expect(throws: QuantityError.badUnit("KiB", offset: 1)) { try Quantity.rate("1KiB") }
        #expect(throws: QuantityError.tooLarge) { try Quantity.size("9999999999GiB") }
    }

    @Test func `reads requests in a second, a minute and an hour`() throws {
        for (text, seconds, perSecond) in [
            ("90/s", 1, 90), ("90/m", 60, 2), ("120/m", 60, 2), ("1/h", 3600, 1),
        ] as [(String, Int64, Int64)] {
            let rate = try Quantity.requestRate(text)
            #expect(rate.period == .seconds(seconds))
            #expect(rate.perSecond == perSecond)
            #expect(Quantity.text(count: rate.count, per: rate.period) == text)
        }
        #expect(throws: QuantityError.missingUnit) { try Quantity.requestRate("90") }
        #expect(throws: QuantityError.badUnit("/d", offset: 2)) { try Quantity.requestRate("90/d") }
        #expect(throws: QuantityError.fraction) { try Quantity.requestRate("1.5/s") }
        #expect(throws: QuantityError.tooLarge) {
            try Quantity.requestRate("99999999999999999999/s")
        }
    }

    @Test func `writes the largest unit that is exact`() {
        #expect(Quantity.text(Interval.seconds(90)) == "90s")
        #expect(Quantity.text(Interval.seconds(120)) == "2m")
        #expect(Quantity.text(Interval(nanoseconds: 1_000_001)) == "1000001ns")
        #expect(Quantity.text(.zero) == "0s")
        #expect(Quantity.text(bytes: 1536) == "1536B")
        #expect(Quantity.text(bytesPerSecond: 2048) == "2KiB/s")
    }

    @Test func `every written quantity reads back`() throws {
        var n: Int64 = 1
        while n < Int64.max / 7 {
            #expect(try Quantity.duration(Quantity.text(Interval(nanoseconds: n))).nanoseconds == n)
            #expect(try Quantity.size(Quantity.text(bytes: n)) == n)
            #expect(try Quantity.rate(Quantity.text(bytesPerSecond: n)) == n)
            n = n * 7 + n % 3 * 1000
        }
    }
}
