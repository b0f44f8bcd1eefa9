// Durations, sizes and rates: whole numbers with a unit that must be written.

package import WeirTime

/// Why a text is no quantity.
package enum QuantityError: Error, Equatable {
    /// It does not begin with a digit.
    case notANumber
    case fraction
    case missingUnit
    /// The unit and how many characters precede it.
    case badUnit(String, offset: Int)
    /// It does not fit.
    case tooLarge
}

/// A number of requests in a time.
package struct RequestRate: Comparable, Sendable {
    package var count: Int64
    /// A second, a minute or an hour.
    package var period: Interval

    /// Requests in one second, rounded up.
    package var perSecond: Int64 {
        let seconds = max(period.nanoseconds / 1_000_000_000, 1)
        return count / seconds + (count % seconds > 0 ? 1 : 0)
    }

    /// By count alone: bounds are on the number that is written.
    package static func < (a: RequestRate, b: RequestRate) -> Bool { a.count < b.count }
}

/// Numbers with units, read and written.
package enum Quantity {
    private static let durationUnits: [(String, Int64)] = [
        ("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000),
        ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ]
    private static let sizeUnits: [(String, Int64)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30),
    ]

    package static let durationUnitNames = "ns us ms s m h"
    package static let sizeUnitNames = "B KiB MiB GiB"
    private static let requestRateUnits: [(String, Int64)] = [("/s", 1), ("/m", 60), ("/h", 3600)]
    package static let requestRateUnitNames = "/s /m /h"
    package static let rateUnitNames = "B/s KiB/s MiB/s GiB/s"

    /// `250ms`, `2s`, `5m`.
    package static func duration(_ text: String) throws(QuantityError) -> Interval {
        Interval(nanoseconds: try parse(text, durationUnits))
    }

    /// `512B`, `64KiB`.
    package static func size(_ text: String) throws(QuantityError) -> Int64 {
        try parse(text, sizeUnits)
    }

    /// Bytes a second: `1KiB/s`.
    package static func rate(_ text: String) throws(QuantityError) -> Int64 {
        try parse(text, sizeUnits.map { ("\($0.0)/s", $0.1) })
    }

    /// Requests in a time: `200/s`, `10/m`, `1/h`.
    package static func requestRate(_ text: String) throws(QuantityError) -> RequestRate {
        let count = try parse(text, requestRateUnits.map { ($0.0, 1) })
        let seconds = requestRateUnits.first { text.hasSuffix($0.0) }?.1 ?? 1
        return RequestRate(count: count, period: .seconds(seconds))
    }

    /// A rate as it is written in the configuration.
    package static func text(count: Int64, per period: Interval) -> String {
        let unit = requestRateUnits.first { Interval.seconds($0.1) == period }?.0
        return "\(count)\(unit ?? "/\(text(period))")"
    }

    /// The shortest exact form of a duration.
    package static func text(_ duration: Interval) -> String {
        text(duration.nanoseconds, durationUnits, zero: "0s")
    }

    /// The shortest exact form of a size in bytes.
    package static func text(bytes: Int64) -> String { text(bytes, sizeUnits, zero: "0B") }

    /// The shortest exact form of a rate in bytes a second.
    package static func text(bytesPerSecond rate: Int64) -> String { text(bytes: rate) + "/s" }

    private static func parse(
        _ text: String, _ units: [(String, Int64)]
    ) throws(QuantityError) -> Int64 {
        let digits = text.utf8.prefix { $0 >= 0x30 && $0 <= 0x39 }
        guard !digits.isEmpty else { throw .notANumber }
        let unit = String(text.utf8.dropFirst(digits.count)) ?? ""
        if unit.isEmpty { throw .missingUnit }
        if unit.hasPrefix(".") || unit.hasPrefix(",") || unit.hasPrefix("_") { throw .fraction }
        guard let scale = units.first(where: { $0.0 == unit })?.1 else {
            throw .badUnit(unit, offset: digits.count)
        }
        guard let number = Int64(String(digits) ?? "") else { throw .tooLarge }
        let (product, overflow) = number.multipliedReportingOverflow(by: scale)
        if overflow { throw .tooLarge }
        return product
    }

    private static func text(_ value: Int64, _ units: [(String, Int64)], zero: String) -> String {
        if value == 0 { return zero }
        for (unit, scale) in units.reversed() where value % scale == 0 {
            return "\(value / scale)\(unit)"
        }
        return "\(value)"
    }
}
