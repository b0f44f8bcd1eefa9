// One exchange as one line of JSON: the access log's format. See docs/access-log.md.

/// Writes access log lines into memory that is known to be large enough.
package enum AccessLine {
    /// Bytes of one value that are logged; the rest of a longer one is left out.
    package static var maxTargetBytes: Int { 4096 }
    package static var maxValueBytes: Int { 1024 }

    /// Room for keys, numbers, the time, the phase and the reason.
    private static var fixedBytes: Int { 1024 }

    /// No line needs more than this.
    package static var maxBytes: Int { bound(valueBytes: maxTargetBytes + 11 * maxValueBytes) }

    @inline(__always)
    private static func bound(valueBytes: Int) -> Int {
        fixedBytes &+ JSONBytes.room(for: valueBytes)
    }

    @inline(__always)
    private static func cut(
        _ bytes: UnsafeRawBufferPointer, _ limit: Int = maxValueBytes
    ) -> UnsafeRawBufferPointer {
        bytes.count <= limit ? bytes : UnsafeRawBufferPointer(rebasing: bytes[..<limit])
    }

    /// The most bytes that a record's line may take.
    package static func bound(_ record: AccessRecord) -> Int {
        let sum = length(record, target: .max, value: .max)
        // Together shorter than what one may have: nothing is cut.
        if sum <= maxValueBytes { return bound(valueBytes: sum) }
        return bound(
            valueBytes: length(record, target: maxTargetBytes, value: maxValueBytes))
    }

    /// Bytes of all values, each cut to its limit. Added up one by one: as one expression it takes
    /// the compiler minutes.
    @inline(__always)
    private static func length(_ record: AccessRecord, target: Int, value: Int) -> Int {
        var sum = min(record.target.count, target)
        sum &+= min(record.requestID.count, value)
        sum &+= min(record.tenant.count, value)
        sum &+= min(record.priority.count, value)
        sum &+= min(record.client.count, value)
        sum &+= min(record.method.count, value)
        sum &+= min(record.host.count, value)
        sum &+= min(record.userAgent.count, value)
        sum &+= min(record.route.count, value)
        sum &+= min(record.cluster.count, value)
        sum &+= min(record.endpoint.count, value)
        sum &+= min(record.rule.count, value)
        return sum
    }

    /// Writes the record's line at `start` and returns where it ends.
    static func write(
        _ record: AccessRecord, at start: UnsafeMutablePointer<UInt8>, _ clock: inout SecondCache
    ) -> UnsafeMutablePointer<UInt8> {
        var out = JSONBytes(next: start)
        out.raw("{\"time\":")
        clock.write(record.unixNanoseconds, to: &out)
        out.raw(",\"request_id\":")
        out.stringOrNull(cut(record.requestID))
        out.raw(",\"tenant\":")
        out.stringOrNull(cut(record.tenant))
        out.raw(",\"priority\":")
        out.stringOrNull(cut(record.priority))
        out.raw(",\"client\":")
        out.stringOrNull(cut(record.client))
        out.raw(",\"method\":")
        out.stringOrNull(cut(record.method))
        out.raw(",\"host\":")
        out.stringOrNull(cut(record.host))
        out.raw(",\"path\":")
        out.stringOrNull(cut(record.target, maxTargetBytes))
        out.raw(record.version.member)
        if let tls = record.tls {
            out.raw(",\"tls\":")
            writeWord(tls, &out)
        }
        out.raw(",\"status\":")
        if record.status > 0 { out.number(UInt64(record.status)) } else { out.raw("null") }
        out.raw(",\"route\":")
        out.stringOrNull(cut(record.route))
        out.raw(",\"cluster\":")
        out.stringOrNull(cut(record.cluster))
        out.raw(",\"endpoint\":")
        out.stringOrNull(cut(record.endpoint))
        out.raw(",\"attempts\":")
        out.number(UInt64(clamping: record.attempts))
        writeEnding(record, &out)
        writeTimers(record.timers, &out)
        out.raw(",\"bytes_in\":")
        out.number(UInt64(clamping: record.bytesReceived))
        out.raw(",\"bytes_out\":")
        out.number(UInt64(clamping: record.bytesSent))
        out.raw(",\"generation\":")
        out.number(record.generation)
        out.raw(",\"user_agent\":")
        out.stringOrNull(cut(record.userAgent))
        out.raw("}\n")
        return out.next
    }

    @inline(__always)
    private static func writeEnding(_ record: AccessRecord, _ out: inout JSONBytes) {
        out.raw(",\"reason\":")
        if let reason = record.reason { writeWord(reason, &out) } else { out.raw("null") }
        switch record.endedBy {
        case .none: out.raw(",\"ended_by\":null")
        case .client: out.raw(",\"ended_by\":\"client\"")
        case .upstream: out.raw(",\"ended_by\":\"upstream\"")
        case .weir: out.raw(",\"ended_by\":\"weir\"")
        }
        out.raw(",\"phase\":")
        writeWord(record.phase, &out)
        // Only where there is something to say: most lines are of requests that nobody touched.
        if record.rule.count > 0 {
            out.raw(",\"rule\":")
            out.stringOrNull(cut(record.rule))
        }
        if let word = record.grpcStatus {
            out.raw(",\"grpc_status\":")
            writeWord(word, &out)
        }
        if let word = record.noRetry {
            out.raw(",\"no_retry\":")
            writeWord(word, &out)
        }
        if let word = record.wouldRefuse {
            out.raw(",\"would_refuse\":")
            writeWord(word, &out)
        }
        if let word = record.wouldAttempt {
            out.raw(",\"would_attempt\":")
            writeWord(word, &out)
        }
        if let word = record.wouldNotRetry {
            out.raw(",\"would_not_retry\":")
            writeWord(word, &out)
        }
    }

    /// Writes a word of ours, which needs no escape; cut so that it fits the fixed room.
    @inline(__always)
    private static func writeWord(_ word: StaticString, _ out: inout JSONBytes) {
        guard word.hasPointerRepresentation else { return out.raw("null") }
        out.byte(UInt8(ascii: "\""))
        let count = min(word.utf8CodeUnitCount, 64)
        out.next.update(from: word.utf8Start, count: count)
        out.next += count
        out.byte(UInt8(ascii: "\""))
    }

    @inline(__always)
    private static func writeTimers(_ timers: ExchangeTimers, _ out: inout JSONBytes) {
        out.raw(",\"ms\":{\"read\":")
        out.milliseconds(timers.requestRead)
        out.raw(",\"queue\":")
        out.milliseconds(timers.queue)
        out.raw(",\"connect\":")
        out.milliseconds(timers.connect)
        out.raw(",\"first_byte\":")
        out.milliseconds(timers.firstByte)
        out.raw(",\"total\":")
        out.milliseconds(timers.total)
        out.byte(UInt8(ascii: "}"))
    }
}
