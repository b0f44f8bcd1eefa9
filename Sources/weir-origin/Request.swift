// A request as the paths see it: small strings, since this server is not in a hurry to be clever.

import WeirHTTP

/// What was asked, copied out of the head.
struct Request {
    var method = ""
    var isHead = false
    var target = ""
    var path = ""
    var query = Query("")
    var isHTTP11 = true
    var isPersistent = true
    var expectsContinue = false
    var hasBody = false
    /// Filled in only for paths that report them.
    var fields: [(name: String, value: String)] = []
    var bodyLength = 0
    var bodyChecksum = Checksum()
    var trailers = ""

    init() {}

    init(_ head: borrowing RequestHead, bytes: UnsafeRawBufferPointer) {
        isHead = head.method == .head
        method = Self.text(head.methodName, bytes)
        path = head.path.isEmpty ? "/" : Self.text(head.path, bytes)
        query = Query(Self.text(head.query, bytes))
        isHTTP11 = head.minorVersion == 1
        isPersistent = head.isPersistent
        expectsContinue = head.expectsContinue
        hasBody = head.framing != .none
        let action = Action(path: path, query: query)
        guard action.isReport else { return }
        target = Self.text(head.target, bytes)
        fields.reserveCapacity(head.fields.count)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            fields.append((Self.text(field.name, bytes), Self.text(field.value, bytes)))
        }
    }

    private static func text(_ stretch: Stretch, _ bytes: UnsafeRawBufferPointer) -> String {
        String(decoding: bytes[Int(stretch.start)..<Int(stretch.end)], as: UTF8.self)
    }
}

/// FNV-1a of 64 bits: easily repeated by who sent the body.
struct Checksum {
    private var state: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var state = state
        for byte in bytes { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }
        self.state = state
    }

    var text: String {
        let digits = String(state, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// What a path stands for.
enum Action {
    case any, echo, upload, early, hints, trailers, close, reset, truncate, garbage
    case statistics, change
    case interim(count: Int)
    case bytes(count: Int)
    case status(Int)
    case delay(text: Substring)
    case events

    init(path: String, query: Query) {
        let parts = path.split(separator: "/", maxSplits: 2)
        let argument = parts.count > 1 ? parts[1] : ""
        switch parts.first ?? "" {
        case "echo": self = .echo
        case "upload": self = .upload
        case "early": self = .early
        case "hints": self = .hints
        case "trailers": self = .trailers
        case "close": self = .close
        case "reset": self = .reset
        case "truncate": self = .truncate
        case "garbage": self = .garbage
        case "__stats": self = .statistics
        case "__set": self = .change
        case "sse": self = .events
        case "continue": self = .interim(count: min(max(query.number("n") ?? 1, 0), 100))
        case "bytes": self = .bytes(count: max(Int(argument) ?? 0, 0))
        case "status": self = .status(min(max(Int(argument) ?? 200, 200), 599))
        case "delay": self = .delay(text: argument)
        default: self = .any
        }
    }

    /// The answer names what was received.
    var isReport: Bool {
        switch self {
        case .any, .echo: true
        default: false
        }
    }

    /// Answered at once, whatever the settings: a drill must stay able to look and to undo.
    var isControl: Bool {
        switch self {
        case .statistics, .change: true
        default: false
        }
    }
}
