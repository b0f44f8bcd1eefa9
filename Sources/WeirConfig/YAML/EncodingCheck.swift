// Before libyaml sees a file: size, UTF-8 and control characters, each with its position.

/// libyaml reports encoding faults by byte offset only, and reads UTF-16 unasked.
enum EncodingCheck {
    static func passes(_ bytes: [UInt8], _ report: Report) -> Bool {
        guard bytes.count <= YAMLReader.maxBytes else {
            report.error(
                .fileTooLarge, at: SourceRange(line: 1, column: 1),
                "the file has \(bytes.count) bytes; at most \(YAMLReader.maxBytes) are read")
            return false
        }
        guard let fault = firstFault(bytes) else { return true }
        let place = position(of: fault.offset, in: bytes)
        if let control = fault.control {
            let hex = String(control, radix: 16, uppercase: true)
            let code = String(repeating: "0", count: max(0, 4 - hex.count)) + hex
            report.error(
                .controlCharacter, at: place, "control character U+\(code)",
                help: "in a double-quoted string it can be written as an escape")
        } else {
            report.error(.invalidUTF8, at: place, "the file is not UTF-8 from here on")
        }
        return false
    }

    /// The first byte that is not UTF-8, or the first control character that YAML forbids.
    private static func firstFault(_ bytes: [UInt8]) -> (offset: Int, control: UInt32?)? {
        bytes.withUnsafeBufferPointer { buffer in
            var index = 0
            while index < buffer.count {
                let byte = buffer[index]
                if byte >= 0x20, byte < 0x7F {
                    index += 1
                    continue
                }
                if byte < 0x80 {
                    guard byte == 9 || byte == 10 || byte == 13 else {
                        return (index, UInt32(byte))
                    }
                    index += 1
                    continue
                }
                var iterator = buffer[index..<min(index + 4, buffer.count)].makeIterator()
                var decoder = UTF8()
                guard case .scalarValue(let scalar) = decoder.decode(&iterator) else {
                    return (index, nil)
                }
                let isAllowed =
                    scalar.value == 0x85
                    || scalar.value >= 0xA0 && scalar.value != 0xFFFE
                        && scalar.value != 0xFFFF
                guard isAllowed else { return (index, scalar.value) }
                index += UTF8.width(scalar)
            }
            return nil
        }
    }

    private static func position(of offset: Int, in bytes: [UInt8]) -> SourceRange {
        var line = 1
        var lineStart = 0
        var index = 0
        while index < offset {
            let length = SourceText.lineBreak(bytes, at: index)
            index += max(length, 1)
            if length > 0, index <= offset {
                line += 1
                lineStart = index
            }
        }
        // Continuation bytes do not start a character.
        let column = bytes[lineStart..<offset].count { $0 & 0xC0 != 0x80 }
        return SourceRange(line: line, column: column + 1)
    }
}
