// The log writer against files, FIFOs that nobody reads, and outputs that fail.

import Foundation
import Testing
import WeirTelemetry
import WeirTime

/// A directory that goes when this goes.
private final class Scratch {
    let path: String

    init() {
        var template = Array((NSTemporaryDirectory() + "/weir-log-XXXXXX").utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? ""
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}

private func record(_ generation: UInt64) -> AccessRecord {
    var record = AccessRecord()
    record.generation = generation
    return record
}

private func lines(_ path: String) -> [String] {
    let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
}

private func generations(_ lines: [String]) throws -> [UInt64] {
    try lines.map { line in
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        return try #require(object?["generation"] as? UInt64)
    }
}

struct LogWriterTests {
    @Test func `stop writes all lines of all rings`() throws {
        let scratch = Scratch()
        let path = scratch.file("access.log")
        let writer = try LogWriter(path: path, rings: 2) { Issue.record("\($0)") }
        for generation in UInt64(0)..<1000 {
            #expect(writer.rings[Int(generation % 2)].append(record(generation)))
        }
        writer.stop()
        #expect(try generations(lines(path)).sorted() == Array(0..<1000))
    }

    @Test func `a log that exists is appended to`() throws {
        let scratch = Scratch()
        let path = scratch.file("access.log")
        for generation in UInt64(0)..<2 {
            let writer = try LogWriter(path: path, rings: 1) { Issue.record("\($0)") }
            #expect(writer.rings[0].append(record(generation)))
            writer.stop()
        }
        #expect(try generations(lines(path)) == [0, 1])
    }

    @Test func `a path that cannot be opened is an error that says why`() {
        let failure = #expect(throws: LogFailure.self) {
            try LogWriter(path: "/nonexistent/access.log", rings: 1) { _ in }
        }
        #expect(
            failure?.description
                == "access log /nonexistent/access.log: open: No such file or directory")
    }

    @Test func `after a rename and a reopen lines go to a new file and none is lost`() throws {
        let scratch = Scratch()
        let path = scratch.file("access.log")
        let writer = try LogWriter(path: path, rings: 1) { Issue.record("\($0)") }
        for generation in UInt64(0)..<100 { #expect(writer.rings[0].append(record(generation))) }
        #expect(rename(path, scratch.file("old.log")) == 0)
        try writer.reopen()
        for generation in UInt64(100)..<200 { #expect(writer.rings[0].append(record(generation))) }
        writer.stop()
        let new = try generations(lines(path))
        #expect(new.contains(199))
        #expect(try generations(lines(scratch.file("old.log"))) + new == Array(0..<200))
    }

    @Test func `a reopen that fails leaves the old file in use`() throws {
        let scratch = Scratch()
        let path = scratch.file("access.log")
        let writer = try LogWriter(path: path, rings: 1) { Issue.record("\($0)") }
        #expect(throws: LogFailure.self) { try writer.reopen(at: scratch.file("no/access.log")) }
        #expect(writer.rings[0].append(record(1)))
        writer.stop()
        #expect(try generations(lines(path)) == [1])
    }

    @Test func `a FIFO that nobody reads fills the ring, and what was taken arrives whole`() throws
    {
        let scratch = Scratch()
        let path = scratch.file("fifo")
        #expect(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDONLY | O_NONBLOCK)
        let writer = try LogWriter(
            path: path, rings: 1, ringCapacity: LogRing.minCapacity
        ) { Issue.record("\($0)") }

        // More than the FIFO's 64 KiB and the ring together can hold.
        var taken: [UInt64] = []
        var dropped = 0
        for generation in UInt64(0)..<3000 {
            if writer.rings[0].append(record(generation)) {
                taken.append(generation)
            } else {
                dropped += 1
            }
        }
        #expect(dropped > 0)
        #expect(taken.count + dropped == 3000)

        // The reader wakes up: every line that was taken comes, in order, none torn.
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        let newline = UInt8(ascii: "\n")
        while text.count(where: { $0 == newline }) < taken.count {
            var waiting = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
            try #require(poll(&waiting, 1, 10_000) == 1)
            let count = read(reader, &buffer, buffer.count)
            if count > 0 { text += buffer[..<count] }
        }
        writer.stop()
        close(reader)
        let received = text.split(separator: newline).map { String(decoding: $0, as: UTF8.self) }
        #expect(try generations(received) == taken)
    }

    @Test func `stop gives up on an output that takes nothing`() throws {
        let scratch = Scratch()
        let path = scratch.file("fifo")
        #expect(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDONLY | O_NONBLOCK)
        let troubles = Troubles()
        let writer = try LogWriter(
            path: path, rings: 1, ringCapacity: LogRing.minCapacity, flushLimit: .zero
        ) { troubles.add($0) }
        while writer.rings[0].append(record(1)) {}
        writer.stop()
        close(reader)
        #expect(troubles.all == ["access log: stopped with lines unwritten"])
    }

    @Test func `a device that is full is reported once and counted`() throws {
        let troubles = Troubles()
        let writer = try LogWriter(
            path: "/dev/full", rings: 1, flushLimit: .zero
        ) { troubles.add($0) }
        #expect(writer.rings[0].append(record(1)))
        writer.stop()
        #expect(writer.writeFailures > 0)
        #expect(
            troubles.all.first?.hasPrefix(
                "access log /dev/full: write: No space left on device") == true)
        #expect(troubles.all.count == 2)
    }
}

/// What the writer's thread complained about.
private final class Troubles: @unchecked Sendable {
    private let lock = NSLock()
    private var texts: [String] = []

    func add(_ text: String) { lock.withLock { texts.append(text) } }
    var all: [String] { lock.withLock { texts } }
}

struct LogDrainTests {
    @Test func `a line that was written in part is whole in the next file`() throws {
        let scratch = Scratch()
        let fifo = scratch.file("fifo")
        #expect(mkfifo(fifo, 0o600) == 0)
        let reader = open(fifo, O_RDONLY | O_NONBLOCK)
        defer { close(reader) }
        let ring = LogRing(capacity: LogRing.minCapacity)
        var taken: UInt64 = 0
        while ring.append(record(taken)) { taken += 1 }

        let drain = LogDrain(rings: [ring], output: try LogOutput(path: fifo))
        #expect(drain.pass() == .blocked)
        let path = scratch.file("access.log")
        drain.replaceOutput(try LogOutput(path: path))
        #expect(drain.pass() == .drained)

        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let count = read(reader, &buffer, buffer.count)
        try #require(count > 0)
        let old = String(decoding: buffer[..<count], as: UTF8.self)
        #expect(!old.hasSuffix("\n"), "the test needs a torn line")
        let whole = old.split(separator: "\n").dropLast().map(String.init)
        #expect(try generations(whole + lines(path)) == Array(0..<taken))
    }

    @Test func `a failing output keeps the lines for a better one`() throws {
        let scratch = Scratch()
        let ring = LogRing(capacity: LogRing.minCapacity)
        for generation in UInt64(0)..<10 { #expect(ring.append(record(generation))) }
        let drain = LogDrain(rings: [ring], output: try LogOutput(path: "/dev/full"))
        #expect(drain.pass() == .failed)
        #expect(drain.failures == 1)
        let path = scratch.file("access.log")
        drain.replaceOutput(try LogOutput(path: path))
        #expect(drain.pass() == .drained)
        #expect(try generations(lines(path)) == Array(0..<10))
    }
}
