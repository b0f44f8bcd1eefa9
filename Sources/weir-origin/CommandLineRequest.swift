// The command line, read into options or refused with a reason.

import WeirNet

/// A command line that cannot be understood.
struct UsageError: Error {
    let reason: String
}

/// What to serve.
struct Options: Sendable {
    var ports: [UInt16] = []
    var address = IPAddress(v4: 0x7F00_0001)
    var name = "origin"
    var workers = 1
    var seed: UInt64 = 1
    /// How each port behaves until `/__set` changes it.
    var settings = Settings()
}

/// What the command line asks for.
enum CommandLineRequest {
    case help
    case serve(Options)

    static let usage = """
        usage: weir-origin --port N [--port N ...] [options]

          --port N             listen here; 0 takes a free port (repeat for several origins)
          --address IP         listen on this address (127.0.0.1)
          --name NAME          what answers call this origin (origin)
          --workers N          threads (1)
          --seed N             decides jitter, failures and service times (1)

        Behaviour, which POST /__set?key=value changes while it runs (each port has its own):
          --delay 20ms         wait before each answer
          --jitter 5ms         wait up to so much more
          --status N           answer with this status
          --fail-percent P     answer this share of requests with 500
          --concurrency N      serve at most N requests at once, the others queue (0: no limit)
          --service-time 10ms  how long a request is in service
          --service-law LAW    fixed, or exp for exponentially distributed service times

        Paths:
          /any                 what was received, as text; /echo the same as JSON with a checksum
          /bytes/N             N bytes; ?chunked=1, ?rate=BYTES_PER_SECOND
          /status/N /delay/MS  an answer with this status, or after so long
          /sse?n=5&every=100ms server-sent events
          /upload              counts and checksums (FNV-1a) the body
          /trailers /hints     chunked with trailers; 103 before the answer
          /continue?n=1        100 before the answer, n times
          /early               answers before the body is read; ?close=1 without reading it
          /close /reset        end the connection without an answer, cleanly or not
          /truncate /garbage   end it amid the body; answer with what is not HTTP
          /__stats /__set      counts as JSON; change the behaviour
        On every path: ?delay= &jitter= &status= &fail_percent= &close=1 (announced) &drop=1 (not)
        """

    init(_ arguments: ArraySlice<String>) throws(UsageError) {
        var options = Options()
        var rest = arguments
        while let flag = rest.popFirst() {
            if flag == "--help" || flag == "-h" || flag == "help" {
                self = .help
                return
            }
            guard flag.hasPrefix("--"), let value = rest.popFirst() else {
                throw UsageError(reason: "unexpected, or without its value: \(flag)")
            }
            guard try options.take(flag, value) else {
                throw UsageError(reason: "\(flag) cannot be \(value)")
            }
        }
        guard !options.ports.isEmpty else { throw UsageError(reason: "no --port") }
        self = .serve(options)
    }
}

extension Options {
    /// `false` when the flag cannot have this value.
    fileprivate mutating func take(_ flag: String, _ value: String) throws(UsageError) -> Bool {
        switch flag {
        case "--port":
            guard let port = UInt16(value) else { return false }
            ports.append(port)
        case "--address":
            guard let parsed = IPAddress(value) else { return false }
            address = parsed
        case "--name":
            let isPlain = value.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "\"") }
            guard isPlain, !value.isEmpty else { return false }
            name = value
        case "--workers":
            guard let count = Int(value), (1...64).contains(count) else { return false }
            workers = count
        case "--seed":
            guard let number = UInt64(value) else { return false }
            seed = number
        default:
            let key = String(flag.dropFirst(2).map { $0 == "-" ? "_" : $0 })
            switch settings.set(key, to: value) {
            case .done: break
            case .badValue: return false
            case .unknownKey: throw UsageError(reason: "unknown option \(flag)")
            }
        }
        return true
    }
}
