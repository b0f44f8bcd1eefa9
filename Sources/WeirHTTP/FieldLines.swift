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
    case field(Field)
    case endOfSection
    case needsMore
}

extension LineCursor {
    /// Reads one field line, or the empty line that ends the section.
    @inline(__always)
    mutating func nextField() throws(Malformed) -> FieldStep {
        guard position < end else { return .needsMore }
        let nameStart = position
        let nameEnd = weir_scan_token(base, nameStart, end)
        guard nameEnd > nameStart else { return try passSectionEnd() }
        guard nameEnd &- nameStart <= FieldName.maxLength else { throw .fieldName }
        guard nameEnd < end else { return .needsMore }
        guard base[nameEnd] == Byte.colon else { throw Self.nameFault(base[nameEnd]) }

        var valueStart = nameEnd &+ 1
        while valueStart < end, Self.isBlank(base[valueStart]) { valueStart &+= 1 }
        position = weir_scan_value(base, valueStart, end)
        var valueEnd = position
        guard try passLineEnd(else: .fieldValue) else { return .needsMore }
        while valueEnd > valueStart, Self.isBlank(base[valueEnd &- 1]) { valueEnd &-= 1 }

        let length = nameEnd &- nameStart
        let known = FieldName.recognise(UnsafeRawPointer(base + nameStart), length: length)
        return .field(
            Field(
                nameStart: UInt32(truncatingIfNeeded: nameStart),
                nameLength: UInt16(truncatingIfNeeded: length),
                known: known, isHopByHop: known.isAlwaysHopByHop,
                valueStart: UInt32(truncatingIfNeeded: valueStart),
                valueLength: UInt32(truncatingIfNeeded: valueEnd &- valueStart)))
    }

    /// The line does not begin with a name: it is empty, or wrong.
    @inline(__always)
    private mutating func passSectionEnd() throws(Malformed) -> FieldStep {
        if Self.isBlank(base[position]) { throw .foldedLine }
        return try passLineEnd(else: .fieldName) ? .endOfSection : .needsMore
    }

    @inline(__always)
    static func isBlank(_ byte: UInt8) -> Bool { byte == Byte.space || byte == Byte.tab }

    private static func nameFault(_ byte: UInt8) -> Malformed {
        switch byte {
        case Byte.space, Byte.tab: .whitespace
        case Byte.lineFeed: .lineEnding
        default: .fieldName
        }
    }
}
