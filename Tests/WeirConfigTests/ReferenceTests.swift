// The committed reference is the one that the schema writes.

import Foundation
import Testing
import WeirConfig
import WeirTime

@Suite struct ReferenceTests {
    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    @Test func `docs hold the reference that the schema writes`() throws {
        let page = root.appendingPathComponent("docs/configuration.md")
        let written = ConfigurationReference.markdown()
        if ProcessInfo.processInfo.environment["WEIR_GOLDEN"] == "rewrite" {
            try written.write(to: page, atomically: true, encoding: .utf8)
        } else {
            let committed = try String(contentsOf: page, encoding: .utf8)
            #expect(committed == written, "run with WEIR_GOLDEN=rewrite")
        }
    }

    @Test func `every example in the reference is accepted`() throws {
        let blocks = ConfigurationReference.markdown().components(separatedBy: "```yaml\n")
        #expect(blocks.count > 15)
        for block in blocks.dropFirst() {
            var text = try #require(block.components(separatedBy: "```").first)
            let missing = [
                ("version:", "version: 1\n"),
                ("listeners:", "listeners: [{ name: x, address: 127.0.0.1:1 }]\n"),
                ("routes:", "routes: [{ name: x, direct_response: { status: 204 } }]\n"),
                ("clusters:", "clusters: [{ name: api, endpoints: [127.0.0.1:1] }]\n"),
            ]
            let first = Set(text.components(separatedBy: "\n").map { $0.prefix { $0 != " " } })
            for (key, line) in missing where !first.contains(Substring(key)) { text += line }
            text = text.replacingOccurrences(of: "cluster: beta", with: "cluster: api")
            let (configuration, diagnostics) = ConfigurationParser.parse(
                Array(text.utf8), file: "example")
            #expect(configuration != nil, "\(text)\n\(diagnostics.map(\.message))")
        }
    }

    @Test(arguments: ["quickstart", "edge", "sidecar"])
    func `the shipped configuration is clean`(name: String) throws {
        let file = root.appendingPathComponent("configs/\(name).yaml")
        let bytes = Array(try Data(contentsOf: file))
        let (configuration, diagnostics) = ConfigurationParser.parse(bytes, file: file.path)
        #expect(diagnostics.rendered(source: SourceText(bytes), color: false) == "")
        #expect(configuration != nil)
    }

    @Test func `every default in the reference is the default in use`() throws {
        // Writing out each scalar default must change nothing.
        let short = """
            version: 1
            listeners: [{ name: web, address: 127.0.0.1:80 }]
            routes: [{ name: all, cluster: app }]
            clusters: [{ name: app, endpoints: [127.0.0.1:1] }]
            """
        let configuration = try #require(
            ConfigurationParser.parse(Array(short.utf8), file: "short").configuration)
        let long = configuration.canonicalYAML()
        let page = ConfigurationReference.markdown()
        var checked = 0
        // A name that several sections use stands in both in the order of the sections.
        var seen: [String: Int] = [:]
        for line in page.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.components(separatedBy: " | ")
            let name = cells[0].dropFirst(2).filter { $0 != "`" }
            let value = cells[2].filter { $0 != "`" }
            // Only plain values can be looked up; the rest are descriptions such as "none".
            let lines = long.split(separator: "\n").filter {
                $0.trimmingCharacters(in: .whitespaces).hasPrefix(name + ": ")
            }
            let place = seen[name, default: 0]
            seen[name] = place + 1
            guard place < lines.count, !value.isEmpty, value != "required" else { continue }
            let parts = lines[place].components(separatedBy: ": ")
            let text = parts.dropFirst().joined(separator: ": ")
            #expect(normal(text) == normal(value), "\(name)")
            checked += 1
        }
        #expect(checked >= 15)
    }

    /// `60s` and `1m`, `1KiB/s` and `1024B/s`, quoted and plain words are the same.
    private func normal(_ text: String) -> String {
        let text = text.filter { $0 != "\"" }
        if let duration = try? Quantity.duration(text) { return "\(duration.nanoseconds)ns" }
        if let size = try? Quantity.size(text) { return "\(size)B" }
        if let rate = try? Quantity.rate(text) { return "\(rate)B/s" }
        return text
    }
}
