// A reload is a transaction with an answer: all of it, or nothing and the reason.

import Glibc
import WeirAdmin
import WeirConfig
import WeirNet
import WeirTelemetry

/// How a reload ended.
package struct ReloadResult: Sendable {
    package var isSuccess: Bool
    /// What asked for it.
    package var trigger: String
    /// The differences, or everything that is wrong.
    package var lines: [String]
    /// Unix seconds.
    package var at: Int64
    /// The diagnostics as a JSON array, where there are any.
    package var diagnosticsJSON: String?
}

/// A file that was read and checked.
struct Candidate {
    var configuration: Configuration
    /// Findings that do not make the file invalid, for people and as JSON.
    var warnings: [String]
    var json: String

    enum Reading {
        case accepted(Candidate)
        /// The diagnostics for people, and as JSON.
        case refused(text: String, json: String?)

        func orRefuse() throws(StartFailure) -> Candidate {
            switch self {
            case .accepted(let candidate): return candidate
            case .refused(let text, _): throw .configuration(text)
            }
        }
    }

    /// Larger files are refused before they are read.
    private static let maxBytes = 16 << 20

    static func read(_ file: String) -> Reading {
        switch FileBytes.read(file, maxBytes: maxBytes) {
        case .failure(let error):
            return .refused(text: "\(file): \(error)", json: nil)
        case .success(let bytes):
            let (configuration, diagnostics) = ConfigurationParser.parse(bytes, file: file)
            let source = SourceText(bytes)
            guard let configuration else {
                return .refused(
                    text: diagnostics.rendered(source: source, color: false),
                    json: diagnostics.json())
            }
            return .accepted(
                Candidate(
                    configuration: configuration,
                    warnings: diagnostics.map { $0.render(source: source, color: false) },
                    json: diagnostics.json()))
        }
    }
}

extension Server {
    /// Reads the file again and makes it the configuration in use, or leaves everything as it is.
    @discardableResult
    func reload(trigger: String) -> ReloadResult {
        var result = attemptReload()
        result.trigger = trigger
        result.at = loop.wallClock.unixNanoseconds(loop.now) / 1_000_000_000
        lastReload = result
        if result.isSuccess { reloadsSucceeded += 1 } else { reloadsRefused += 1 }
        if result.isSuccess {
            ProcessLog.info(
                "reloaded",
                [
                    "trigger": trigger, "generation": "\(generation)",
                    "changes": result.lines.joined(separator: "; "),
                ])
        } else {
            ProcessLog.error(
                "the reload is refused; the running configuration stays",
                [
                    "trigger": trigger, "generation": "\(generation)",
                    "reason": result.lines.joined(separator: "\n"),
                ])
        }
        return result
    }

    private func attemptReload() -> ReloadResult {
        guard !isDraining else { return Self.refused("weir is shutting down") }
        let candidate: Candidate
        switch Candidate.read(file) {
        case .refused(let text, let json):
            var result = Self.refused(text)
            result.diagnosticsJSON = json
            return result
        case .accepted(let accepted): candidate = accepted
        }
        let adopted = candidate.configuration
        let read: ReferencedFiles
        do {
            read = try ReferencedFiles.read(for: adopted, tickets: tickets)
        } catch {
            return Self.refused("\(error)")
        }
        var changes = ConfigurationDiff.lines(from: configuration, to: adopted)
        guard adopted != configuration || read != files else {
            return rereadToken(adopted, changes)
        }
        if adopted == configuration { changes = read.changes(since: files) }
        // All that can fail comes first.
        let pending: ListenerSockets.Pending
        do {
            pending = try sockets.open(adopted.listeners)
        } catch {
            return Self.refused("\(error)")
        }
        let binding: AdminBinding?
        do {
            binding = try prepareAdmin(adopted)
        } catch {
            sockets.discard(pending)
            return Self.refused("\(error)")
        }
        do {
            try openLog(adopted)
        } catch {
            sockets.discard(pending)
            if let binding, binding.server !== admin?.server { binding.server.stop() }
            return Self.refused("the access log cannot be written: \(error)")
        }
        names?.prepare(NameDirectory.names(adopted))
        sockets.commit(pending, adopted.listeners)
        if let admin, binding?.server !== admin.server { admin.server.stop() }
        admin = binding
        binding?.server.setToken(binding?.token)
        adopt(adopted, read)
        return ReloadResult(
            isSuccess: true, trigger: "", lines: changes + candidate.warnings, at: 0)
    }

    /// A configuration that stays the same may name a token that does not.
    private func rereadToken(_ adopted: Configuration, _ changes: [String]) -> ReloadResult {
        do {
            // Where no admin listener is open yet, none is opened here.
            if admin != nil, let binding = try prepareAdmin(adopted) {
                admin = binding
                binding.server.setToken(binding.token)
            }
            return ReloadResult(isSuccess: true, trigger: "", lines: changes, at: 0)
        } catch {
            return Self.refused("\(error)")
        }
    }

    private static func refused(_ text: String) -> ReloadResult {
        ReloadResult(isSuccess: false, trigger: "", lines: [text], at: 0)
    }
}
