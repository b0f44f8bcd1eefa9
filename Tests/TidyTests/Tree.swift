// The repository as these tests see it: its files, and what a Swift file says without its comments.

import Foundation

/// One text file of the repository.
struct TreeFile: Sendable, CustomStringConvertible {
    /// From the top of the repository: `Sources/WeirTime/Instant.swift`.
    var path: String
    var text: String

    var description: String { path }
    var name: String { String(path.split(separator: "/").last ?? "") }
    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var isSwift: Bool { path.hasSuffix(".swift") }

    /// The text with comments and the insides of string literals blanked; lines stay lines.
    var code: String { SwiftText.withoutWords(text) }
}

/// What lies in a folder of the repository.
enum Tree {
    static let top = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Swift, Python, C and shell files of the program and of its tests.
    static let sources = files(in: "Sources")
    static let tests = files(in: "Tests")

    private static let kinds: Set = ["swift", "py", "c", "h", "sh"]

    static func read(_ path: String) -> String? {
        try? String(contentsOf: top.appending(path: path), encoding: .utf8)
    }

    static func folders(in path: String) -> [String] {
        let entries = try? FileManager.default.contentsOfDirectory(
            at: top.appending(path: path), includingPropertiesForKeys: [.isDirectoryKey])
        return (entries ?? []).filter(\.hasDirectoryPath).map(\.lastPathComponent).sorted()
    }

    private static func files(in folder: String) -> [TreeFile] {
        let walker = FileManager.default.enumerator(
            at: top.appending(path: folder), includingPropertiesForKeys: nil,
            options: .skipsHiddenFiles)
        let prefix = top.path(percentEncoded: false)
        var found: [TreeFile] = []
        while let file = walker?.nextObject() as? URL {
            guard kinds.contains(file.pathExtension) else { continue }
            let path = String(file.path(percentEncoded: false).dropFirst(prefix.count))
            if let text = read(path) { found.append(TreeFile(path: path, text: text)) }
        }
        return found.sorted { $0.path < $1.path }
    }

    /// The paths that git keeps; nothing outside a clone.
    static func tracked() throws -> [String] {
        let git = Process()
        git.executableURL = URL(filePath: "/usr/bin/env")
        git.arguments = ["git", "-C", top.path(percentEncoded: false), "ls-files", "-z"]
        let pipe = Pipe()
        git.standardOutput = pipe
        git.standardError = FileHandle.nullDevice
        try git.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        git.waitUntilExit()
        return String(decoding: output, as: UTF8.self).split(separator: "\0").map(String.init)
    }
}

/// Every place where `pattern` matches, as `path:line`.
func places(
    of pattern: Regex<AnyRegexOutput>, in files: [TreeFile],
    text: (TreeFile) -> String = \.code
) -> [String] {
    files.flatMap { file in
        text(file).split(separator: "\n", omittingEmptySubsequences: false).enumerated()
            .filter { $0.element.contains(pattern) }
            .map { "\(file.path):\($0.offset + 1): \($0.element.trimmingPrefix { $0 == " " })" }
    }
}
