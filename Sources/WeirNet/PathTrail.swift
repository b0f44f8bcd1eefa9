// Every directory entry that decides what a path means, symbolic links included.

import Glibc

/// The way from `/` to a file: whoever changes one of its steps changes what the path leads to.
struct PathTrail: Equatable {
    /// Directory -> names looked up in it. Directories are free of symbolic links.
    private(set) var steps: [String: Set<String>] = [:]
    /// The file at the end, free of symbolic links; it need not exist.
    private(set) var end = ""

    /// As many links in a row as the kernel follows.
    private static let maxLinks = 40

    /// Follows `path`, which is taken as relative to the working directory unless it begins at `/`.
    init(following path: String) {
        var pending = Self.parts(path)
        if !path.hasPrefix("/") { pending += Self.parts(Self.workingDirectory()) }
        var resolved: [Substring] = []
        var links = 0
        while let part = pending.popLast() {
            if part == "." { continue }
            if part == ".." {
                _ = resolved.popLast()
                continue
            }
            let directory = "/" + resolved.joined(separator: "/")
            steps[directory, default: []].insert(String(part))
            let entry = resolved.isEmpty ? "/\(part)" : "\(directory)/\(part)"
            guard links < Self.maxLinks, let target = Self.link(at: entry) else {
                resolved.append(part)
                continue
            }
            links += 1
            if target.hasPrefix("/") { resolved = [] }
            pending += Self.parts(target)
        }
        end = "/" + resolved.joined(separator: "/")
    }

    /// The components of a path, last first.
    private static func parts(_ path: String) -> [Substring] {
        path.split(separator: "/").reversed()
    }

    private static func workingDirectory() -> String {
        text { getcwd($0, $1) == nil ? -1 : strnlen($0, $1) } ?? "/"
    }

    private static func link(at path: String) -> String? { text { readlink(path, $0, $1) } }

    private static func text(
        _ fill: (_ memory: UnsafeMutablePointer<CChar>, _ size: Int) -> Int
    ) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let length = fill(base, buffer.count)
            guard length > 0, length <= buffer.count else { return nil }
            return String(decoding: UnsafeRawBufferPointer(buffer).prefix(length), as: UTF8.self)
        }
    }
}
