// What the configuration names but does not hold: read with it, and part of the same transaction.

import WeirConfig
import WeirNet

/// Why a file cannot be used, with its place.
struct FileFailure: Error, CustomStringConvertible {
    let description: String
}

/// The files of one configuration.
struct ReferencedFiles: Equatable {
    var tenants = TenantFile()
    var tokens = TokenKeys()
    var tls = TLSFiles()

    /// Reads the files that a configuration names.
    static func read(
        for configuration: Configuration, tickets: TLSTicketKeys
    ) throws(FileFailure) -> ReferencedFiles {
        ReferencedFiles(
            tenants: try TenantFile.read(for: configuration),
            tokens: try TokenKeys.read(for: configuration),
            tls: try TLSFiles.read(for: configuration, tickets: tickets))
    }

    /// The files that are watched: a change of one is a reload.
    static func watched(by configuration: Configuration) -> Set<String> {
        var paths = Set(TLSFiles.paths(of: configuration))
        if case .file(let path) = configuration.tenants?.assignments { paths.insert(path) }
        return paths
    }

    /// What differs from `old`, in the words that the operator is answered with.
    func changes(since old: ReferencedFiles) -> [String] {
        var lines: [String] = []
        if tenants != old.tenants { lines.append("tenants: the assignments file has changed") }
        if tokens != old.tokens { lines.append("tenants: a token's key file has changed") }
        return lines + tls.changes(since: old.tls)
    }
}
