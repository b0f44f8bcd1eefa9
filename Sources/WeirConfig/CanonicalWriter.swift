// Writes YAML: lines at a depth, quoted texts, lists and mappings on one line.

/// Lines at a depth.
struct CanonicalWriter {
    var text = ""
    private var depth = 0
    /// The next line begins a list item.
    private var isItem = false

    mutating func line(_ content: String) {
        let spaces = depth * 2
        if isItem {
            text += String(repeating: " ", count: spaces - 2) + "- " + content + "\n"
            isItem = false
        } else {
            text += String(repeating: " ", count: spaces) + content + "\n"
        }
    }

    mutating func field(_ name: String, _ value: String) { line("\(name): \(value)") }

    mutating func indented(_ body: (inout CanonicalWriter) -> Void) {
        depth += 1
        body(&self)
        depth -= 1
    }

    mutating func list<Item>(
        _ name: String, _ items: [Item], _ body: (inout CanonicalWriter, Item) -> Void
    ) {
        line("\(name):")
        depth += 2
        for item in items {
            isItem = true
            body(&self, item)
        }
        depth -= 2
    }
}

/// A double-quoted scalar: the one form in which every text can be written.
func quote(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case _
        where scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value)
            || scalar.value == 0x2028 || scalar.value == 0x2029 || scalar.value == 0xFEFF
            || scalar.value & 0xFFFE == 0xFFFE:
            let hex = String(scalar.value, radix: 16)
            out += "\\U" + String(repeating: "0", count: max(0, 8 - hex.count)) + hex
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}

/// A list on one line.
func flow(_ items: [String]) -> String { "[" + items.joined(separator: ", ") + "]" }

/// A mapping on one line; what has no value is left out.
func flow(_ fields: [(String, String?)]) -> String {
    let written = fields.compactMap { name, value in value.map { "\(name): \($0)" } }
    return written.isEmpty ? "{}" : "{ " + written.joined(separator: ", ") + " }"
}

/// Numbers without an exponent, which the schema does not read.
enum Decimal {
    static func text(_ value: Double) -> String {
        let short = "\(value)"
        guard short.contains("e") else { return short }
        // Only tiny shares are printed with an exponent: a leading zero per power of ten.
        let parts = short.split(separator: "e")
        guard parts.count == 2, let power = Int(parts[1]), power < 0 else { return "0.0" }
        let digits = parts[0].filter { $0 != "." }
        return "0." + String(repeating: "0", count: -power - 1) + digits
    }
}
