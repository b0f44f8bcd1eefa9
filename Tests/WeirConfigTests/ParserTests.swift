// What golden files cannot show: huge, broken and hostile input.

import Foundation
import Testing
import WeirConfig
import WeirTime

@Suite struct ParserTests {
    private func codes(_ bytes: [UInt8]) -> [Diagnostic.Code] {
        let (configuration, diagnostics) = ConfigurationParser.parse(bytes, file: "t")
        #expect((configuration == nil) == diagnostics.contains { $0.severity == .error })
        return diagnostics.map(\.code)
    }

    @Test func `refuses bytes that are not UTF-8, at their position`() throws {
        let (_, diagnostics) = ConfigurationParser.parse(
            Array("version: 1\nä: ".utf8) + [0xFF], file: "t")
        let only = try #require(diagnostics.first)
        #expect(diagnostics.count == 1)
        #expect(only.code == .invalidUTF8)
        #expect((only.line, only.column) == (2, 4))
    }

    @Test(arguments: [[0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]])
    func `refuses overlong, surrogate, too large and cut sequences`(bytes: [UInt8]) {
        #expect(codes(Array("a: ".utf8) + bytes) == [.invalidUTF8])
    }

    @Test func `reads a byte order mark as nothing`() throws {
        let text = "\u{FEFF}version: 2\n"
        let (_, diagnostics) = ConfigurationParser.parse(Array(text.utf8), file: "t")
        #expect(diagnostics.contains { $0.line == 1 && $0.column == 10 && $0.code == .outOfRange })
        let source = SourceText(Array(text.utf8))
        #expect(source.line(1) == "version: 2")
    }

    @Test func `refuses UTF-16`() {
        #expect(codes([0xFF, 0xFE, 0x61, 0x00]) == [.invalidUTF8])
    }

    @Test func `refuses a file beyond 16 MiB`() {
        #expect(codes([UInt8](repeating: 0x20, count: 16 << 20 | 1)) == [.fileTooLarge])
    }

    @Test func `refuses more than a million values`() {
        let text = "a: [" + String(repeating: "a,", count: 1_000_001) + "]"
        #expect(codes(Array(text.utf8)) == [.tooManyNodes])
    }

    @Test func `bounds the number of findings`() throws {
        let text = (0..<3000).map { "key\($0): 1" }.joined(separator: "\n")
        let codes = codes(Array(text.utf8))
        #expect(codes.count == 501)
        #expect(codes.last == .tooManyErrors)
    }

    @Test func `an endless row of brackets ends at the depth bound`() {
        #expect(codes([UInt8](repeating: 0x5B, count: 1 << 20)) == [.tooDeep])
    }

    @Test func `every mutation of a good file is a configuration or an error`() throws {
        var chance = Chance(seed: 42)
        let structure = Array("{}[]:,-#&*!|>'\"%@`\n\t \u{0}\u{FF}~?0".utf8)
        for name in GoldenTests.files where name.hasPrefix("ok-") {
            let good = Array(try Golden(name).input.utf8)
            for _ in 0..<60 {
                var bytes = good
                for _ in 0...chance.below(4) {
                    let position = Int(chance.below(UInt32(max(bytes.count, 1))))
                    guard position < bytes.count else { continue }
                    switch chance.below(4) {
                    case 0: bytes[position] = UInt8(truncatingIfNeeded: chance.below(256))
                    case 1: bytes.remove(at: position)
                    case 2:
                        bytes[position] = structure[Int(chance.below(UInt32(structure.count)))]
                    default:
                        let end = min(bytes.count, position + Int(chance.below(32)))
                        bytes.insert(contentsOf: bytes[position..<end], at: position)
                    }
                }
                let (configuration, diagnostics) = ConfigurationParser.parse(bytes, file: "t")
                let hasErrors = diagnostics.contains { $0.severity == .error }
                #expect((configuration == nil) == hasErrors)
                // Showing the findings must hold for the same input.
                #expect(
                    !diagnostics.rendered(source: SourceText(bytes), color: true).contains("\0"))
                #expect(diagnostics.json().hasSuffix("]\n"))
            }
        }
    }

    @Test func `reads ten thousand routes`() throws {
        var text = "version: 1\nlisteners: [{ name: web, address: 127.0.0.1:80 }]\nroutes:\n"
        for n in 0..<10_000 {
            text += "  - name: r\(n)\n    match: { host: h\(n % 100).example.com, "
            text += "path_prefix: /a/\(n), methods: [GET] }\n    cluster: c\(n % 50)\n"
        }
        text += "clusters:\n"
        for n in 0..<50 { text += "  - { name: c\(n), endpoints: [10.0.0.\(n + 1):80] }\n" }
        let bytes = Array(text.utf8)
        let (configuration, diagnostics) = ConfigurationParser.parse(bytes, file: "t")
        #expect(diagnostics.isEmpty)
        #expect(configuration?.routes.count == 10_000)
    }
}
