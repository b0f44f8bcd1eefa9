// What the verbs of the command do, apart from reading their arguments.

package import WeirConfig
import WeirTelemetry

/// The verbs `run` and `check`.
package enum Commands {
    /// Serves the configuration in `file` until a signal ends it; returns the exit code.
    package static func run(file: String) -> Int32 {
        do {
            try Server(file: file).run()
            return 0
        } catch {
            switch error {
            // Diagnostics are made for reading: they go out as they are, not as a log line.
            case .configuration(let text): Terminal.write(text)
            case .system(let text): ProcessLog.error(text)
            }
            return 1
        }
    }

    /// Checks the configuration in `file` and says what is wrong with it; returns the exit code.
    package static func check(file: String, asJSON: Bool) -> Int32 {
        switch Candidate.read(file) {
        case .accepted(let candidate):
            if asJSON {
                Terminal.write(candidate.json, to: 1)
            } else {
                for warning in candidate.warnings { Terminal.write(warning) }
                Terminal.write("\(file): ok\n", to: 1)
            }
            return 0
        case .refused(let text, let json):
            if asJSON, let json { Terminal.write(json, to: 1) } else { Terminal.write(text) }
            return 1
        }
    }

    /// The configuration in `file`; `nil` when it is refused, which has been said then.
    package static func configuration(file: String) -> Configuration? {
        switch Candidate.read(file) {
        case .accepted(let candidate): return candidate.configuration
        case .refused(let text, _):
            Terminal.write(text)
            return nil
        }
    }

    /// The version's line.
    package static var version: String { "weir \(Server.version)" }

    /// The configuration reference as Markdown.
    package static var reference: String { ConfigurationReference.markdown() }
}
