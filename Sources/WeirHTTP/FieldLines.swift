// Reads field lines, the part that request heads, response heads and trailers share.

import CWeir

enum Byte {
    static let tab = UInt8(ascii: "\t")
    static let lineFeed = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")
    static let colon = UInt8(ascii: ":")
    static let comma = UInt8(ascii: ",")
}

/// A place in borrowed bytes, which only moves forward.
///
/// Readers look at bytes strictly from left to right and fail at the first wrong one. So a prefix
/// of a message is either undecided or has the verdict of the whole: how the bytes were cut into
/// reads cannot matter.
struct LineCursor {
    let base: UnsafePointer<UInt8>
    let end: Int
    var position: Int

    /// Steps over CRLF; `false` when its bytes have not all arrived.
    ///
    /// - Parameter other: what is wrong where the line goes on instead of ending.
    @inline(__always)
    mutating func passLineEnd(else other: Malformed) throws(Malformed) -> Bool {
        guard position < end else { return false }
        guard base[position] == Byte.carriageReturn else {
            throw base[position] == Byte.lineFeed ? .lineEnding : other
        }
        guard end - position >= 2 else { return false }
        guard base[position &+ 1] == Byte.lineFeed else { throw .lineEnding }
        position &+= 2
        return true
    }
}

enum FieldStep {
    /// A field, and whether its name may have an underscore in it.
    case field(Field, mayHaveUnderscore: Bool)
    case endOfSection
    case needsMore
}

extension LineCursor {
    /// Reads one field line, or the empty line that ends the section.
    @inline(__always)
    mutating func nextField() throws(Malformed) -> FieldStep {
        let start = position
        // Once a head, and much cheaper to ask for than to find out.
        if end &- start >= 2, base[start] == Byte.carriageReturn,
            base[start &+ 1] == Byte.lineFeed
        {
            position = start &+ 2
            return .endOfSection
        }
        var line = weir_field_line()
        guard weir_read_field_line(base, start, end, FieldName.maxLength, &line) else {
            return try explainLine()
        }
        position = line.next
        let length = line.name_end &- start
        let known = FieldName.recognise(UnsafeRawPointer(base + start), length: length)
        return .field(
            Field(
                nameStart: UInt32(truncatingIfNeeded: start),
                nameLength: UInt16(truncatingIfNeeded: length),
                known: known, isHopByHop: known.isAlwaysHopByHop,
                valueStart: UInt32(truncatingIfNeeded: line.value_start),
                valueLength: UInt32(truncatingIfNeeded: line.value_end &- line.value_start)),
            mayHaveUnderscore: line.may_have_underscore)
    }

    /// Says what is wrong with a line that is neither a field nor empty, or that it may yet
    /// become one of them.
    @inline(never)
    private func explainLine() throws(Malformed) -> FieldStep {
        guard position < end else { return .needsMore }
        let nameEnd = weir_scan_token(base, position, end)
        if nameEnd == position {
            if Self.isBlank(base[position]) { throw .foldedLine }
            try expectLineEnd(at: position, else: .fieldName)
            return .needsMore
        }
        guard nameEnd - position <= FieldName.maxLength else { throw .fieldName }
        guard nameEnd < end else { return .needsMore }
        switch base[nameEnd] {
        case Byte.colon: break
        case Byte.space, Byte.tab: throw .whitespace
        case Byte.lineFeed: throw .lineEnding
        default: throw .fieldName
        }
        let valueEnd = weir_scan_value(base, nameEnd + 1, end)
        try expectLineEnd(at: valueEnd, else: .fieldValue)
        return .needsMore
    }

    private func expectLineEnd(at place: Int, else other: Malformed) throws(Malformed) {
        var line = self
        line.position = place
        _ = try line.passLineEnd(else: other)
    }

    @inline(__always)
    static func isBlank(_ byte: UInt8) -> Bool { byte == Byte.space || byte == Byte.tab }
}
