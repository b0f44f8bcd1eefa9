// Where all stages put their findings, so that one run reports all of them.

/// Collects diagnostics, with a bound on their number, and the places that later checks need.
final class Report {
    /// Findings that are kept; a hostile file could otherwise cause one per byte.
    static let maxDiagnostics = 500

    let file: String
    let places = Places()
    private(set) var hasErrors = false
    private var diagnostics: [Diagnostic] = []
    private var dropped = 0

    init(file: String) { self.file = file }

    func error(
        _ code: Diagnostic.Code, at range: SourceRange, _ message: String, label: String? = nil,
        help: String? = nil, related: Diagnostic.Related? = nil
    ) {
        hasErrors = true
        add(
            Diagnostic(
                severity: .error, code: code, file: file, range: range, message: message,
                label: label, help: help, related: related))
    }

    func warning(
        _ code: Diagnostic.Code, at range: SourceRange, _ message: String, label: String? = nil,
        help: String? = nil, related: Diagnostic.Related? = nil
    ) {
        add(
            Diagnostic(
                severity: .warning, code: code, file: file, range: range, message: message,
                label: label, help: help, related: related))
    }

    /// No more findings are kept: costly advice need not be worked out.
    var isFull: Bool { diagnostics.count >= Report.maxDiagnostics }

    private func add(_ diagnostic: Diagnostic) {
        if isFull { dropped += 1 } else { diagnostics.append(diagnostic) }
    }

    /// All findings in the order of the file.
    func sorted() -> [Diagnostic] {
        var all = diagnostics.enumerated().sorted { a, b in
            a.element.range.isBefore(b.element.range)
                || (!b.element.range.isBefore(a.element.range) && a.offset < b.offset)
        }.map(\.element)
        if dropped > 0, let last = all.last {
            all.append(
                Diagnostic(
                    severity: hasErrors ? .error : .warning, code: .tooManyErrors, file: file,
                    range: last.range, message: "\(Text.count(dropped, "more finding")) not shown"))
        }
        return all
    }
}
