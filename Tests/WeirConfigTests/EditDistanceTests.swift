// "Did you mean" must help and must not guess wildly.

import Testing
import WeirConfig

@Suite struct EditDistanceTests {
    @Test(arguments: [
        ("", "", 0), ("abc", "", 3), ("", "abc", 3), ("timeout", "timeout", 0),
        ("time_out", "timeout", 1), ("tiemout", "timeout", 1), ("timeot", "timeout", 1),
        ("timoeutt", "timeout", 2), ("kitten", "sitting", 3), ("route", "cluster", 4),
    ])
    func `counts edits`(a: String, b: String, distance: Int) {
        #expect(EditDistance.between(a, b) == distance)
        #expect(EditDistance.between(b, a) == distance)
    }

    @Test func `the nearest word wins, the first among equals`() {
        let words = ["path_prefix", "path", "timeout"]
        #expect(EditDistance.nearest(to: "pathprefix", among: words)?.word == "path_prefix")
        #expect(EditDistance.nearest(to: "Path", among: words)?.word == "path")
        #expect(EditDistance.nearest(to: "ab", among: ["ac", "ad"])?.word == "ac")
    }

    @Test func `a word that is mostly different is not suggested`() {
        #expect(EditDistance.nearest(to: "colour", among: ["cluster", "routes"]) == nil)
        #expect(EditDistance.nearest(to: "x", among: ["s"]) == nil)
        #expect(EditDistance.nearest(to: "", among: ["a"]) == nil)
        let long = String(repeating: "a", count: 1000)
        #expect(EditDistance.nearest(to: long, among: [long]) == nil)
    }
}
