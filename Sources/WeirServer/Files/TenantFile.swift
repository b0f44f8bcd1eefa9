// The file that says which tenant has which plan: `key,plan` a line.

import WeirConfig
import WeirNet

/// A read assignments file.
struct TenantFile: Equatable {
    /// Larger files are refused before they are read whole.
    private static let maxBytes = 256 << 20

    /// Keys as they are sent, and the names of their plans.
    var assignments: [(key: [UInt8], plan: String)] = []

    static func == (a: TenantFile, b: TenantFile) -> Bool {
        a.assignments.elementsEqual(b.assignments) { $0.key == $1.key && $0.plan == $1.plan }
    }

    /// The file that a configuration names; an empty one where it names none.
    static func read(for configuration: Configuration) throws(FileFailure) -> TenantFile {
        guard let tenants = configuration.tenants, case .file(let path) = tenants.assignments
        else { return TenantFile() }
        return try read(path, plans: tenants.plans.map(\.name))
    }

    static func read(_ path: String, plans: [String]) throws(FileFailure) -> TenantFile {
        switch FileBytes.read(path, maxBytes: maxBytes) {
        case .failure(let error):
            throw FileFailure(description: "tenants.assignments.file '\(path)': \(error)")
        case .success(let bytes):
            return try parse(bytes, path: path, plans: plans)
        }
    }

    /// Reads lines of `key,plan`. Empty lines and those that begin with `#` say nothing; a key may
    /// hold anything but a comma and a line's end.
    static func parse(
        _ bytes: [UInt8], path: String, plans: [String]
    ) throws(FileFailure) -> TenantFile {
        var file = TenantFile()
        let known = Set(plans)
        var seen: Set<[UInt8]> = []
        var number = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let text = trimmed(line)
            guard let first = text.first, first != UInt8(ascii: "#") else { continue }
            guard let comma = text.lastIndex(of: UInt8(ascii: ",")) else {
                throw FileFailure(
                    description: "\(path):\(number):1: error: expected key,plan; found no comma")
            }
            let key = Array(trimmed(text[..<comma]))
            let plan = String(decoding: trimmed(text[(comma + 1)...]), as: UTF8.self)
            guard !key.isEmpty else {
                throw FileFailure(description: "\(path):\(number):1: error: the key is empty")
            }
            guard known.contains(plan) else {
                let column = text.distance(from: text.startIndex, to: comma) + 2
                throw FileFailure(
                    description: "\(path):\(number):\(column): error: there is no plan '\(plan)'; "
                        + "plans: \(plans.joined(separator: ", "))")
            }
            guard seen.insert(key).inserted else {
                throw FileFailure(
                    description: "\(path):\(number):1: error: the key "
                        + "'\(String(decoding: key, as: UTF8.self))' has a plan already")
            }
            file.assignments.append((key, plan))
        }
        return file
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
        var bytes = bytes
        while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }
}
