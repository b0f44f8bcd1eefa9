// The shape of files: how long, how wide, how they begin, and what never stands in them.

import Testing

@Suite struct ShapeTests {
    @Test(arguments: Tree.sources + Tree.tests)
    func `a file has at most 500 lines`(file: TreeFile) {
        // A last newline ends the last line, it does not begin one.
        let lines = file.lines.count - (file.text.hasSuffix("\n") ? 1 : 0)
        #expect(lines <= 500, "\(file) has \(lines)")
    }

    @Test(arguments: Tree.sources.filter(\.isSwift))
    func `a line of Swift has at most 100 columns`(file: TreeFile) {
        let wide = file.lines.enumerated().filter { $0.element.count > 100 }
        #expect(wide.map { $0.offset + 1 } == [], "\(file)")
    }

    @Test(arguments: Tree.sources)
    func `a source file begins with a sentence about itself`(file: TreeFile) {
        let first = file.lines.first.map(String.init) ?? ""
        #expect(first.wholeMatch(of: /\/\/ \S.{10,}/) != nil, "\(file): \(first)")
    }

    @Test func `policies have no clock and no chance of their own`() throws {
        let forbidden = try Regex(
            #"clock_gettime|gettimeofday|ContinuousClock|SuspendingClock|\bDate\(|\btime\(nil|"#
                + #"\.random\b|\.shuffle|\brandomElement\b|SystemRandom|getrandom|\bdrand48|\brand\("#
        )
        let policy = Tree.sources.filter { $0.path.hasPrefix("Sources/WeirPolicy/") }
        #expect(!policy.isEmpty)
        #expect(places(of: forbidden, in: policy) == [])
    }

    @Test func `nothing gives up by trapping on what may be missing`() throws {
        // `value!`, `call()!`, `list[0]!`, but neither `!=` nor a leading `!`.
        let forbidden = try Regex(#"[\w)\]?]!(?!=)|\btry!|\bas!|\bfatalError\("#)
        #expect(places(of: forbidden, in: Tree.sources.filter(\.isSwift)) == [])
    }

    @Test func `nothing is left for later`() throws {
        let forbidden = try Regex(#"\b(TODO|FIXME|XXX)\b"#)
        #expect(places(of: forbidden, in: Tree.sources, text: \.text) == [])
    }

    @Test func `no file speaks of the machine it was written on`() throws {
        let folders = ["work", "tmp/wt", "root", "home"].map { "/\($0)/" }
        let tracked = try Tree.tracked()
        #expect(tracked.contains("Package.swift"), "not a clone of the repository")
        let found = tracked.filter { path in
            guard let text = Tree.read(path) else { return false }
            return folders.contains { text.contains($0) }
        }
        #expect(found == [])
    }

    @Test func `tells code from words`() {
        let code = SwiftText.withoutWords(
            ##"""
            let a = b! // c!
            /* d! /* e! */ f! */ let g = "h! \(i!) \" j!" + #"k! " \(l!) \#(m!)"# + n!
            """##)
        for letter in ["b", "i", "m", "n"] { #expect(code.contains("\(letter)!"), "\(letter)") }
        for letter in ["c", "d", "e", "f", "h", "j", "k", "l"] {
            #expect(!code.contains("\(letter)!"), "\(letter)")
        }
    }
}
