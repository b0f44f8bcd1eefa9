// Bytes to a YAML tree through libyaml's events; only the plain part of YAML is let in.

import CYAML

/// Reads one document. Anchors, aliases, tags and merge keys are refused: they hide what a
/// configuration says, and aliases multiply.
struct YAMLReader: ~Copyable {
    static let maxBytes = 16 << 20
    static let maxDepth = 32
    static let maxNodes = 1_000_000

    /// On the heap, because libyaml keeps a pointer to it inside itself.
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let report: Report
    private var nodes = 0

    /// The document's root; `nil` when the file holds none or was refused.
    static func read(_ bytes: [UInt8], _ report: Report) -> YAMLNode? {
        guard EncodingCheck.passes(bytes, report) else { return nil }
        let bom: [UInt8] = [0xEF, 0xBB, 0xBF]
        let body = bytes.starts(with: bom) ? bytes[bom.count...] : bytes[...]
        return body.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress, buffer.count > 0,
                var reader = YAMLReader(base, buffer.count, report)
            else { return nil }
            return reader.document()
        }
    }

    private init?(_ base: UnsafePointer<UInt8>, _ count: Int, _ report: Report) {
        parser = .allocate(capacity: 1)
        self.report = report
        guard yaml_parser_initialize(parser) == 1 else {
            parser.deallocate()
            report.error(
                .yamlSyntax, at: SourceRange(line: 1, column: 1), "out of memory in the YAML parser"
            )
            return nil
        }
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(parser, base, count)
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deallocate()
    }

    private mutating func document() -> YAMLNode? {
        guard next(YAML_STREAM_START_EVENT) != nil, var event = next() else { return nil }
        guard event.type == YAML_DOCUMENT_START_EVENT else { return nil }
        if event.data.document_start.version_directive != nil
            || event.data.document_start.tag_directives.start
                != event.data.document_start.tag_directives.end
        {
            report.error(
                .tagRefused, at: range(event), "directives ('%YAML', '%TAG') are not accepted")
        }
        yaml_event_delete(&event)
        guard let first = next(), let root = node(first, depth: 1) else { return nil }
        guard next(YAML_DOCUMENT_END_EVENT) != nil, let end = next() else { return nil }
        if end.type != YAML_STREAM_END_EVENT {
            report.error(
                .multipleDocuments, at: range(end), "a second document begins here",
                help: "one file holds one configuration; remove the '---'")
            discard(end)
        }
        return root
    }

    /// The node that begins with `event`, which it takes over.
    private mutating func node(_ event: yaml_event_t, depth: Int) -> YAMLNode? {
        defer { discard(event) }
        let place = range(event)
        nodes += 1
        guard nodes <= YAMLReader.maxNodes else {
            report.error(
                .tooManyNodes, at: place, "more than \(YAMLReader.maxNodes) values in one file")
            return nil
        }
        guard depth <= YAMLReader.maxDepth else {
            report.error(
                .tooDeep, at: place, "nested more than \(YAMLReader.maxDepth) levels deep")
            return nil
        }
        switch event.type {
        case YAML_ALIAS_EVENT:
            report.error(
                .aliasRefused, at: place, "aliases ('*name') are not accepted",
                help: "write the value out where it is used")
            return YAMLNode(content: .scalar("", isPlain: true), range: place)
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            refuse(anchor: scalar.anchor, tag: scalar.tag, place)
            let text = String(
                decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length),
                as: UTF8.self)
            let isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            return YAMLNode(content: .scalar(text, isPlain: isPlain), range: place)
        case YAML_SEQUENCE_START_EVENT:
            let start = event.data.sequence_start
            refuse(anchor: start.anchor, tag: start.tag, place)
            return list(from: place, depth: depth)
        case YAML_MAPPING_START_EVENT:
            let start = event.data.mapping_start
            refuse(anchor: start.anchor, tag: start.tag, place)
            return mapping(from: place, depth: depth)
        default:
            report.error(.yamlSyntax, at: place, "a value was expected here")
            return nil
        }
    }

    private mutating func list(from start: SourceRange, depth: Int) -> YAMLNode? {
        var items: [YAMLNode] = []
        while let event = next() {
            if event.type == YAML_SEQUENCE_END_EVENT {
                return YAMLNode(content: .list(items), range: start.extended(to: range(event)))
            }
            guard let item = node(event, depth: depth + 1) else { return nil }
            items.append(item)
        }
        return nil
    }

    private mutating func mapping(from start: SourceRange, depth: Int) -> YAMLNode? {
        var entries: [YAMLNode.Entry] = []
        while let event = next() {
            if event.type == YAML_MAPPING_END_EVENT {
                return YAMLNode(content: .mapping(entries), range: start.extended(to: range(event)))
            }
            guard let key = node(event, depth: depth + 1), let following = next(),
                let value = node(following, depth: depth + 1)
            else { return nil }
            guard case .scalar(let text, let isPlain) = key.content else {
                report.error(.wrongType, at: key.range, "a key must be a word, not \(key.found)")
                continue
            }
            if text == "<<", isPlain {
                report.error(
                    .mergeKeyRefused, at: key.range, "merge keys ('<<') are not accepted",
                    help: "write the keys out")
                continue
            }
            entries.append(YAMLNode.Entry(key: text, keyRange: key.range, value: value))
        }
        return nil
    }

    private func refuse(
        anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?,
        _ place: SourceRange
    ) {
        if anchor != nil {
            report.error(
                .aliasRefused, at: SourceRange(line: place.line, column: place.column),
                "anchors ('&name') are not accepted", help: "write the value out where it is used")
        }
        if tag != nil {
            report.error(
                .tagRefused, at: SourceRange(line: place.line, column: place.column),
                "tags ('!name') are not accepted", help: "the schema knows every value's type")
        }
    }

    // MARK: events

    /// The next event, or `nil` after reporting why there is none.
    private func next() -> yaml_event_t? {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else {
            syntaxError()
            return nil
        }
        return event
    }

    /// The next event when it is of `type`; only for events that own no memory.
    private func next(_ type: yaml_event_type_t) -> yaml_event_t? {
        guard let event = next() else { return nil }
        return event.type == type ? event : nil
    }

    private func discard(_ event: yaml_event_t) {
        var event = event
        yaml_event_delete(&event)
    }

    private func range(_ event: yaml_event_t) -> SourceRange {
        SourceRange(
            line: Int(clamping: event.start_mark.line) + 1,
            column: Int(clamping: event.start_mark.column) + 1,
            endLine: Int(clamping: event.end_mark.line) + 1,
            endColumn: Int(clamping: event.end_mark.column) + 1)
    }

    private func syntaxError() {
        let mark = parser.pointee.problem_mark
        let place = SourceRange(
            line: Int(clamping: mark.line) + 1, column: Int(clamping: mark.column) + 1)
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "malformed YAML"
        // libyaml's complaint about a token leaves the byte that it stopped at unread.
        let isTab =
            problem.contains("tab character")
            || problem.contains("cannot start any token")
                && parser.pointee.buffer.pointer.pointee == 9
        if isTab {
            report.error(
                .tab, at: place, "a tab cannot indent or separate here", help: "use spaces")
            return
        }
        let context = parser.pointee.context.map { String(cString: $0) }
        let contextMark = parser.pointee.context_mark
        let start = SourceRange(
            line: Int(clamping: contextMark.line) + 1,
            column: Int(clamping: contextMark.column) + 1)
        // A '*' begins an alias, so a host pattern without quotes ends here.
        let isPattern = context == "while scanning an alias"
        report.error(
            .yamlSyntax, at: place, problem,
            help: isPattern ? "a value that begins with '*' stands in quotes" : nil,
            related: context.flatMap {
                start.isBefore(place) ? Diagnostic.Related(range: start, label: $0) : nil
            })
    }
}

extension SourceRange {
    fileprivate func extended(to end: SourceRange) -> SourceRange {
        SourceRange(
            line: line, column: column, endLine: end.endLine, endColumn: end.endColumn)
    }
}
