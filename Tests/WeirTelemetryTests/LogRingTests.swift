// The access log's ring: whole lines, in order, or none.

import Foundation
import Testing

import WeirTelemetry

/// Bytes that stay in place as long as this lives, to be borrowed by records.
final class Kept {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ content: [UInt8]) {
        bytes = .allocate(byteCount: content.count, alignment: 1)
        bytes.copyBytes(from: content)
    }

    convenience init(_ text: String) { self.init(Array(text.utf8)) }

    deinit { bytes.deallocate() }

    var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
}

extension LogRing {
    /// Takes everything that waits.
    func takeAll() -> String {
        var text = ""
        while case let piece = waiting(), !piece.isEmpty {
            text += String(decoding: piece, as: UTF8.self)
            release(piece.count)
        }
        return text
    }
}

struct LogRingTests {
    private func line(_ record: AccessRecord) throws -> [String: Any] {
        let ring = LogRing()
        #expect(ring.append(record))
        let text = ring.takeAll()
        #expect(text.hasSuffix("}\n"))
        return try #require(
            try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func `a line tells the whole exchange`() {
        let values = [
            "4f1c", "192.0.2.7", "GET", "shop.example.com", "/catalog?q=1", "curl/8", "catalog",
            "shop", "10.0.0.1:80",
        ].map { Kept($0) }
        withExtendedLifetime(values) {
            var record = AccessRecord()
            record.requestID = values[0].raw
            record.client = values[1].raw
            record.method = values[2].raw
            record.host = values[3].raw
            record.target = values[4].raw
            record.userAgent = values[5].raw
            record.route = values[6].raw
            record.cluster = values[7].raw
            record.endpoint = values[8].raw
            record.unixNanoseconds = 1_709_210_096_000_042_999
            record.status = 502
            record.attempts = 2
            record.bytesReceived = 10
            record.bytesSent = 12_345_678_901
            record.generation = 7
            record.timers.requestRead = 0
            record.timers.queue = 1_234_567
            record.timers.firstByte = 999
            record.timers.total = 61_000_000_000
            record.endedBy = .upstream
            record.phase = "relay"
            record.reason = "upstream_reset"
            let ring = LogRing()
            #expect(ring.append(record))
            #expect(
                ring.takeAll() == """
                    {"time":"2024-02-29T12:34:56.000042Z","request_id":"4f1c","tenant":null,\
                    "priority":null,"client":"192.0.2.7","method":"GET","host":"shop.example.com",\
                    "path":"/catalog?q=1","protocol":"HTTP/1.1","status":502,"route":"catalog",\
                    "cluster":"shop","endpoint":"10.0.0.1:80","attempts":2,\
                    "reason":"upstream_reset","ended_by":"upstream","phase":"relay",\
                    "ms":{"read":0.000,"queue":1.234,"connect":null,"first_byte":0.000,\
                    "total":61000.000},"bytes_in":10,"bytes_out":12345678901,"generation":7,\
                    "user_agent":"curl/8"}

                    """)
        }
    }

    @Test func `an exchange of which nothing is known still is a line of JSON`() throws {
        let fields = try line(AccessRecord())
        #expect(fields.count == 22)
        #expect(fields["status"] is NSNull)
        #expect(fields["ended_by"] is NSNull)
    }

