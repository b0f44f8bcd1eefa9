// What weir says about itself, on stderr: lines for people on a terminal, JSON otherwise.

import CWeir
import Glibc

/// The process log. For cold paths; may be called from any thread.
package enum ProcessLog {
    package enum Level: String, Sendable { case error, warn, info }

    private static let isTerminal = isatty(2) == 1

    /// Something has failed that somebody has to look after.
    package static func error(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
        write(.error, message, fields)
    }

    /// Something is not as it should be, and weir goes on.
    package static func warn(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
        write(.warn, message, fields)
    }

    /// Something has happened that an operator wants to know.
    package static func info(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
        write(.info, message, fields)
    }

    private static func write(
        _ level: Level, _ message: String, _ fields: KeyValuePairs<String, String>
    ) {
        var time = timespec()
        _ = clock_gettime(CLOCK_REALTIME, &time)
        let now = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
        let line =
            isTerminal
            ? humanLine(level, message, fields, unixNanoseconds: now)
            : jsonLine(level, message, fields, unixNanoseconds: now)
        // One call, so that lines of several threads do not mix; a log that cannot be written has
        // nowhere to complain.
        _ = line.withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
    }

    /// One line for a terminal. Control characters are shown as `?`: the text may quote somebody.
    package static func humanLine(
        _ level: Level, _ message: String, _ fields: KeyValuePairs<String, String>,
        unixNanoseconds: Int64
    ) -> [UInt8] {
        // "2026-11-24T02:26:52.123456Z": the clock time is what a person wants.
        let clock = timestamp(unixNanoseconds).dropFirst(11).prefix(8)
        let name = level.rawValue + String(repeating: " ", count: 5 - level.rawValue.count)
        var text = "\(clock) \(name) \(message)"
        for (key, value) in fields { text += " \(key)=\(value)" }
        let shown = text.utf8.map { byte in
            byte == 0x0A || byte == 0x09 || (byte >= 0x20 && byte != 0x7F)
                ? byte : UInt8(ascii: "?")
        }
        return shown + [0x0A]
    }

    /// One line for a log collector.
    package static func jsonLine(
        _ level: Level, _ message: String, _ fields: KeyValuePairs<String, String>,
        unixNanoseconds: Int64
    ) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.member("time", timestamp(unixNanoseconds))
            json.member("level", level.rawValue)
            json.member("message", message)
            for (key, value) in fields { json.member(key, value) }
        }
        return json.bytes + [0x0A]
    }

    private static func timestamp(_ unixNanoseconds: Int64) -> String {
        var clock = SecondCache()
        defer { clock.deallocate() }
        let quoted = [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            var out = JSONBytes(next: start)
            clock.write(unixNanoseconds, to: &out)
            count = out.next - start
        }
        return String(decoding: quoted.dropFirst().dropLast(), as: UTF8.self)
    }
}
