// The file as a tree in which every node knows its place.

/// One node of a YAML document.
struct YAMLNode: Sendable {
    enum Content: Sendable {
        case scalar(String, isPlain: Bool)
        case list([YAMLNode])
        case mapping([Entry])
    }

    struct Entry: Sendable {
        /// Always a scalar: the reader refuses others.
        var key: String
        var keyRange: SourceRange
        var value: YAMLNode
    }

    var content: Content
    var range: SourceRange

    /// The scalar's text, unless it stands for "nothing".
    var text: String? {
        if isNothing { return nil }
        if case .scalar(let text, _) = content { return text }
        return nil
    }

    /// An absent value, `~` or `null`.
    var isNothing: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return text.isEmpty || text == "~" || text == "null"
    }

    /// What it is, for "expected a duration, found ...".
    var found: String {
        switch content {
        case .list: "a list"
        case .mapping: "a mapping"
        case .scalar(let text, let isPlain):
            isNothing ? "nothing" : isPlain ? Text.quoted(text) : "the string \(Text.quoted(text))"
        }
    }

    /// The part of a plain scalar from character `offset` on; the whole of any other node.
    func range(from offset: Int) -> SourceRange {
        guard case .scalar(_, isPlain: true) = content, range.endLine == range.line,
            range.column + offset < range.endColumn
        else { return range }
        var part = range
        part.column += offset
        return part
    }
}
