// Reads field values where they lie: comparison, trimming, comma lists. Nothing is copied.

package enum FieldValue {
    /// Whether the bytes are those of `lowercase`, letter case aside.
    ///
    /// - Parameter lowercase: without upper case letters, or nothing matches.
    @inline(__always)
    package static func equals(
        _ bytes: UnsafeRawBufferPointer, _ lowercase: StaticString
    ) -> Bool {
        guard bytes.count == lowercase.utf8CodeUnitCount else { return false }
        let wanted = lowercase.utf8Start
        for index in 0..<bytes.count where folded(bytes[index]) != wanted[index] { return false }
        return true
    }

    /// The same for a value that has passed the parser, and so holds no controls: words of eight
    /// bytes do, because folding by `| 0x20` makes letters and digits of nothing else.
    @inline(__always)
    static func isWord(_ bytes: UnsafeRawBufferPointer, _ lowercase: StaticString) -> Bool {
        guard bytes.count == lowercase.utf8CodeUnitCount, let start = bytes.baseAddress else {
            return false
        }
        return FieldName.same(start, lowercase)
    }

    /// Whether two stretches are the same, letter case aside.
    package static func equals(
        _ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer
    ) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count where folded(left[index]) != folded(right[index]) {
            return false
        }
        return true
    }

    /// Whether the bytes begin with `lowercase`, letter case aside.
    package static func hasPrefix(
        _ bytes: UnsafeRawBufferPointer, _ lowercase: StaticString
    ) -> Bool {
        let length = lowercase.utf8CodeUnitCount
        guard bytes.count >= length else { return false }
        return equals(UnsafeRawBufferPointer(rebasing: bytes[..<length]), lowercase)
    }

    /// The bytes without the spaces and tabs around them.
    package static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        var end = bytes.count
        while start < end, LineCursor.isBlank(bytes[start]) { start += 1 }
        while end > start, LineCursor.isBlank(bytes[end - 1]) { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }

    /// Whether a comma list has `lowercase` among its elements, letter case aside. Parameters are
    /// part of an element: `trailers;q=1` is not `trailers`.
    package static func contains(
        _ list: UnsafeRawBufferPointer, token lowercase: StaticString
    ) -> Bool {
        var elements = ListElements(list)
        while let element = elements.next() {
            if equals(element, lowercase) { return true }
        }
        return false
    }

    /// ASCII lower case; every other byte stays what it is.
    @inline(__always)
    static func folded(_ byte: UInt8) -> UInt8 {
        byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
    }
}

/// Walks the elements of a comma list: trimmed, empty ones left out (RFC 9110 section 5.6.1).
/// Quoted strings are not known here, so this is for lists of tokens only.
package struct ListElements {
    private let list: UnsafeRawBufferPointer
    private var position = 0

    package init(_ list: UnsafeRawBufferPointer) { self.list = list }

    package mutating func next() -> UnsafeRawBufferPointer? {
        while position < list.count {
            var end = position
            while end < list.count, list[end] != Byte.comma { end += 1 }
            let element = FieldValue.trimmed(
                UnsafeRawBufferPointer(rebasing: list[position..<end]))
            position = end + 1
            if !element.isEmpty { return element }
        }
        return nil
    }
}

extension StaticString {
    /// The literal's bytes.
    @inlinable @inline(__always)
    public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

extension UnsafePointer<UInt8> {
    /// The bytes that a stretch of a head stands for.
    @inline(__always)
    func bytes(of stretch: Stretch) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self + Int(stretch.start), count: Int(stretch.length))
    }
}

extension Field {
    /// Where the name lies.
    package var name: Stretch { Stretch(start: nameStart, length: UInt32(nameLength)) }
    /// Where the value lies, without blanks around it.
    package var value: Stretch { Stretch(start: valueStart, length: valueLength) }
}
