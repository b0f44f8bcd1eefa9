// The file's bytes with its lines indexed, for showing the line a diagnostic speaks of.

/// The text of a configuration file.
package struct SourceText: Sendable {
    private let bytes: [UInt8]
    /// The first byte of each line, and one entry past the end.
    private let starts: [Int]

    /// Bytes of a line that are shown at most.
    private static let maxShownBytes = 4096

    package init(_ bytes: [UInt8]) {
        var starts = [0]
        var index = 0
        while index < bytes.count {
            let length = SourceText.lineBreak(bytes, at: index)
            index += max(length, 1)
            if length > 0 { starts.append(index) }
        }
        starts.append(bytes.count)
        self.bytes = bytes
        self.starts = starts
    }

    /// The 1-based line without its break, or nothing when there is no such line.
    package func line(_ number: Int) -> String {
        guard number >= 1, number < starts.count else { return "" }
        let start = starts[number - 1]
        var end = min(starts[number], start + SourceText.maxShownBytes)
        for index in start..<end where SourceText.lineBreak(bytes, at: index) > 0 {
            end = index
            break
        }
        let bom: [UInt8] = [0xEF, 0xBB, 0xBF]
        let skip = start == 0 && bytes.starts(with: bom) ? min(bom.count, end) : 0
        return String(decoding: bytes[(start + skip)..<end], as: UTF8.self)
    }

    /// Bytes of the line break at `index`; 0 when there is none. YAML 1.1 also breaks lines at
    /// NEL, LS and PS, and positions must count lines as libyaml does.
    static func lineBreak(_ bytes: [UInt8], at index: Int) -> Int {
        switch bytes[index] {
        case 0x0A:
            return 1
        case 0x0D:
            return index + 1 < bytes.count && bytes[index + 1] == 0x0A ? 2 : 1
        case 0xC2:
            return index + 1 < bytes.count && bytes[index + 1] == 0x85 ? 2 : 0
        case 0xE2:
            guard index + 2 < bytes.count, bytes[index + 1] == 0x80 else { return 0 }
            return bytes[index + 2] == 0xA8 || bytes[index + 2] == 0xA9 ? 3 : 0
        default:
            return 0
        }
    }
}
