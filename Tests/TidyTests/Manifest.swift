// What Package.swift declares: each target of Sources and what it may import.

/// Read as text: the package description cannot be loaded from within a test.
struct Manifest {
    /// Target names to the names of their dependencies.
    private(set) var dependencies: [String: Set<String>] = [:]

    init(_ text: String) {
        // Names are literals, so they are read from the text with comments still in it.
        for match in text.matches(of: /layer\(\s*"([^"]+)",\s*\[([^\]]*)\]/) {
            dependencies[String(match.1)] = Self.names(match.2)
        }
        // Those with a path are elsewhere.
        let executable =
            /\.executableTarget\(\s*name: "([^"]+)",\s*dependencies: \[([^\]]*)\](,\s*path:)?/
        for match in text.matches(of: executable)
        where match.3 == nil && !match.1.contains("\\(") {
            dependencies[String(match.1)] = Self.names(match.2)
        }
        for match in text.matches(of: /\.(?:target|systemLibrary)\(\s*name: "(C[^"]+)"/) {
            dependencies[String(match.1)] = []
        }
    }

    private static func names(_ list: Substring) -> Set<String> {
        Set(list.matches(of: /"([^"]+)"/).map { String($0.1) })
    }
}

extension TreeFile {
    /// The target of a file below `Sources`.
    var target: String { String(path.split(separator: "/")[1]) }

    /// The modules it imports, submodules without their parents.
    var imports: Set<String> {
        let line =
            /^\s*(?:@\w+\s+)*(?:(?:public|package|internal|private|fileprivate)\s+)?import\s+(?:(?:struct|class|enum|protocol|typealias|func|let|var)\s+)?(\w+)/
        return Set(
            code.split(separator: "\n").compactMap { $0.firstMatch(of: line).map { String($0.1) } })
    }
}
