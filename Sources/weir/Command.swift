// The verbs and their texts.

import WeirServer

/// The command line.
enum Command {
    private static let refused: Int32 = 1
    private static let wrongUsage: Int32 = 2

    private static let overview = """
        weir governs the traffic between clients and your services.

        usage: weir VERB [ARGUMENTS]

          run FILE             serve the configuration in FILE
          check [--json] FILE  say what is wrong with FILE, without touching the network
          simulate ...         run the governors against a named workload, in virtual time
          version              print the version
          help [VERB]          print this text, or more on one verb;
                               `weir help config` prints the configuration reference

        exit codes: 0 ok, 1 the configuration is refused, 2 wrong usage

        """

    private static let runHelp = """
        usage: weir run FILE

        Serves the configuration in FILE until SIGTERM or SIGINT, which let requests under way end
        within runtime.drain_timeout; a second one ends at once.

        FILE is watched: when it changes, or on SIGHUP or POST /reload, it is read again. If
        anything is wrong with it, everything that is wrong is logged, and the running
        configuration stays. SIGUSR1 reopens the access log.

        Logs go to stderr: for people on a terminal, as JSON lines otherwise.

        exit codes: 0 stopped, 1 the configuration is refused or a listener cannot be opened,
        2 wrong usage

        """

    private static let checkHelp = """
        usage: weir check [--json] FILE

        Reads FILE and prints everything that is wrong with it, each with its place, what was
        expected and the nearest valid name. Warnings do not make it fail. Opens no other file and
        no connection. With --json the findings are a JSON array on stdout.

        exit codes: 0 valid, 1 refused, 2 wrong usage

        """

    /// Runs the verb that `arguments` name and returns the exit code.
    static func run(_ arguments: [String]) -> Int32 {
        let rest = Array(arguments.dropFirst())
        switch arguments.first {
        case "run":
            guard rest.count == 1, !rest[0].hasPrefix("-") else { return misuse(runHelp) }
            return Commands.run(file: rest[0])
        case "check":
            let files = rest.filter { $0 != "--json" }
            guard files.count == 1, !files[0].hasPrefix("-") else { return misuse(checkHelp) }
            return Commands.check(file: files[0], asJSON: rest.contains("--json"))
        case "simulate": return SimulateVerb.run(rest) ?? misuse(SimulateVerb.help)
        case "version", "--version":
            return rest.isEmpty ? show(Commands.version + "\n") : misuse(overview)
        case "help", "--help", "-h": return help(rest)
        case nil: return misuse(overview)
        case let verb?:
            return misuse("weir: there is no verb '\(verb)'\n\n" + overview)
        }
    }

    private static func help(_ arguments: [String]) -> Int32 {
        switch arguments.first {
        case nil: show(overview)
        case "run": show(runHelp)
        case "check": show(checkHelp)
        case "simulate": show(SimulateVerb.help)
        case "config": show(Commands.reference)
        case "version": show("usage: weir version\n\nPrints the version.\n")
        case "help": show("usage: weir help [VERB]\n\nPrints help.\n")
        case let verb?: misuse("weir: there is no verb '\(verb)'\n\n" + overview)
        }
    }

    private static func show(_ text: String) -> Int32 {
        Terminal.write(text, to: 1)
        return 0
    }

    private static func misuse(_ text: String) -> Int32 {
        Terminal.write(text)
        return wrongUsage
    }
}
