// Numbers as the report spells them; there is no Foundation to do it.

import WeirTime

enum Text {
    /// With so many digits after the point, rounded.
    static func decimal(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "-" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int64((abs(value) * scale).rounded())
        let sign = value < 0 && scaled > 0 ? "-" : ""
        if digits == 0 { return sign + String(scaled) }
        let whole = scaled / Int64(scale)
        let rest = String(scaled % Int64(scale))
        return sign + "\(whole)." + String(repeating: "0", count: digits - rest.count) + rest
    }

    static func number(_ value: Double) -> String { decimal(value, value < 10 ? 2 : 0) }
    static func ratio(_ value: Double) -> String { decimal(value, 3) }
    /// Rounded down: 99.9 is never said of less.
    static func percent(_ share: Double) -> String {
        decimal((share * 10_000).rounded(.down) / 100, 2)
    }

    static func seconds(_ interval: Interval) -> String {
        let text = decimal(interval.seconds, 3)
        var end = text.endIndex
        while end > text.startIndex {
            let last = text.index(before: end)
            if text[last] == "0" { end = last; continue }
            if text[last] == "." { end = last }
            break
        }
        return text[..<end] + " s"
    }

    static func milliseconds(_ interval: Interval?) -> String {
        guard let interval else { return "-" }
        let milliseconds = Double(interval.nanoseconds) / 1e6
        return decimal(milliseconds, milliseconds < 10 ? 1 : 0) + " ms"
    }

    static func hex(_ word: UInt64) -> String {
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(width - text.count, 0))
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(width - text.count, 1)) + text
    }
}
