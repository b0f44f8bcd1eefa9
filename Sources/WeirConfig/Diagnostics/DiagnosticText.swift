// Diagnostics as a compiler would print them: place, line, caret, what would be legal.

extension Diagnostic {
    /// The finding as text, ending in a newline.
    package func render(source: SourceText, color: Bool) -> String {
        let paint = Paint(isOn: color)
        let tint = severity == .error ? Paint.red : Paint.yellow
        var out = paint("\(Text.printable(file)):\(line):\(column): ", Paint.bold)
        out += paint("\(severity.rawValue): ", tint) + paint(message, Paint.bold)
        out += " [\(code.rawValue)]\n"

        var excerpts = [Excerpt(range: range, mark: "^", fill: "~", label: label, tint: tint)]
        if let related {
            excerpts.append(
                Excerpt(
                    range: related.range, mark: "-", fill: "-", label: related.label,
                    tint: Paint.blue))
        }
        // In the order of the file, so that the eye moves down.
        excerpts.sort { $0.range.isBefore($1.range) }
        for excerpt in excerpts { out += excerpt.render(source, paint) }
        if let help { out += "      " + paint("=", Paint.blue) + " \(help)\n" }
        return out
    }

    /// One source line with its underline.
    private struct Excerpt {
        var range: SourceRange
        var mark: String
        var fill: String
        var label: String?
        var tint: String

        func render(_ source: SourceText, _ paint: Paint) -> String {
            let shown = Text.printable(source.line(range.line))
            let width = shown.unicodeScalars.count
            // A position past the line's end (a missing key, the end of the file) still gets one.
            let indent = min(max(range.column - 1, 0), width)
            let length = max(1, min(range.length, width - indent))
            let gutter = String(range.line)
            let padding = String(repeating: " ", count: max(0, 5 - gutter.count))
            var out =
                paint("\(padding)\(gutter) |", Paint.blue) + (shown.isEmpty ? "" : " \(shown)")
            out += "\n" + paint("      |", Paint.blue) + " " + String(repeating: " ", count: indent)
            let underline = mark + String(repeating: fill, count: length - 1)
            out += paint(label.map { "\(underline) \($0)" } ?? underline, tint)
            return out + "\n"
        }
    }

    private struct Paint {
        static let bold = "1"
        static let red = "1;31"
        static let yellow = "1;33"
        static let blue = "34"

        let isOn: Bool

        func callAsFunction(_ text: String, _ style: String) -> String {
            isOn ? "\u{1B}[\(style)m\(text)\u{1B}[0m" : text
        }
    }
}

extension [Diagnostic] {
    /// All findings as text, with a line between them and one that counts them.
    package func rendered(source: SourceText, color: Bool) -> String {
        guard !isEmpty else { return "" }
        return map { $0.render(source: source, color: color) }.joined(separator: "\n")
            + "\n\(summary)\n"
    }

    /// "2 errors, 1 warning".
    package var summary: String {
        let errors = count { $0.severity == .error }
        let warnings = count - errors
        var parts: [String] = []
        if errors > 0 { parts.append(Text.count(errors, "error")) }
        if warnings > 0 { parts.append(Text.count(warnings, "warning")) }
        return parts.isEmpty ? "no errors" : parts.joined(separator: ", ")
    }
}

/// Words for messages.
enum Text {
    /// Replaces what would move the cursor or change the terminal's state.
    static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isUnprintable) else { return text }
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            out.append(scalar == "\t" ? " " : isUnprintable(scalar) ? "\u{FFFD}" : scalar)
        }
        return String(out)
    }

    private static func isUnprintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029: true
        // Bidirectional overrides make the shown text differ from what is read.
        case 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    /// `text` in single quotes, printable, at most 60 characters of it.
    static func quoted(_ text: String) -> String {
        let limit = 60
        let head = String(text.unicodeScalars.prefix(limit))
        let cut = text.unicodeScalars.dropFirst(limit).isEmpty ? "" : "..."
        return "'\(printable(head))\(cut)'"
    }

    /// "1 error", "2 errors".
    static func count(_ n: Int, _ noun: String) -> String { n == 1 ? "1 \(noun)" : "\(n) \(noun)s" }

    /// "a, b or c".
    static func either(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.first ?? "" }
        return words.dropLast().joined(separator: ", ") + " or " + last
    }
}
