// Kinds of values that governors share: modes, request rates, fields to read, mappings of names.

import WeirPolicy
import WeirTime

extension Kind where Value == Mode {
    /// Whether a policy acts.
    static let mode = Kind.word([("enforce", .enforce), ("shadow", .shadow), ("off", .off)])
}

extension Mode {
    /// As `Kind.mode` reads it.
    var word: String {
        switch self {
        case .enforce: "enforce"
        case .shadow: "shadow"
        case .off: "off"
        }
    }
}

extension Kind where Value == String {
    /// A field that a client sends for the one who answers it, lower-cased.
    static let endToEndField = Kind(type: "header name", bounds: nil) { node, report in
        guard let name = fieldName.read(node, report) else { return nil }
        guard !HTTPText.connectionFields.contains(name) else {
            report.error(
                .forbiddenHeader, at: node.range, "'\(name)' cannot be used here",
                help: "it frames the message or belongs to one connection")
            return nil
        }
        return name
    }

    /// The name of a query parameter, or the like.
    static func parameter(_ what: String) -> Kind { .text(what, maxBytes: 256) }
}

extension Kind where Value == Bool {
    /// A switch that is there or not.
    static let present = Kind.word([("true", true)])
}

extension Kind where Value == ClosedRange<Int> {
    /// One status or a range of them.
    static let statuses = Kind(type: "status, or two joined by -", bounds: "100 to 599") {
        node, report in
        guard let text = string(node, report, "statuses such as 200-299") else { return nil }
        let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            .map { AddressText.number(String($0)) }
        guard let first = parts.first, let low = first, let last = parts.last, let high = last,
            (100...599).contains(low), (low...599).contains(max(low, high)), high >= low
        else {
            report.error(
                .badStatus, at: node.range, "\(Text.quoted(text)) is no range of statuses",
                help: "expected statuses such as 200 or 200-299, within 100 to 599")
            return nil
        }
        return low...high
    }
}

extension Kind {
    /// A mapping of names to what `decode` reads, in the order of the file.
    static func named<Item>(
        _ noun: Places.Noun,
        _ decode: @escaping @Sendable (String, YAMLNode, Report) -> Item?
    ) -> Kind where Value == [Item] {
        Kind(type: "mapping of names to \(noun.plural)", bounds: "at least one") { node, report in
            guard case .mapping(let entries) = node.content else {
                report.places.unreadable.insert(noun)
                report.error(
                    .wrongType, at: node.range,
                    "expected a mapping of names to \(noun.plural), found \(node.found)",
                    help: "each is written NAME: { ... }")
                return nil
            }
            if entries.isEmpty {
                report.places.unreadable.insert(noun)
                report.error(
                    .emptyList, at: node.range, "the mapping of \(noun.plural) is empty",
                    help: "give at least one, as NAME: { ... }")
            }
            return YAMLNode.Entry.unique(entries, "the \(noun.rawValue)", report).compactMap {
                entry in
                let key = YAMLNode(
                    content: .scalar(entry.key, isPlain: false), range: entry.keyRange)
                guard let name = Kind<String>.name.read(key, report) else { return nil }
                report.places.declare(noun, name, entry.keyRange)
                return decode(name, entry.value, report)
            }
        }
    }
}

extension YAMLNode.Entry {
    /// The first entry of each key, after reporting the others.
    static func unique(
        _ entries: [Self], _ what: String, _ report: Report
    ) -> [Self] {
        var seen: [String: SourceRange] = [:]
        return entries.filter { entry in
            guard let first = seen[entry.key] else {
                seen[entry.key] = entry.keyRange
                return true
            }
            report.error(
                .duplicateKey, at: entry.keyRange,
                "\(what) \(Text.quoted(entry.key)) is there twice",
                related: Diagnostic.Related(range: first, label: "first written here"))
            return false
        }
    }
}

/// Reads the rate and the burst that plans and rules have.
enum RateReading {
    static func rateKey(required isRequired: Bool, _ doc: String) -> Key<RequestRate> {
        Key("rate", .requestRate, required: isRequired, doc)
    }

    static let burst = Key(
        "burst", .integer(0...1_000_000_000), default: "one second's worth, at least one request",
        "How much may be used at once after a pause.")

    /// `nil` without a rate, or after reporting what is wrong with its burst.
    static func limit(
        _ reader: SectionReader, _ rate: Key<RequestRate>, cost: Int, _ report: Report
    ) -> RateLimit? {
        let size = reader.read(burst)
        guard let rate = reader.read(rate) else { return nil }
        if let size, let range = reader.valueRange(burst), size < cost {
            report.error(
                .burstTooSmall, at: range,
                cost == 1
                    ? "a burst of \(size) admits no request"
                    : "a burst of \(size) admits no request, each of which costs \(cost)",
                help: "give at least \(cost), or leave 'burst' out")
            return nil
        }
        let burst = size.map { Int64($0) } ?? max(rate.perSecond, Int64(cost))
        return RateLimit(count: rate.count, period: rate.period, burst: burst)
    }
}
