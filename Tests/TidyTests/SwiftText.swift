// Tells code from words: what a Swift file says once comments and literals are blanked.

/// A reader of just as much of Swift's grammar as the checks need.
enum SwiftText {
    /// `text` with spaces for comments and the insides of string literals. What is interpolated
    /// stays code.
    static func withoutWords(_ text: String) -> String {
        var reader = WordBlanker(Array(text.unicodeScalars))
        reader.readCode(until: nil)
        return String(String.UnicodeScalarView(reader.out))
    }
}

private struct WordBlanker {
    let source: [Unicode.Scalar]
    var out: [Unicode.Scalar] = []
    private var at = 0

    init(_ source: [Unicode.Scalar]) { self.source = source }

    private func sees(_ text: String) -> Bool {
        source[at...].starts(with: text.unicodeScalars)
    }

    private mutating func keep(_ count: Int = 1) {
        out += source[at..<min(at + count, source.count)]
        at += count
    }

    private mutating func blank(_ count: Int = 1) {
        for scalar in source[at..<min(at + count, source.count)] {
            out.append(scalar == "\n" ? "\n" : " ")
        }
        at += count
    }

    /// Reads code to its end, or to the parenthesis that closes an interpolation.
    mutating func readCode(until end: Unicode.Scalar?) {
        var depth = 0
        while at < source.count {
            if sees("//") {
                while at < source.count, source[at] != "\n" { blank() }
            } else if sees("/*") {
                blankBlockComment()
            } else if source[at] == "\"" || source[at] == "#" {
                readLiteral()
            } else {
                if source[at] == "(" { depth += 1 }
                if source[at] == ")" {
                    if depth == 0, end != nil { return }
                    depth -= 1
                }
                keep()
            }
        }
    }

    private mutating func blankBlockComment() {
        var depth = 0
        repeat {
            if sees("/*") {
                depth += 1
                blank(2)
            } else if sees("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && at < source.count
    }

    /// A string with any number of `#` around it; a `#` before something else is code.
    private mutating func readLiteral() {
        var hashes = ""
        var start = at
        while start < source.count, source[start] == "#" {
            hashes += "#"
            start += 1
        }
        guard start < source.count, source[start] == "\"" else { return keep(start - at) }
        keep(start - at)
        let quotes = sees("\"\"\"") ? "\"\"\"" : "\""
        keep(quotes.count)
        while at < source.count {
            if sees(quotes + hashes) { return keep(quotes.count + hashes.count) }
            if sees("\\" + hashes + "(") {
                keep(hashes.count + 2)
                readCode(until: ")")
                keep()
            } else if sees("\\" + hashes) {
                blank(hashes.count + 2)
            } else {
                blank()
            }
        }
    }
}
