// Each golden file is an input, a line of dashes, and exactly what is said about it.
//
// `WEIR_GOLDEN=rewrite` writes what is said now; read the difference before keeping it.

import Foundation
import Testing
import WeirConfig

@Suite struct GoldenTests {
    static let files: [String] = {
        let names = try? FileManager.default.contentsOfDirectory(atPath: Golden.folder)
        return (names ?? []).filter { $0.hasSuffix(".golden") }.sorted()
    }()

    @Test(arguments: files)
    func `says exactly what the golden file says`(name: String) throws {
        let golden = try Golden(name)
        let said = golden.outcome()
        if ProcessInfo.processInfo.environment["WEIR_GOLDEN"] == "rewrite" {
            try golden.rewrite(with: said)
        } else {
            #expect(said == golden.expected)
        }
        #expect(name.hasPrefix("ok-") == said.hasPrefix("ok\n"), "the name tells good from bad")
    }

    @Test func `has at least 25 good and 40 bad files`() {
        #expect(Self.files.count { $0.hasPrefix("ok-") } >= 25)
        #expect(Self.files.count { !$0.hasPrefix("ok-") } >= 40)
    }

    @Test func `every diagnostic code appears in a golden file`() throws {
        // These need megabytes of input; their tests build it.
        var missing = Set(Diagnostic.Code.allCases).subtracting([
            .fileTooLarge, .tooManyNodes, .tooManyErrors, .invalidUTF8,
        ])
        for name in Self.files {
            let golden = try Golden(name)
            for diagnostic in golden.parse().diagnostics { missing.remove(diagnostic.code) }
        }
        #expect(missing.map(\.rawValue).sorted() == [])
    }

    @Test(arguments: files)
    func `a good file's canonical form means the same`(name: String) throws {
        guard let configuration = try Golden(name).parse().configuration else { return }
        let again = ConfigurationParser.parse(
            Array(configuration.canonicalYAML().utf8), file: "canonical.yaml")
        #expect(again.configuration == configuration, "\(again.diagnostics.map(\.message))")
    }
}

/// One golden file.
struct Golden {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Golden").path
    private static let divider = "----------\n"

    let path: String
    let input: String
    let expected: String

    init(_ name: String) throws {
        path = Golden.folder + "/" + name
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let parts = text.components(separatedBy: Golden.divider)
        input = parts[0]
        expected = parts.dropFirst().joined(separator: Golden.divider)
    }

    func parse() -> (configuration: Configuration?, diagnostics: [Diagnostic]) {
        ConfigurationParser.parse(Array(input.utf8), file: "weir.yaml")
    }

    func outcome() -> String {
        let (configuration, diagnostics) = parse()
        let said = diagnostics.rendered(source: SourceText(Array(input.utf8)), color: false)
        guard let configuration else { return said }
        return "ok\n" + said + configuration.canonicalYAML()
    }

    func rewrite(with said: String) throws {
        try (input + Golden.divider + said).write(toFile: path, atomically: true, encoding: .utf8)
    }
}
