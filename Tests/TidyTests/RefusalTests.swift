// The words of refusal: each is explained to operators, spelled as it is sent.

import Testing

@Suite struct RefusalTests {
    /// Cases and their codes, from the source: its module is none of this one's dependencies.
    private static let spelled: [(name: String, code: String)] = {
        let text = Tree.read("Sources/WeirPolicy/Refusal.swift") ?? ""
        return text.matches(of: /case \.(\w+): "([^"]+)"/).map { (String($0.1), String($0.2)) }
    }()

    private static let cases: [String] = {
        let text = Tree.read("Sources/WeirPolicy/Refusal.swift") ?? ""
        return text.matches(of: /(?m)^    case (\w+)$/).map { String($0.1) }
    }()

    /// The codes of the table whose first column holds them: "| `bad_request` | ...".
    private static let documented: [String] = {
        let text = Tree.read("docs/operating.md") ?? ""
        return text.matches(of: /(?m)^\|\s*`([a-z][a-z0-9_]*)`\s*\|/).map { String($0.1) }
    }()

    @Test func `every refusal has one code, its name in snake case`() {
        #expect(!Self.cases.isEmpty)
        #expect(Self.spelled.map(\.name) == Self.cases)
        for (name, code) in Self.spelled {
            let words = name.replacing(/[A-Z]/) { "_" + $0.output.lowercased() }
            #expect(code == words)
        }
    }

    @Test func `every refusal is explained in docs/operating.md`() throws {
        try #require(Tree.read("docs/operating.md") != nil, "docs/operating.md is missing")
        let missing = Set(Self.spelled.map(\.code)).subtracting(Self.documented)
        #expect(missing.sorted() == [])
    }
}
