// How an origin misbehaves, and the capacity that it pretends to have.

import WeirTime

/// The knobs of one port. A request's query overrides the first four for itself.
struct Settings: Sendable, Equatable {
    enum ServiceLaw: String, Sendable { case fixed, exp }

    var delay = Interval.zero
    var jitter = Interval.zero
    /// The status of every answer; `nil` leaves it to the path.
    var status: Int?
    /// The share of requests answered with 500.
    var failPercent = 0.0
    /// Requests in service at once; 0 is no limit.
    var concurrency = 0
    var serviceTime = Interval.zero
    var serviceLaw = ServiceLaw.fixed

    enum Outcome { case done, unknownKey, badValue }

    /// Sets one knob by its name in queries.
    mutating func set(_ key: some StringProtocol, to value: some StringProtocol) -> Outcome {
        switch key {
        case "delay": return Self.put(Self.interval(value), in: &delay)
        case "jitter": return Self.put(Self.interval(value), in: &jitter)
        case "service_time": return Self.put(Self.interval(value), in: &serviceTime)
        case "service_law": return Self.put(ServiceLaw(rawValue: String(value)), in: &serviceLaw)
        case "concurrency":
            return Self.put(Int(value).flatMap { $0 >= 0 ? $0 : nil }, in: &concurrency)
        case "fail_percent":
            let share = Double(value).flatMap { (0...100).contains($0) ? $0 : nil }
            return Self.put(share, in: &failPercent)
        case "status":
            if value == "0" {
                status = nil
                return .done
            }
            guard let number = Int(value), (200...599).contains(number) else { return .badValue }
            status = number
            return .done
        default:
            return .unknownKey
        }
    }

    private static func put<Value>(_ value: Value?, in target: inout Value) -> Outcome {
        guard let value else { return .badValue }
        target = value
        return .done
    }

    /// Reads `10ms`, `250us`, `2s`, or a bare number of milliseconds; a day at most.
    static func interval(_ text: some StringProtocol) -> Interval? {
        let digits = text.prefix { $0.isNumber || $0 == "." }
        guard let number = Double(digits), number >= 0 else { return nil }
        let unit: Double
        switch text.dropFirst(digits.count) {
        case "us": unit = 1e3
        case "ms", "": unit = 1e6
        case "s": unit = 1e9
        default: return nil
        }
        guard number * unit <= 86_400e9 else { return nil }
        return Interval(nanoseconds: Int64(number * unit))
    }
}

/// A request's query, cut into its pairs and not decoded: knobs are plain words and numbers.
struct Query {
    private(set) var pairs: [(key: Substring, value: Substring)] = []

    init(_ text: String) {
        guard !text.isEmpty else { return }
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let key = parts.first, !key.isEmpty else { continue }
            pairs.append((key, parts.count > 1 ? parts[1] : ""))
        }
    }

    subscript(key: String) -> Substring? { pairs.first { $0.key == key }?.value }

    func number(_ key: String) -> Int? { self[key].flatMap { Int($0) } }

    func isSet(_ key: String) -> Bool { self[key].map { $0 != "0" && $0 != "false" } ?? false }
}
