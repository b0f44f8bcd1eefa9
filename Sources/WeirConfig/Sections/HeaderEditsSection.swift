// Changes to a head's fields, except to those that frame or route the message.

enum HeaderEditsSection {
    static let set = Key(
        "set", fields, default: "{}", "Fields to set, replacing those of the same name.")
    static let add = Key("add", fields, default: "{}", "Fields to add beside those that exist.")
    static let remove = Key(
        "remove", .list(of: editable, "header names", mayBeEmpty: true), default: "[]",
        "Fields to remove.")

    static let request = section(
        "request_headers", "Changes to the request's fields, in the order remove, set, add.")
    static let response = section(
        "response_headers", "Changes to the response's fields, in the order remove, set, add.")

    private static func section(_ name: String, _ doc: String) -> Section {
        Section(
            name, at: "routes[].\(name)",
            doc + " Host and the fields that frame a message or belong to one connection cannot "
                + "be changed.",
            example: """
                routes:
                  - name: api
                    cluster: api
                    \(name):
                      set: { x-served-by: weir }
                      add: { cache-control: no-store }
                      remove: [x-debug]
                """,
            keys: [set.entry, add.entry, remove.entry])
    }

    /// Changing these would let two parsers disagree on where a message ends or whom it is for.
    private static let forbidden = HTTPText.connectionFields.union(["host"])

    private static func editableName(
        _ text: String, _ range: SourceRange, _ report: Report
    ) -> String? {
        guard let name = HTTPText.fieldName(text, range, report) else { return nil }
        guard !forbidden.contains(name) else {
            report.error(
                .forbiddenHeader, at: range, "'\(name)' cannot be edited",
                help: name == "host"
                    ? "the cluster's 'host_header' decides what the endpoint reads"
                    : "it frames the message or belongs to one connection; weir writes it itself")
            return nil
        }
        return name
    }

    private static let editable = Kind<String>(type: "header name", bounds: nil) { node, report in
        guard let text = string(node, report, "a header name") else { return nil }
        return editableName(text, node.range, report)
    }

    private static let fields = Kind<[HeaderEdits.Field]>(
        type: "mapping of header names to values", bounds: nil
    ) { node, report in
        guard case .mapping(let entries) = node.content else {
            report.error(
                .wrongType, at: node.range,
                "expected a mapping such as { x-served-by: weir }, found \(node.found)")
            return nil
        }
        var seen: [String: SourceRange] = [:]
        return entries.compactMap { entry in
            guard let name = editableName(entry.key, entry.keyRange, report),
                let value = Kind<String>.fieldValue.read(entry.value, report)
            else { return nil }
            if let first = seen.updateValue(entry.keyRange, forKey: name) {
                report.error(
                    .duplicateKey, at: entry.keyRange, "duplicate header '\(name)'",
                    related: Diagnostic.Related(range: first, label: "first written here"))
            }
            return HeaderEdits.Field(name: name, value: value)
        }
    }

    static func decodeRequest(_ node: YAMLNode, _ report: Report) -> HeaderEdits? {
        decode(node, request, report)
    }

    static func decodeResponse(_ node: YAMLNode, _ report: Report) -> HeaderEdits? {
        decode(node, response, report)
    }

    private static func decode(
        _ node: YAMLNode, _ section: Section, _ report: Report
    ) -> HeaderEdits? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var edits = HeaderEdits()
        reader.read(set, into: &edits.set)
        reader.read(add, into: &edits.add)
        reader.read(remove, into: &edits.remove)
        return edits
    }
}
