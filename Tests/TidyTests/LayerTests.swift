// The arrows between the layers: who may import whom.

import Testing

@Suite struct LayerTests {
    private static let system: Set = ["Swift", "Glibc", "Synchronization"]
    private let manifest = Manifest(Tree.read("Package.swift") ?? "")

    private func imports(of target: String) -> Set<String> {
        Tree.sources.filter { $0.isSwift && $0.target == target }
            .reduce(into: []) { $0.formUnion($1.imports) }
    }

    @Test func `every folder of Sources is a target that the manifest declares`() {
        #expect(Tree.folders(in: "Sources") == manifest.dependencies.keys.sorted())
    }

    @Test(arguments: Tree.sources.filter(\.isSwift))
    func `a file imports only what its target declares`(file: TreeFile) {
        let allowed = (manifest.dependencies[file.target] ?? []).union(Self.system)
        #expect(file.imports.subtracting(allowed).sorted() == [], "\(file)")
    }

    @Test func `policies know nothing but time`() {
        #expect(
            imports(of: "WeirPolicy").filter { $0.hasPrefix("Weir") || $0.hasPrefix("C") }
                .subtracting(["WeirTime"]).sorted() == [])
        #expect(manifest.dependencies["WeirPolicy"] == ["WeirTime"])
    }

    @Test(arguments: [
        ("WeirHTTP", "WeirNet"), ("WeirNet", "WeirHTTP"), ("WeirProxy", "WeirConfig"),
    ])
    func `a layer never imports the other`(layer: String, other: String) {
        #expect(!imports(of: layer).isEmpty)
        #expect(!imports(of: layer).contains(other))
        #expect(manifest.dependencies[layer]?.contains(other) == false)
    }

    @Test func `nothing imports Foundation, which would double the binary`() {
        let found = Tree.sources.filter {
            $0.isSwift && $0.imports.contains { $0.hasPrefix("Foundation") }
        }
        #expect(found.map(\.path) == [])
    }

    @Test func `reads imports in all their spellings`() {
        let file = TreeFile(
            path: "Sources/A/B.swift",
            text: """
                import One
                package import Two
                @preconcurrency import struct Three.Value
                // import Four
                let text = "import Five"
                """)
        #expect(file.imports == ["One", "Two", "Three"])
    }
}
