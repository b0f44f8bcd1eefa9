// One member of a JSON object, found without building the object.

import WeirHTTP

/// What an object has under a name.
enum JSONMember {
    case absent
    /// A string's content.
    case string(UnsafeRawBufferPointer)
    /// A number as it is written.
    case number(UnsafeRawBufferPointer)
    /// An array of strings, as it is written.
    case strings(UnsafeRawBufferPointer)
    /// It is of another type, is written with escapes, or is there twice; or there is no object.
    case unusable

    /// Deeper objects are none.
    private static let maxDepth = 32

    /// A string's content or a number's text.
    var text: UnsafeRawBufferPointer? {
        switch self {
        case .string(let text), .number(let text): text
        case .absent, .strings, .unusable: nil
        }
    }

    /// Whether it is that string, or an array of strings among which that one is.
    func includes(_ string: UnsafeRawBufferPointer) -> Bool {
        switch self {
        case .string(let text): return Bytes.areEqual(text, string)
        case .strings(let array):
            var index = 0
            while index < array.count {
                if array[index] == UInt8(ascii: "\"") {
                    guard let end = Self.stringEnd(array, index) else { return false }
                    if Bytes.areEqual(array.part(index + 1, end - index - 1), string) {
                        return true
                    }
                    index = end
                }
                index += 1
            }
            return false
        case .absent, .number, .unusable: return false
        }
    }

    /// Whether it is a number of a whole and perhaps a fraction, which is cut off, and what
    /// number; saturating. `nil` where it is anything else.
    var whole: Int64? {
        guard case .number(let text) = self else { return nil }
        let isNegative = text.first == UInt8(ascii: "-")
        var index = isNegative ? 1 : 0
        let first = index
        var value: Int64 = 0
        while index < text.count, Self.isDigit(text[index]) {
            let digit = Int64(text[index] - UInt8(ascii: "0"))
            let (product, isLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, isLarger) = product.addingReportingOverflow(digit)
            value = isLarge || isLarger ? .max : sum
            index += 1
        }
        guard index > first else { return nil }
        if index < text.count {
            guard text[index] == UInt8(ascii: "."), index + 1 < text.count,
                text[(index + 1)...].allSatisfy(Self.isDigit)
            else { return nil }
        }
        return isNegative ? -value : value
    }

    /// The member of that name of the object that `json` is. Only its own, not those of objects
    /// within it.
    static func find(
        _ name: UnsafeRawBufferPointer, in json: UnsafeRawBufferPointer
    ) -> JSONMember {
        var index = 0
        var depth = 0
        var isKey = false
        var found = JSONMember.absent
        while index < json.count {
            switch json[index] {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                isKey = depth == 0 && json[index] == UInt8(ascii: "{")
                depth += 1
                if depth > maxDepth { return .unusable }
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                if depth <= 0 { return found }
            case UInt8(ascii: ","): isKey = depth == 1
            case UInt8(ascii: "\""):
                guard let end = stringEnd(json, index) else { return .unusable }
                let text = json.part(index + 1, end - index - 1)
                index = end
                guard isKey else { break }
                isKey = false
                guard Bytes.areEqual(text, name), let colon = colon(json, end + 1) else { break }
                // Named twice, it could be read in two ways.
                guard case .absent = found else { return .unusable }
                found = value(json, colon + 1)
                index = colon
            default: break
            }
            index += 1
        }
        return .unusable
    }

    static func find(_ name: StaticString, in json: UnsafeRawBufferPointer) -> JSONMember {
        find(name.bytes, in: json)
    }

    /// Where the string that begins at `start` ends: its closing quote.
    private static func stringEnd(_ json: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        var index = start + 1
        while index < json.count {
            if json[index] == UInt8(ascii: "\"") { return index }
            index += json[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        return nil
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// A byte that a number may have behind its first.
    private static func isOfNumber(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "E"),
            UInt8(ascii: "e"):
            true
        default: isDigit(byte)
        }
    }

    private static func colon(_ json: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        var index = start
        while index < json.count, isSpace(json[index]) { index += 1 }
        return index < json.count && json[index] == UInt8(ascii: ":") ? index : nil
    }

    private static func value(_ json: UnsafeRawBufferPointer, _ start: Int) -> JSONMember {
        var index = start
        while index < json.count, isSpace(json[index]) { index += 1 }
        guard index < json.count else { return .unusable }
        if json[index] == UInt8(ascii: "\"") {
            guard let end = stringEnd(json, index) else { return .unusable }
            let text = json.part(index + 1, end - index - 1)
            return text.contains(UInt8(ascii: "\\")) ? .unusable : .string(text)
        }
        if json[index] == UInt8(ascii: "[") {
            guard let end = stringsEnd(json, index) else { return .unusable }
            let array = json.part(index, end - index)
            return array.contains(UInt8(ascii: "\\")) ? .unusable : .strings(array)
        }
        guard json[index] == UInt8(ascii: "-") || isDigit(json[index]) else { return .unusable }
        let first = index
        while index < json.count, isOfNumber(json[index]) { index += 1 }
        return .number(json.part(first, index - first))
    }

    /// Behind the end of an array that begins at `start`; `nil` where it has anything but strings.
    private static func stringsEnd(_ json: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        var index = start + 1
        var isItemNext = true
        while index < json.count {
            switch json[index] {
            case UInt8(ascii: "\"") where isItemNext:
                guard let end = stringEnd(json, index) else { return nil }
                index = end
                isItemNext = false
            case UInt8(ascii: ",") where !isItemNext: isItemNext = true
            case UInt8(ascii: "]"): return index + 1
            default: guard isSpace(json[index]) else { return nil }
            }
            index += 1
        }
        return nil
    }
}
