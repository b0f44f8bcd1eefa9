// The Prometheus text format, version 0.0.4, line by line.

/// Writes metric families as text.
package struct Exposition {
    /// What a metric is; the word that the format uses.
    package enum Kind: String { case counter, gauge, histogram }

    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Starts a family. Its samples must follow before the next family.
    package mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        bytes += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n".utf8
    }

    /// Writes one sample of a whole number.
    package mutating func sample(
        _ name: String, _ labels: KeyValuePairs<String, String>, _ value: UInt64
    ) {
        series(name, labels)
        bytes += String(value).utf8
        bytes.append(0x0A)
    }

    /// Writes one sample of a number that is not whole.
    package mutating func sample(
        _ name: String, _ labels: KeyValuePairs<String, String> = [:], decimal value: Double
    ) {
        series(name, labels)
        bytes += "\(value)\n".utf8
    }

    /// Writes one sample in seconds, all nine decimals, which a `Double` would lose.
    package mutating func sample(
        _ name: String, _ labels: KeyValuePairs<String, String> = [:], nanoseconds: UInt64
    ) {
        series(name, labels)
        let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let digits = String(rest)
        bytes += "\(whole).".utf8
        bytes += repeatElement(UInt8(ascii: "0"), count: 9 - digits.utf8.count)
        bytes += digits.utf8
        bytes.append(0x0A)
    }

    private mutating func series(_ name: String, _ labels: KeyValuePairs<String, String>) {
        bytes += name.utf8
        var separator = UInt8(ascii: "{")
        for (key, value) in labels {
            bytes.append(separator)
            bytes += key.utf8
            bytes += "=\"".utf8
            escape(value)
            bytes.append(UInt8(ascii: "\""))
            separator = UInt8(ascii: ",")
        }
        if !labels.isEmpty { bytes.append(UInt8(ascii: "}")) }
        bytes.append(UInt8(ascii: " "))
    }

    private mutating func escape(_ value: String) {
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes += "\\\\".utf8
            case UInt8(ascii: "\""): bytes += "\\\"".utf8
            case 0x0A: bytes += "\\n".utf8
            default: bytes.append(byte)
            }
        }
    }
}
