// Reads one mapping against its section: everything that can be wrong with keys is found here.

/// A mapping whose keys have been checked.
struct SectionReader {
    let section: Section
    let range: SourceRange
    private let report: Report
    /// The first of each known key.
    private var entries: [String: YAMLNode.Entry] = [:]
    /// Keys that another finding already asks for, such as by "did you mean".
    private var excused: Set<String> = []

    /// `nil` after reporting that `node` is not a mapping.
    init?(_ node: YAMLNode, _ section: Section, _ report: Report) {
        guard case .mapping(let found) = node.content else {
            report.error(
                .wrongType, at: node.range,
                "expected a mapping of keys (\(section.noun)), found \(node.found)",
                help: "keys: \(section.accepted.joined(separator: ", "))")
            return nil
        }
        self.section = section
        self.report = report
        range = node.range
        var strangers: [String: SourceRange] = [:]
        for entry in found {
            if let first = entries[entry.key]?.keyRange ?? strangers[entry.key] {
                report.error(
                    .duplicateKey, at: entry.keyRange,
                    "duplicate key \(Text.quoted(entry.key)) in \(section.noun)",
                    related: Diagnostic.Related(range: first, label: "first written here"))
                continue
            }
            guard let known = section[entry.key] else {
                strangers[entry.key] = entry.keyRange
                if let meant = refuseUnknown(entry) { excused.insert(meant) }
                continue
            }
            entries[entry.key] = entry
            if known.isLater { refuseLater(known, entry) }
            if let other = known.standsFor { excused.insert(other) }
        }
        for key in section.keys where key.isRequired && entries[key.name] == nil {
            if excused.contains(key.name) { continue }
            let sentence = key.doc.prefix { $0 != "." }
            report.error(
                .missingKey, at: startRange, "\(section.noun) needs the key '\(key.name)'",
                help: "\(key.name): \(sentence)")
        }
    }

    /// The mapping's first character.
    var startRange: SourceRange { SourceRange(line: range.line, column: range.column) }

    /// The value of `key`; `nil` when it is absent or was refused.
    func read<Value>(_ key: Key<Value>) -> Value? {
        guard let entry = entries[key.name] else { return nil }
        if entry.value.isNothing {
            report.error(
                .wrongType, at: entry.keyRange, "'\(key.name)' has no value",
                help: "expected \(key.kind.type)"
                    + (key.entry.isRequired ? "" : ", or no such key"))
            return nil
        }
        return key.kind.read(entry.value, report)
    }

    /// Stores the value of `key` in `target` when there is one.
    func read<Value>(_ key: Key<Value>, into target: inout Value) {
        if let value = read(key) { target = value }
    }

    func has<Value>(_ key: Key<Value>) -> Bool { entries[key.name] != nil }

    func keyRange<Value>(_ key: Key<Value>) -> SourceRange? { entries[key.name]?.keyRange }

    func valueRange<Value>(_ key: Key<Value>) -> SourceRange? { entries[key.name]?.value.range }

    /// Reports unless exactly one of the named keys (or, with `optional`, at most one) is there.
    func requireOne(of names: [String], optional: Bool = false) {
        let present = names.compactMap { entries[$0]?.keyRange }
            .sorted { $0.isBefore($1) }
        if let second = present.dropFirst().first {
            report.error(
                .conflictingKeys, at: second,
                "\(section.noun) takes only one of \(Text.either(names))",
                related: present.first.map {
                    Diagnostic.Related(range: $0, label: "already given here")
                })
        } else if present.isEmpty, !optional, excused.isDisjoint(with: names) {
            report.error(
                .missingKey, at: startRange, "\(section.noun) needs one of \(Text.either(names))")
        }
    }

    private func refuseLater(_ key: KeyEntry, _ entry: YAMLNode.Entry) {
        report.error(
            .notSupportedYet, at: entry.keyRange, "'\(key.name)' is not supported yet",
            help: "\(key.doc): planned for a later release; remove the key")
    }

    /// Returns the key of this section that was probably meant.
    private func refuseUnknown(_ entry: YAMLNode.Entry) -> String? {
        // Advice costs an edit distance per legal key; nobody reads it beyond the bound.
        let advice = report.isFull ? nil : Suggestion.on(entry.key, in: section)
        report.error(
            .unknownKey, at: entry.keyRange,
            "unknown key \(Text.quoted(entry.key)) in \(section.noun)", label: advice?.label,
            help: "expected one of: \(section.accepted.joined(separator: ", "))")
        return advice?.meant
    }
}
