// Diagnostics as JSON, one array, for continuous integration.

extension [Diagnostic] {
    /// A JSON array of the findings, ending in a newline.
    package func json() -> String {
        guard !isEmpty else { return "[]\n" }
        return "[\n" + map { "  " + $0.json }.joined(separator: ",\n") + "\n]\n"
    }
}

extension Diagnostic {
    fileprivate var json: String {
        var fields = [
            ("severity", JSON.text(severity.rawValue)),
            ("code", JSON.text(code.rawValue)),
            ("file", JSON.text(file)),
        ]
        fields += range.fields
        fields.append(("message", JSON.text(message)))
        if let label { fields.append(("label", JSON.text(label))) }
        if let help { fields.append(("help", JSON.text(help))) }
        if let related {
            let inner = related.range.fields + [("label", JSON.text(related.label))]
            fields.append(("related", JSON.object(inner)))
        }
        return JSON.object(fields)
    }
}

extension SourceRange {
    fileprivate var fields: [(String, String)] {
        [("line", "\(line)"), ("column", "\(column)"), ("length", "\(length)")]
    }
}

private enum JSON {
    static func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\(text($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
    }

    static func text(_ value: String) -> String {
        var out = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}
