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

/// What stands where a field line is looked for.
enum FieldStep { case field, endOfSection, needsMore }

extension LineCursor {
    /// Reads one field line of any kind into `field`, or the empty line that ends the section.
    @inline(__always)
    mutating func nextField(into field: inout Field) throws(Malformed) -> FieldStep {
        let start = position
        if end &- start >= 2, base[start] == Byte.carriageReturn,
            base[start &+ 1] == Byte.lineFeed
        {
            position = start &+ 2
            return .endOfSection
        }
        let line = weir_read_field_line(base, start, end)
        let length = Int(line.name_length)
        guard length > 0 else { return try explainLine() }
        position = Int(line.next)
        let mark = weir_know_field(base + start, length)
        field = Field(
            nameStart: UInt32(truncatingIfNeeded: start), nameLength: line.name_length,
            known: KnownField(mark: mark), isHopByHop: mark & UInt32(WEIR_HOP_BY_HOP.rawValue) != 0,
            valueStart: line.value_start, valueLength: line.value_end &- line.value_start)
        // A name that some servers take for one that weir itself writes or reads.
        if line.may_have_underscore, field.known == .other {
            field.isHopByHop = FieldName.isUnderscoreAlias(base.bytes(of: field.name))
        }
        return .field
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
