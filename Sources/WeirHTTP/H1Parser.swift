// HTTP/1.x heads, strictly: what could be read in two ways is refused (RFC 9110, RFC 9112).

import CWeir

/// Stateless parsers over borrowed bytes; they allocate nothing and keep nothing.
///
/// A verdict depends on the bytes alone, not on how they were cut into calls: a first line is
/// judged as soon as it is complete, the field lines when the head is, or when they are all that
/// the first call gets to see.
package enum H1Parser {
    /// The largest head whose offsets are trusted to fit, whatever the limits say.
    private static let maxHeadBytes = 1 << 24

    /// Parses a request head at the start of `bytes`.
    ///
    /// - Parameters:
    ///   - seen: how many bytes of `bytes` an earlier call has looked at, so that a head that
    ///     arrives byte by byte costs linear time. 0 for the first call.
    ///   - head: overwritten; means something only when the answer is `complete`.
    package static func parseRequest(
        _ bytes: UnsafeRawBufferPointer, seen: Int, limits: HeadLimits,
        into head: inout RequestHead
    ) -> ParseStep {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return .needsMore }
        let base = start.assumingMemoryBound(to: UInt8.self)
        let room = max(1, min(limits.maxBytes, maxHeadBytes))
        let end = min(bytes.count, room)
        let seen = min(seen, end)
        if seen > 0, end < room {
            let emptyLine = base[0] == Byte.carriageReturn ? 2 : 0
            let longestLine = emptyLine + LineCursor.maxMethodLength + 1 + limits.maxTargetBytes
            let isLongLine = seen <= longestLine && end > longestLine
            guard isLongLine || hasNews(base, after: emptyLine, seen: seen, end: end) else {
                return .needsMore
            }
        }
        do throws(Malformed) {
            guard try readRequest(base, end, limits, &head) else {
                return end < room ? .needsMore : .malformed(.headTooLarge)
            }
            return .complete
        } catch {
            return .malformed(error)
        }
    }

    /// Parses a response head at the start of `bytes`; `method` is the request's, which decides
    /// whether a body follows. The other parameters are those of `parseRequest`.
    package static func parseResponse(
        _ bytes: UnsafeRawBufferPointer, seen: Int, method: Method, limits: HeadLimits,
        into head: inout ResponseHead
    ) -> ParseStep {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return .needsMore }
        let base = start.assumingMemoryBound(to: UInt8.self)
        let room = max(1, min(limits.maxBytes, maxHeadBytes))
        let end = min(bytes.count, room)
        let seen = min(seen, end)
        if seen > 0, end < room, !hasNews(base, after: 0, seen: seen, end: end) {
            return .needsMore
        }
        do throws(Malformed) {
            guard try readResponse(base, end, method, limits, &head) else {
                return end < room ? .needsMore : .malformed(.headTooLarge)
            }
            return .complete
        } catch {
            return .malformed(error)
        }
    }

    private static func hasNews(
        _ base: UnsafePointer<UInt8>, after skipped: Int, seen: Int, end: Int
    ) -> Bool {
        guard end > skipped else { return true }
        return weir_head_has_news(base + skipped, max(0, seen - skipped), end - skipped)
    }

    @inline(__always)
    private static func readRequest(
        _ base: UnsafePointer<UInt8>, _ end: Int, _ limits: HeadLimits,
        _ head: inout RequestHead
    ) throws(Malformed) -> Bool {
        var cursor = LineCursor(base: base, end: end, position: 0)
        head.authority = .empty
        head.host = .empty
        head.path = .empty
        head.hasOddPath = false
        head.query = .empty
        guard try cursor.passEmptyLine() else { return false }
        guard try cursor.readRequestLine(into: &head, maxTargetBytes: limits.maxTargetBytes)
        else { return false }
        var notes = SectionNotes()
        guard
            try cursor.readFields(
                into: &head.fields, notes: &notes, limit: limits.maxFields, isRequest: true)
        else { return false }
        head.length = cursor.position
        try head.settle(notes, in: base)
        return true
    }

    @inline(__always)
    private static func readResponse(
        _ base: UnsafePointer<UInt8>, _ end: Int, _ method: Method, _ limits: HeadLimits,
        _ head: inout ResponseHead
    ) throws(Malformed) -> Bool {
        var cursor = LineCursor(base: base, end: end, position: 0)
        guard try cursor.readStatusLine(into: &head) else { return false }
        var notes = SectionNotes()
        guard
            try cursor.readFields(
                into: &head.fields, notes: &notes, limit: limits.maxFields, isRequest: false)
        else { return false }
        head.length = cursor.position
        try head.settle(notes, method: method)
        return true
    }
}

extension LineCursor {
    /// Reads the field section into the index; `false` when its bytes have not all arrived.
    @inline(__always)
    fileprivate mutating func readFields(
        into fields: inout FieldIndex, notes: inout SectionNotes, limit: Int, isRequest: Bool
    ) throws(Malformed) -> Bool {
        var lines = self
        var filling = fields.filling(atMost: limit)
        var field = Field.none
        while true {
            var noted = lines.readPlainFields(into: &filling)
            while let next = noted.next() {
                try notes.take(next.known, next.value, from: base, isRequest: isRequest)
            }
            switch try lines.nextField(into: &field) {
            case .needsMore: return false
            case .endOfSection:
                fields.fill(filling)
                if notes.namedFields > 0 { notes.markNamedFields(in: &fields, of: base) }
                self = lines
                return true
            case .field:
                guard filling.append(field) else { throw .tooManyFields }
                try notes.take(field.known, field.value, from: base, isRequest: isRequest)
            }
        }
    }

    /// Reads on to the first line that is not plain; returns the fields to take note of.
    @inline(__always)
    fileprivate mutating func readPlainFields(into filling: inout FieldFilling) -> NotedFields {
        let first = filling.next
        let run = weir_read_plain_fields(base, position, end, first, filling.room)
        filling.next = first + run.count
        position = run.next
        return NotedFields(first: first, places: run.noted)
    }
}

/// Walks the fields whose places are set in a mask.
private struct NotedFields {
    let first: UnsafeMutablePointer<Field>
    var places: UInt64

    @inline(__always)
    mutating func next() -> Field? {
        guard places != 0 else { return nil }
        let place = places.trailingZeroBitCount
        places &= places &- 1
        return first[place]
    }
}
