// Asks PCRE2 whether a regex compiles, with the options that the router uses.

import CPCRE2

/// Regexes in the configuration.
enum Regex {
    /// The whole subject must match; bytes are compared, so that any path can be tested.
    private static let compileOptions: UInt32 =
        UInt32(PCRE2_ANCHORED) | UInt32(PCRE2_ENDANCHORED) | UInt32(PCRE2_NEVER_BACKSLASH_C)

    private static let maxBytes = 1024

    struct Fault {
        var message: String
        /// Characters before the fault.
        var offset: Int
        var isPositioned = true
    }

    /// What is wrong with `pattern`; `nil` when it compiles.
    static func fault(in pattern: String) -> Fault? {
        let bytes = Array(pattern.utf8)
        guard !bytes.isEmpty else {
            return Fault(message: "it is empty", offset: 0, isPositioned: false)
        }
        guard bytes.count <= maxBytes else {
            return Fault(
                message: "it has \(bytes.count) bytes; at most \(maxBytes) are allowed", offset: 0,
                isPositioned: false)
        }
        var code: Int32 = 0
        var offset = 0
        if let compiled = pcre2_compile_8(bytes, bytes.count, compileOptions, &code, &offset, nil) {
            pcre2_code_free_8(compiled)
            return nil
        }
        var text = [UInt8](repeating: 0, count: 256)
        let length = pcre2_get_error_message_8(code, &text, text.count)
        let message = String(decoding: text.prefix(max(0, Int(length))), as: UTF8.self)
        let characters = bytes.prefix(offset).count { $0 & 0xC0 != 0x80 }
        return Fault(message: message, offset: characters)
    }
}
