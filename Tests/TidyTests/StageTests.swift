// The stages of a request: the phases of the exchange and the folders of the data plane agree.

import Testing

@Suite struct StageTests {
    private static let stages = [
        "Accept", "Decode", "FindRoute", "Govern", "PickEndpoint", "Pool", "Relay", "Report",
    ]

    /// The cases of `Exchange.Phase`, in order.
    private static var phases: [String] {
        let code = Tree.sources.first { $0.path == "Sources/WeirProxy/Exchange.swift" }?.code ?? ""
        guard let body = code.firstMatch(of: /enum Phase\b[^{]*\{([^}]*)\}/)?.1 else { return [] }
        return body.matches(of: /case\s+([\w,\s]+?)(?=\n|$)/).flatMap { match in
            match.1.split { $0 == "," || $0.isWhitespace }.map(String.init)
        }
    }

    @Test func `the phases are the stages, in order`() {
        #expect(Self.phases.map { $0.prefix(1).uppercased() + $0.dropFirst() } == Self.stages)
    }

    @Test func `the folders of the data plane are the stages`() {
        #expect(Tree.folders(in: "Sources/WeirProxy") == Self.stages.sorted())
    }

    @Test(arguments: stages)
    func `a stage has something to show`(stage: String) {
        #expect(Tree.sources.contains { $0.path.hasPrefix("Sources/WeirProxy/\(stage)/") })
    }
}
