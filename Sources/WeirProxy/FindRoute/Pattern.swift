// Regular expressions by PCRE2, with bounds that make their worst case finite.

import CPCRE2

/// A compiled regular expression. Used by one worker only.
package final class Pattern: @unchecked Sendable {
    /// Backtracking steps before a match is given up; about a millisecond.
    private static let matchLimit: UInt32 = 20_000
    private static let depthLimit: UInt32 = 500
    private static let heapLimitKiB: UInt32 = 256

    private let code: OpaquePointer
    private let data: OpaquePointer
    private let context: OpaquePointer
    /// Matches that ran into the bounds, and so counted as not matching.
    package private(set) var exhaustedCount = 0

    /// Compiles `source`; `nil` when it is not a valid expression. With `isWhole` it must match
    /// the whole subject.
    package init?(_ source: String, isWhole: Bool) {
        var errorCode: Int32 = 0
        var errorOffset = 0
        let bytes = Array(source.utf8)
        let options = isWhole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0
        guard
            let code = pcre2_compile_8(
                bytes, bytes.count, options | PCRE2_NEVER_BACKSLASH_C, &errorCode, &errorOffset, nil
            )
        else { return nil }
        guard let data = pcre2_match_data_create_8(1, nil) else {
            pcre2_code_free_8(code)
            return nil
        }
        guard let context = pcre2_match_context_create_8(nil) else {
            pcre2_match_data_free_8(data)
            pcre2_code_free_8(code)
            return nil
        }
        pcre2_set_match_limit_8(context, Self.matchLimit)
        pcre2_set_depth_limit_8(context, Self.depthLimit)
        pcre2_set_heap_limit_8(context, Self.heapLimitKiB)
        // Where the machine has no JIT the interpreter serves, within the same bounds.
        _ = pcre2_jit_compile_8(code, PCRE2_JIT_COMPLETE)
        self.code = code
        self.data = data
        self.context = context
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_match_data_free_8(data)
        pcre2_code_free_8(code)
    }

    /// The expression matches; a match that exceeds the bounds does not.
    func matches(_ subject: UnsafeRawBufferPointer) -> Bool {
        var empty: UInt8 = 0
        let result = withUnsafePointer(to: &empty) { fallback in
            pcre2_match_8(
                code, subject.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? fallback,
                subject.count, 0, 0, data, context)
        }
        if result < 0, result != PCRE2_ERROR_NOMATCH { exhaustedCount &+= 1 }
        return result >= 0
    }
}
