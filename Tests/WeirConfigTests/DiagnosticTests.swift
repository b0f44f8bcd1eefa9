// Findings as text for people and as JSON for machines.

import Foundation
import Testing
import WeirConfig

@Suite struct DiagnosticTests {
    private let text = "version: 1\nroutes:\n  - time_out: \"2s\"\n"
    private let diagnostic = Diagnostic(
        severity: .error, code: .unknownKey, file: "a \"b\".yaml",
        range: SourceRange(line: 3, column: 5, length: 8), message: "unknown key 'time_out'",
        label: "did you mean 'timeout'?", help: "one of: a, b",
        related: Diagnostic.Related(range: SourceRange(line: 1, column: 1, length: 7), label: "see")
    )

    @Test func `renders as a compiler does`() {
        let source = SourceText(Array(text.utf8))
        #expect(
            diagnostic.render(source: source, color: false) == """
                a "b".yaml:3:5: error: unknown key 'time_out' [unknown-key]
                    1 | version: 1
                      | ------- see
                    3 |   - time_out: "2s"
                      |     ^~~~~~~~ did you mean 'timeout'?
                      = one of: a, b

                """)
    }

    @Test func `colour changes nothing but colour`() {
        let source = SourceText(Array(text.utf8))
        let colored = diagnostic.render(source: source, color: true)
        #expect(colored.contains("\u{1B}[1;31merror: "))
        let plain = colored.split(
            separator: "\u{1B}[", omittingEmptySubsequences: false
        ).enumerated().map { index, part in
            index == 0 ? part : part.drop { $0 != "m" }.dropFirst()
        }.joined()
        #expect(plain == diagnostic.render(source: source, color: false))
    }

    @Test func `JSON can be read by others`() throws {
        let json = Data([diagnostic].json().utf8)
        let list = try #require(try JSONSerialization.jsonObject(with: json) as? [[String: Any]])
        let first = try #require(list.first)
        #expect(first["file"] as? String == "a \"b\".yaml")
        #expect(first["line"] as? Int == 3)
        #expect(first["column"] as? Int == 5)
        #expect(first["length"] as? Int == 8)
        #expect(first["code"] as? String == "unknown-key")
        #expect((first["related"] as? [String: Any])?["label"] as? String == "see")
        #expect([Diagnostic]().json() == "[]\n")
    }

    @Test func `a position past the end still shows a caret`() {
        var late = diagnostic
        late.range = SourceRange(line: 99, column: 99)
        late.related = nil
        let shown = late.render(source: SourceText([]), color: false)
        #expect(shown.contains("\n   99 |\n      | ^ did you mean"))
    }

    @Test func `counts lines as YAML does`() {
        let source = SourceText(Array("a\r\nb\rc\u{85}d\u{2028}e\nf".utf8))
        #expect((1...7).map(source.line) == ["a", "b", "c", "d", "e", "f", ""])
    }
}
