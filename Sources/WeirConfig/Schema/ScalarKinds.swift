// Kinds of plain values: words, numbers, quantities, lists.

import WeirTime

extension Kind where Value == String {
    /// Any text; `what` names it in messages ("a content type").
    static func text(
        _ what: String, maxBytes: Int = 65536, mayBeEmpty: Bool = false
    ) -> Kind {
        Kind(type: "text", bounds: maxBytes < 65536 ? "at most \(maxBytes) bytes" : nil) {
            node, report in
            guard let text = string(node, report, what) else { return nil }
            if text.isEmpty, !mayBeEmpty {
                report.error(.badText, at: node.range, "\(what) must not be empty")
                return nil
            }
            if text.utf8.count > maxBytes {
                report.error(
                    .outOfRange, at: node.range,
                    "\(what) has \(text.utf8.count) bytes; at most \(maxBytes) are allowed")
                return nil
            }
            return text
        }
    }

    /// The name of a listener, route or cluster: it appears in logs and metric labels.
    static let name = Kind(type: "name", bounds: "1 to 64 of A-Z a-z 0-9 . _ -") { node, report in
        guard let text = string(node, report, "a name") else { return nil }
        let isLegal = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
            default: false
            }
        }
        guard isLegal, (1...64).contains(text.utf8.count) else {
            report.error(
                .badName, at: node.range, "\(Text.quoted(text)) cannot be a name",
                help: "names have 1 to 64 of the characters A-Z a-z 0-9 . _ -")
            return nil
        }
        return text
    }

    /// The path of a file or unix socket; nothing is opened.
    static let filePath = Kind(type: "file path", bounds: nil) { node, report in
        guard let text = string(node, report, "a file path") else { return nil }
        guard !text.isEmpty, text.utf8.count < 4096,
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else {
            report.error(.badPath, at: node.range, "\(Text.quoted(text)) is no file path")
            return nil
        }
        return text
    }

    /// One of the names of another list; whether it exists is checked when all are known.
    static func reference(to what: String) -> Kind {
        Kind(type: "name of a \(what)", bounds: nil) { node, report in
            string(node, report, "the name of a \(what)")
        }
    }
}

extension Kind {
    /// One of `words`, or one of `later`, which this release refuses.
    /// `mapping` is what may stand in the word's place.
    static func word(
        _ words: [(String, Value)], later: [String] = [], orMapping mapping: String? = nil
    ) -> Kind where Value: Sendable {
        let names = words.map(\.0)
        let choices = Text.either(names + (mapping.map { [$0] } ?? []))
        return Kind(type: choices, bounds: nil) { node, report in
            let expected = "expected \(choices)"
            guard let text = node.text else {
                report.error(.wrongType, at: node.range, "\(expected), found \(node.found)")
                return nil
            }
            if let match = words.first(where: { $0.0 == text }) { return match.1 }
            if later.contains(text) {
                report.error(
                    .notSupportedYet, at: node.range, "'\(text)' is not supported yet",
                    help: "\(expected); '\(text)' is planned for a later release")
                return nil
            }
            let near = EditDistance.nearest(to: text, among: names)
            report.error(
                .unknownWord, at: node.range, "\(expected), found \(node.found)",
                label: near.map { "did you mean '\($0.word)'?" })
            return nil
        }
    }

    /// A list with at least one item, unless `mayBeEmpty`; items that are refused are left out.
    static func list<Item>(
        of item: Kind<Item>, _ what: String, mayBeEmpty: Bool = false, atMost: Int = .max
    ) -> Kind where Value == [Item] {
        let bounds = atMost < .max ? "1 to \(atMost)" : mayBeEmpty ? nil : "at least one"
        return Kind(type: "list of \(what)", bounds: bounds) { node, report in
            guard case .list(let nodes) = node.content else {
                report.error(
                    .wrongType, at: node.range, "expected a list of \(what), found \(node.found)",
                    help: "a list is written [a, b] or with one '- ' line per item")
                return nil
            }
            if nodes.isEmpty, !mayBeEmpty {
                report.error(
                    .emptyList, at: node.range, "the list of \(what) is empty",
                    help: "give at least one")
                return nil
            }
            if nodes.count > atMost {
                report.error(
                    .outOfRange, at: nodes[atMost].range,
                    "a list of \(what) has \(atMost) items at most")
                return nil
            }
            return nodes.compactMap { item.read($0, report) }
        }
    }

