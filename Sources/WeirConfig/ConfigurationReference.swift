// The configuration reference, written from the schema, so that it cannot differ from it.

/// `docs/configuration.md`.
package enum ConfigurationReference {
    /// The whole page.
    package static func markdown() -> String {
        var out = introduction
        for section in Schema.sections { out += page(section) }
        out += findings
        return out
    }

    private static let introduction = """
        # Configuration reference

        Generated from the schema that reads the file; a test compares the two. Change the schema \
        in `Sources/WeirConfig/Sections`, then write this page anew with \
        `WEIR_GOLDEN=rewrite swift test --filter WeirConfigTests`.

        One file is one configuration. It is plain YAML: no anchors, aliases, tags, merge keys or \
        second documents, at most 16 MiB. `weir check FILE` tells everything that is wrong with a \
        file at once; an unknown key is an error, and so is a key that a later release will accept.

        - **Durations** are a whole number and a unit: `ns` `us` `ms` `s` `m` `h`.
        - **Sizes** are a whole number and a unit: `B` `KiB` `MiB` `GiB`. Rates add `/s`.
        - **Request rates** are a whole number in a second, minute or hour: `/s` `/m` `/h`.
        - **Modes**: `enforce` acts; `shadow` decides on state of its own and only counts and logs \
        what it would do; `off` rests.
        - **true** and **false** are the only words for truth; `off` is a word of its own.
        - **Takes effect** says when a changed value does: at the next `reload` (for requests that \
        begin after it), for `new connections`, or at a `restart`.


        """

    private static func page(_ section: Section) -> String {
        let title = section.path.isEmpty ? "Top level" : "`\(section.path)`"
        var out = "## \(title)\n\n\(section.doc)\n\n"
        if !section.otherPaths.isEmpty {
            let others = section.otherPaths.map { "`\($0)`" }.joined(separator: ", ")
            out += "The same keys stand at \(others).\n\n"
        }
        if !section.example.isEmpty { out += "```yaml\n\(section.example)\n```\n\n" }
        out +=
            "| key | type | default | bounds | takes effect | what it does |\n"
            + "|---|---|---|---|---|---|\n"
        for key in section.keys where !key.isLater {
            let defaultText = key.isRequired ? "required" : key.defaultText.map { "`\($0)`" } ?? ""
            let cells = [
                "`\(key.name)`", key.type + link(from: section, to: key.name), defaultText,
                key.bounds ?? "", key.reload.rawValue,
                key.doc,
            ]
            out += "| " + cells.map(escaped).joined(separator: " | ") + " |\n"
        }
        let later = section.keys.filter(\.isLater).map { "`\($0.name)` (\($0.doc))" }
        if !later.isEmpty { out += "\nNot supported yet: \(later.joined(separator: ", ")).\n" }
        return out + "\n"
    }

    /// Where the keys of a nested section stand, if `name` has any.
    private static func link(from section: Section, to name: String) -> String {
        let path = section.path.isEmpty ? name : "\(section.path).\(name)"
        // A list of them, or a mapping of names to them.
        let paths: Set<String> = [path, path + "[]", path + ".NAME"]
        guard
            let child = Schema.sections.first(where: {
                paths.contains($0.path) || !paths.isDisjoint(with: $0.otherPaths)
            })
        else { return "" }
        let anchor = child.path.lowercased().filter { $0.isLetter || $0.isNumber || $0 == "_" }
        return ", see [`\(child.path)`](#\(anchor))"
    }

    private static func escaped(_ cell: String) -> String {
        var out = ""
        for character in cell {
            out += "|*<".contains(character) ? "\\\(character)" : "\(character)"
        }
        return out
    }

    private static var findings: String {
        let codes = Diagnostic.Code.allCases.map { "`\($0.rawValue)`" }.joined(separator: " ")
        return """
            ## Findings

            Every finding of `weir check` ends in one of these words, which do not change: \
            \(codes)

            """
    }
}
