// What concerns the whole process.

import WeirTime

enum RuntimeSection {
    static let workers = Key(
        "workers", workersKind, default: "auto", reload: .restart,
        "Worker threads, each with its own event loop. auto is one a core.")
    static let drainTimeout = Key(
        "drain_timeout", .duration(.zero ... .seconds(86400)), default: "30s",
        "How long requests in progress may take to end when weir stops.")
    static let maxConnections = Key(
        "max_connections", .integer(1...10_000_000), default: "50000",
        "Downstream connections in the whole process. Beyond it new ones are refused.")
    static let bufferMemory = Key(
        "buffer_memory", .byteCount(1 << 20...1 << 40), default: "256MiB",
        "Memory for buffers in the whole process. Beyond it new requests are refused.")
    static let accessLog = Key(
        "access_log", .section(AccessLogSection.decode), default: "none",
        "One line a request. Without it there is no access log.")

    static let user = Key(
        "user", .name, default: "none", reload: .restart,
        "The user that weir becomes once its listeners are bound, when it is started as root. It "
            + "keeps the right to bind ports below 1024 and no other; it must be able to read what "
            + "the file names, and to write the log.")
    static let zone = Key(
        "zone", .name, default: "none",
        "Where this process runs: endpoints of the same zone are preferred.")
    static let reasonHeader = Key(
        "reason_header", .orOff(.endToEndField), default: "x-weir-reason",
        "The response field that carries the code of weir's own refusals.")

    static let section = Section(
        "runtime", at: "runtime", "What concerns the whole process.",
        example: """
            runtime:
              workers: auto
              drain_timeout: 30s
              access_log: { path: /dev/stdout }
            """,
        keys: [
            workers.entry, drainTimeout.entry, maxConnections.entry, bufferMemory.entry,
            accessLog.entry, user.entry, zone.entry, reasonHeader.entry,
            .later("tracing", "spans over OTLP"),
        ])

    /// The number, or nothing for `auto`.
    private static let workersKind = Kind<Int?>(type: "number or auto", bounds: "1 to 64") {
        node, report in
        if node.text == "auto" { return .some(nil) }
        return Kind<Int>.integer(1...64).read(node, report).map { .some($0) }
    }

    static func decode(_ node: YAMLNode, _ report: Report) -> Runtime? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var runtime = Runtime()
        reader.read(workers, into: &runtime.workers)
        reader.read(drainTimeout, into: &runtime.drainTimeout)
        reader.read(maxConnections, into: &runtime.maxConnections)
        reader.read(bufferMemory, into: &runtime.bufferMemory)
        runtime.accessLog = reader.read(accessLog)
        runtime.user = reader.read(user)
        runtime.zone = reader.read(zone)
        if let header = reader.read(reasonHeader) { runtime.reasonHeader = header.value }
        return runtime
    }
}

enum AccessLogSection {
    static let path = Key(
        "path", .filePath, required: true,
        "The file that lines are appended to; /dev/stdout and /dev/stderr work.")
    static let format = Key(
        "format", .word([("json", true)]), default: "json", "One JSON object a line.")
    static let sample = Key(
        "sample", .share, default: "1.0",
        "The share of requests that are logged. What weir itself refused is always logged.")

    static let section = Section(
        "access_log", at: "runtime.access_log", "Where the access log goes.",
        example: """
            runtime:
              access_log: { path: /var/log/weir/access.ndjson, format: json, sample: 0.1 }
            """,
        keys: [path.entry, format.entry, sample.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Runtime.AccessLog? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        _ = reader.read(format)
        let sample = reader.read(sample)
        guard let path = reader.read(path) else { return nil }
        var log = Runtime.AccessLog(path: path)
        if let sample { log.sample = sample }
        return log
    }
}