    /// A mapping with keys of its own.
    static func section(
        _ decode: @escaping @Sendable (YAMLNode, Report) -> Value?
    ) -> Kind {
        Kind(type: "mapping", bounds: nil, read: decode)
    }
}

extension Kind where Value == Bool {
    /// `true` or `false`; YAML's other spellings (`yes`, `on`) are refused.
    static let flag = Kind(type: "true or false", bounds: nil) { node, report in
        if case .scalar(let text, isPlain: true) = node.content {
            if text == "true" { return true }
            if text == "false" { return false }
        }
        report.error(
            .wrongType, at: node.range, "expected true or false, found \(node.found)")
        return nil
    }

    /// A switch whose `true` belongs to a later release.
    static func flagNotYet(_ name: String) -> Kind {
        Kind(type: "false", bounds: nil) { node, report in
            guard let value = flag.read(node, report) else { return nil }
            if value {
                report.error(
                    .notSupportedYet, at: node.range, "'\(name): true' is not supported yet",
                    help: "planned for a later release; write false or leave the key out")
                return nil
            }
            return value
        }
    }
}

extension Kind where Value == Int {
    /// A whole number.
    static func integer(_ range: ClosedRange<Int>) -> Kind {
        Kind(type: "number", bounds: "\(range.lowerBound) to \(range.upperBound)") { node, report in
            guard case .scalar(let text, isPlain: true) = node.content, !node.isNothing else {
                report.error(
                    .wrongType, at: node.range, "expected a whole number, found \(node.found)")
                return nil
            }
            let digits = text.hasPrefix("-") ? text.dropFirst() : Substring(text)
            guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
                report.error(
                    .badNumber, at: node.range, "expected a whole number, found \(node.found)")
                return nil
            }
            guard let value = Int(text), range.contains(value) else {
                let bounds = "\(range.lowerBound) to \(range.upperBound)"
                report.error(
                    .outOfRange, at: node.range,
                    range.count == 1
                        ? "expected \(range.lowerBound), found \(node.found)"
                        : "\(Text.quoted(text)) is outside \(bounds)")
                return nil
            }
            return value
        }
    }
}

extension Kind where Value == Double {
    /// A share between 0 and 1.
    static let share = decimal(0...1, "0 to 1", such: "0.25")

    /// A number that may have a fraction; `bounds` are the range in words.
    static func decimal(_ range: ClosedRange<Double>, _ bounds: String, such: String) -> Kind {
        Kind(type: "number", bounds: bounds) { node, report in
            read(node, report, range, bounds, such: such)
        }
    }

    private static func read(
        _ node: YAMLNode, _ report: Report, _ range: ClosedRange<Double>, _ bounds: String,
        such: String
    ) -> Double? {
        guard case .scalar(let text, isPlain: true) = node.content,
            text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2E || $0 == 0x2D }),
            let value = Double(text)
        else {
            report.error(
                .badNumber, at: node.range, "expected a number such as \(such), found \(node.found)"
            )
            return nil
        }
        guard range.contains(value) else {
            report.error(
                .outOfRange, at: node.range, "\(Text.quoted(text)) is outside \(bounds)")
            return nil
        }
        return value
    }
}

/// The text of a scalar that may be written plain or in quotes.
func string(_ node: YAMLNode, _ report: Report, _ what: String) -> String? {
    guard let text = node.text else {
        report.error(.wrongType, at: node.range, "expected \(what), found \(node.found)")
        return nil
    }
    return text
}
