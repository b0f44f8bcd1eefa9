// weir-origin: a server that does as it is told, to stand behind weir in tests, drills and benches.

import Glibc

do {
    switch try CommandLineRequest(CommandLine.arguments.dropFirst()) {
    case .help:
        Console.print(CommandLineRequest.usage)
    case .serve(let options):
        try serve(options)
    }
} catch let error as UsageError {
    Console.warn("weir-origin: \(error.reason)\n\n\(CommandLineRequest.usage)")
    exit(2)
} catch {
    Console.warn("weir-origin: \(error)")
    exit(1)
}
