// Text for people, written as it is.

import Glibc

/// Standard output and standard error.
package enum Terminal {
    /// Writes all of `text`, to standard error unless told otherwise.
    package static func write(_ text: String, to descriptor: Int32 = 2) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }

    /// Somebody may be reading along in colour.
    package static let isInteractive = isatty(2) == 1
}
