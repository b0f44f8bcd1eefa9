// Kinds of values with units: durations, sizes, rates, and `off` in their place.

import WeirTime

/// A value, or the word `off`.
enum OrOff<Value> {
    case off
    case value(Value)

    var value: Value? {
        if case .value(let value) = self { value } else { nil }
    }
}

extension OrOff: Sendable where Value: Sendable {}

extension Kind where Value == Interval {
    static func duration(_ range: ClosedRange<Interval>) -> Kind {
        let bounds = "\(Quantity.text(range.lowerBound)) to \(Quantity.text(range.upperBound))"
        let unit = Unit(
            what: "a duration such as 250ms", plural: "durations",
            names: Quantity.durationUnitNames,
            bounds: bounds)
        return Kind(type: "duration (\(Quantity.durationUnitNames))", bounds: bounds) {
            node, report in
            unit.read(node, report, range) { text throws(QuantityError) in
                try Quantity.duration(text)
            }
        }
    }
}

extension Kind where Value == Int64 {
    static func size(_ range: ClosedRange<Int64>) -> Kind {
        let low = Quantity.text(bytes: range.lowerBound)
        let bounds = "\(low) to \(Quantity.text(bytes: range.upperBound))"
        let unit = Unit(
            what: "a size such as 64KiB", plural: "sizes", names: Quantity.sizeUnitNames,
            bounds: bounds)
        return Kind(type: "size (\(Quantity.sizeUnitNames))", bounds: bounds) { node, report in
            unit.read(node, report, range) { text throws(QuantityError) in
                try Quantity.size(text)
            }
        }
    }

    /// Bytes a second.
    static func rate(_ range: ClosedRange<Int64>) -> Kind {
        let low = Quantity.text(bytesPerSecond: range.lowerBound)
        let bounds = "\(low) to \(Quantity.text(bytesPerSecond: range.upperBound))"
        let unit = Unit(
            what: "a rate such as 1KiB/s", plural: "rates", names: Quantity.rateUnitNames,
            bounds: bounds)
        return Kind(type: "rate (\(Quantity.rateUnitNames))", bounds: bounds) { node, report in
            unit.read(node, report, range) { text throws(QuantityError) in
                try Quantity.rate(text)
            }
        }
    }
}

extension Kind where Value == RequestRate {
    static let requestRate: Kind = {
        let low = RequestRate(count: 1, period: .seconds(1))
        let high = RequestRate(count: 1_000_000_000, period: .seconds(1))
        let bounds = "1 to \(high.count) in a second, minute or hour"
        let unit = Unit(
            what: "a rate such as 10/s", plural: "rates", names: Quantity.requestRateUnitNames,
            bounds: bounds, instead: "count over a longer time, such as 90/m for 1.5/s")
        return Kind(type: "rate (N/s N/m N/h)", bounds: bounds) { node, report in
            unit.read(node, report, low...high) { text throws(QuantityError) in
                try Quantity.requestRate(text)
            }
        }
    }()
}

extension Kind where Value == Int {
    /// A size that is held in memory.
    static func byteCount(_ range: ClosedRange<Int64>) -> Kind {
        let size = Kind<Int64>.size(range)
        return Kind(type: size.type, bounds: size.bounds) { node, report in
            size.read(node, report).map { Int(clamping: $0) }
        }
    }

    /// A rate in bytes a second.
    static func byteRate(_ range: ClosedRange<Int64>) -> Kind {
        let rate = Kind<Int64>.rate(range)
        return Kind(type: rate.type, bounds: rate.bounds) { node, report in
            rate.read(node, report).map { Int(clamping: $0) }
        }
    }
}

extension Kind {
    /// `kind`, or the plain word `off`.
    static func orOff<Inner>(_ kind: Kind<Inner>) -> Kind where Value == OrOff<Inner> {
        Kind(type: "\(kind.type) or off", bounds: kind.bounds) { node, report in
            if node.text == "off" { return .off }
            return kind.read(node, report).map { .value($0) }
        }
    }
}

/// The messages that all quantities share.
private struct Unit: Sendable {
    var what: String
    var plural: String
    var names: String
    var bounds: String
    /// What to do instead of writing a fraction.
    var instead = "use a smaller unit, such as 1500ms for 1.5s"

    func read<Value: Comparable>(
        _ node: YAMLNode, _ report: Report, _ range: ClosedRange<Value>,
        _ parse: (String) throws(QuantityError) -> Value
    ) -> Value? {
        guard let text = node.text else {
            report.error(.wrongType, at: node.range, "expected \(what), found \(node.found)")
            return nil
        }
        let value: Value
        do throws(QuantityError) {
            value = try parse(text)
        } catch {
            refuse(error, text, node, report)
            return nil
        }
        guard range.contains(value) else {
            report.error(
                .outOfRange, at: node.range, "\(Text.quoted(text)) is outside \(bounds)")
            return nil
        }
        return value
    }

    /// What other systems write, and what it is here.
    private static let otherNames = [
        "k": "KiB", "kb": "KiB", "m": "MiB", "mb": "MiB", "g": "GiB", "gb": "GiB", "sec": "s",
        "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m",
        "minutes": "m", "hr": "h", "hour": "h", "hours": "h", "msec": "ms", "µs": "us",
        "r": "", "rps": "/s", "qps": "/s", "/sec": "/s", "/second": "/s", "r/m": "/m",
        "/min": "/m", "/minute": "/m", "/hour": "/h",
    ]

    private func suggestion(for unit: String) -> String? {
        let legal = names.split(separator: " ").map(String.init)
        let lower = unit.lowercased()
        if let same = legal.first(where: { $0.lowercased() == lower }) { return same }
        let base = lower.hasSuffix("/s") ? String(lower.dropLast(2)) : lower
        guard let other = Self.otherNames[base] ?? legal.first(where: { $0.lowercased() == base })
        else { return legal.contains("\(unit)/s") ? "\(unit)/s" : nil }
        return [other, "\(other)/s"].first { legal.contains($0) }
    }

    private func refuse(
        _ error: QuantityError, _ text: String, _ node: YAMLNode, _ report: Report
    ) {
        switch error {
        case .notANumber:
            report.error(.wrongType, at: node.range, "expected \(what), found \(node.found)")
        case .fraction:
            report.error(
                .badNumber, at: node.range, "\(plural) are whole numbers, found \(node.found)",
                help: "\(instead); units: \(names)")
        case .missingUnit:
            report.error(
                .missingUnit, at: node.range, "\(Text.quoted(text)) has no unit",
                help: "expected \(what); units: \(names)")
        case .badUnit(let unit, let offset):
            let meant = suggestion(for: unit)
            let form = unit.hasPrefix(" ") ? "\(what), without a space" : what
            report.error(
                .badUnit, at: node.range(from: offset),
                "unknown unit \(Text.quoted(unit)) in \(Text.quoted(text))",
                label: meant.map { "did you mean '\($0)'?" },
                help: "expected \(form); units: \(names)")
        case .tooLarge:
            report.error(
                .outOfRange, at: node.range, "\(Text.quoted(text)) is outside \(bounds)")
        }
    }
}
