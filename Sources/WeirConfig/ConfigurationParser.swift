// The way in: bytes to a configuration, or to everything that is wrong with them.

/// Reads configuration files. Opens nothing: files and names in the configuration are not touched.
package enum ConfigurationParser {
    /// All diagnostics at once, in the order of the file; a configuration only when none of them
    /// is an error.
    ///
    /// `file` is what diagnostics call the source.
    package static func parse(
        _ bytes: [UInt8], file: String
    ) -> (configuration: Configuration?, diagnostics: [Diagnostic]) {
        let report = Report(file: file)
        let configuration = decode(bytes, report)
        return (report.hasErrors ? nil : configuration, report.sorted())
    }

    private static func decode(_ bytes: [UInt8], _ report: Report) -> Configuration? {
        let root = YAMLReader.read(bytes, report)
        // A tree with holes would cause findings that are not the author's fault.
        if report.hasErrors { return nil }
        guard let root, !root.isNothing else {
            report.error(
                .missingKey, at: SourceRange(line: 1, column: 1), "the file is empty",
                help: "it needs at least: version, listeners, routes")
            return nil
        }
        let configuration = RootSection.decode(root, report)
        NameChecks.run(report)
        // Lints judge what the file means, which is known only when it has no errors.
        if let configuration, !report.hasErrors { Lints.run(configuration, report) }
        return configuration
    }
}