    @Test(arguments: [
        (-5, "1970-01-01T00:00:00.000000Z"),
        (951_782_399_999_999_999, "2000-02-28T23:59:59.999999Z"),
        (951_868_800_000_000_000, "2000-03-01T00:00:00.000000Z"),
        (4_107_542_399_000_000_000, "2100-02-28T23:59:59.000000Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
        (Int64.max, "2262-04-11T23:47:16.854775Z"),
    ])
    func `the time is right at the edges of days and years`(_ at: Int64, _ text: String) throws {
        var record = AccessRecord()
        record.unixNanoseconds = at
        #expect(try line(record)["time"] as? String == text)
    }

    @Test func `numbers of every length are written in full`() throws {
        for length in 1...19 {
            for text in [
                String(repeating: "9", count: length),
                "1" + String(repeating: "0", count: length - 1),
            ] {
                guard let value = Int64(text) else { continue }
                var record = AccessRecord()
                record.bytesSent = value
                record.generation = UInt64(value)
                let fields = try line(record)
                #expect(fields["bytes_out"] as? Int64 == value)
                #expect(fields["generation"] as? UInt64 == UInt64(value))
            }
        }
        var record = AccessRecord()
        record.generation = .max
        #expect(try line(record)["generation"] as? UInt64 == .max)
    }

    @Test func `any byte at any place survives as JSON`() throws {
        // At each distance from the eight-byte steps, in the middle and at the end.
        for byte in UInt8.min...UInt8.max {
            for offset in [0, 1, 7, 8, 9, 15, 16] {
                var content = Array(repeating: UInt8(ascii: "a"), count: offset)
                content.append(byte)
                content += Array(repeating: UInt8(ascii: "b"), count: 17 - offset)
                let kept = Kept(content)
                var record = AccessRecord()
                record.target = kept.raw
                let path = try line(record)["path"] as? String
                let expected = content.map { String(UnicodeScalar($0)) }.joined()
                #expect(path == expected, "byte \(byte) at \(offset)")
            }
        }
    }

    @Test(arguments: [
        ([0xC3, 0xA9], "é"), ([0xE2, 0x82, 0xAC], "€"), ([0xF0, 0x9F, 0x98, 0x80], "😀"),
        ([0xC0, 0xAF], "\u{C0}\u{AF}"), ([0xE0, 0x80, 0xAF], "\u{E0}\u{80}\u{AF}"),
        ([0xED, 0xA0, 0x80], "\u{ED}\u{A0}\u{80}"),
        ([0xF4, 0x90, 0x80, 0x80], "\u{F4}\u{90}\u{80}\u{80}"),
        ([0xE2, 0x82], "\u{E2}\u{82}"), ([0xC3], "\u{C3}"), ([0xC3, 0x22], "\u{C3}\""),
        ([0xF0, 0x9F, 0x98], "\u{F0}\u{9F}\u{98}"), ([0xE2, 0x82, 0xC3, 0xA9], "\u{E2}\u{82}é"),
    ])
    func `UTF-8 is kept and what is not UTF-8 is spelt out`(_ bytes: [UInt8], _ text: String) throws
    {
        let kept = Kept(bytes)
        var record = AccessRecord()
        record.userAgent = kept.raw
        #expect(try line(record)["user_agent"] as? String == text)
    }

    @Test func `a value that is too long is cut and the line stays whole`() throws {
        let kept = Kept(Array(repeating: 1, count: 100_000))
        var record = AccessRecord()
        record.target = kept.raw
        record.userAgent = kept.raw
        let fields = try line(record)
        #expect((fields["path"] as? String)?.utf8.count == AccessLine.maxTargetBytes)
        #expect((fields["user_agent"] as? String)?.utf8.count == AccessLine.maxValueBytes)
    }

    @Test func `no line is longer than its bound`() {
        let kept = Kept(Array(repeating: 0xFF, count: 5000))
        var record = AccessRecord()
        record.requestID = kept.raw
        record.tenant = kept.raw
        record.client = kept.raw
        record.method = kept.raw
        record.host = kept.raw
        record.target = kept.raw
        record.userAgent = kept.raw
        record.route = kept.raw
        record.cluster = kept.raw
        record.endpoint = kept.raw
        record.priority = kept.raw
        record.rule = kept.raw
        record.unixNanoseconds = .max
        record.status = .max
        record.attempts = .max
        record.bytesReceived = .max
        record.bytesSent = .max
        record.generation = .max
        record.timers.requestRead = .max
        record.timers.queue = .max
        record.timers.connect = .max
        record.timers.firstByte = .max
        record.timers.total = .max
        record.endedBy = .upstream
        record.phase = "a phase with a name that is far longer than any phase should ever have had"
        record.reason = record.phase
        record.noRetry = record.phase
        record.wouldRefuse = record.phase
        record.wouldNotRetry = record.phase
        record.wouldAttempt = record.phase
        let ring = LogRing()
        #expect(ring.append(record))
        #expect(ring.takeAll().utf8.count <= AccessLine.bound(record))
        #expect(AccessLine.bound(record) == AccessLine.maxBytes)
        #expect(LogRing.minCapacity >= 2 * AccessLine.maxBytes)
    }

    @Test func `a full ring drops the new line and keeps the old ones`() {
        let ring = LogRing(capacity: LogRing.minCapacity)
        var record = AccessRecord()
        var written: UInt64 = 0
        while true {
            record.generation = written
            guard ring.append(record) else { break }
            written += 1
        }
        #expect(written > 100)
        #expect(!ring.append(record))
        let lines = ring.takeAll().split(separator: "\n")
        #expect(lines.count == Int(written))
        #expect(lines.last?.contains("\"generation\":\(written - 1),") == true)
        #expect(ring.append(record))
    }

    @Test func `lines stay whole and in order around the end of the memory`() throws {
        let ring = LogRing(capacity: LogRing.minCapacity)
        var expected: UInt64 = 0
        for generation in UInt64(0)..<3000 {
            // Lengths that do not divide the capacity, so that the end is met everywhere.
            let kept = Kept(String(repeating: "x", count: Int(generation * 37 % 900)))
            var record = AccessRecord()
            record.target = kept.raw
            record.generation = generation
            #expect(ring.append(record))
            guard generation % 5 == 4 else { continue }
            for line in ring.takeAll().split(separator: "\n") {
                #expect(line.hasPrefix("{\"time\"") && line.hasSuffix("}"))
                try #require(line.contains("\"generation\":\(expected),"))
                expected += 1
            }
        }
        #expect(expected == 3000)
        #expect(ring.isEmpty)
    }

    @Test func `a reader on another thread never sees a torn line`() async {
        let ring = LogRing(capacity: LogRing.minCapacity)
        let count: UInt64 = 40_000
        let writer = Thread {
            let kept = Kept(String(repeating: "y", count: 700))
            var record = AccessRecord()
            for generation in 0..<count {
                record.generation = generation
                record.target = UnsafeRawBufferPointer(
                    rebasing: kept.raw[..<Int(generation * 31 % 700)])
                while !ring.append(record) { sched_yield() }
            }
        }
        writer.start()
        var next: UInt64 = 0
        var torn = 0
        while next < count {
            let piece = ring.waiting()
            for line in piece.split(separator: UInt8(ascii: "\n")) {
                let text = String(decoding: line, as: UTF8.self)
                let isWhole = text.hasPrefix("{\"time\"") && text.hasSuffix("}")
                if !isWhole || !text.contains("\"generation\":\(next),") { torn += 1 }
                next += 1
            }
            ring.release(piece.count)
        }
        #expect(torn == 0)
    }

    @Test func `the writer is woken once when the ring becomes half full`() throws {
        let wakeup = try LogWakeup()
        let ring = LogRing(capacity: LogRing.minCapacity, wakeup: wakeup)
        var posts: UInt64 = 0
        for _ in 0..<2 {
            while ring.append(AccessRecord()) {}
            posts += wakeup.clear()
            _ = ring.takeAll()
        }
        #expect(posts == 2)
    }
}
