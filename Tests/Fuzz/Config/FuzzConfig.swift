// Fuzzes the configuration decoder: an answer for every file, and one that survives being written.

import FuzzSupport
import WeirConfig

@c(LLVMFuzzerTestOneInput)
func fuzzConfig(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = [UInt8](UnsafeBufferPointer(start: data, count: count))
    let (configuration, diagnostics) = ConfigurationParser.parse(input, file: "fuzz.yaml")
    let errors = diagnostics.count { $0.severity == .error }
    require((configuration == nil) == (errors > 0), "a configuration, or errors that say why not")
    check(diagnostics, SourceText(input))
    if let configuration { checkCanonical(configuration) }
    return 0
}

private func check(_ diagnostics: [Diagnostic], _ source: SourceText) {
    let plain = diagnostics.rendered(source: source, color: false)
    require(plain.isEmpty == diagnostics.isEmpty, "findings have a text")
    require(
        plain.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 32 && $0.value != 127 },
        "no control reaches the terminal")
    _ = diagnostics.rendered(source: source, color: true)
    _ = diagnostics.json()
    for diagnostic in diagnostics {
        require(diagnostic.line >= 1 && diagnostic.column >= 1, "places count from one")
        require(diagnostic.length >= 1, "something is underlined")
        require(!diagnostic.message.isEmpty, "a finding says something")
    }
    for (one, next) in zip(diagnostics, diagnostics.dropFirst()) {
        require(
            (one.line, one.column) <= (next.line, next.column), "findings in the file's order")
    }
}

private func checkCanonical(_ configuration: Configuration) {
    let text = configuration.canonicalYAML()
    let again = ConfigurationParser.parse(Array(text.utf8), file: "canonical.yaml")
    guard let read = again.configuration else {
        finding("broken: the canonical form is refused\n\(text)\n\(again.diagnostics)")
    }
    require(read == configuration, "the canonical form means the same\n\(text)")
    require(read.canonicalYAML() == text, "the canonical form is written the same again")
    require(
        ConfigurationDiff.lines(from: configuration, to: read) == ["no change"],
        "no difference to itself")
}
