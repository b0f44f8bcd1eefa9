// Lines to the terminal, unbuffered: who starts an origin waits for them.

import Glibc

enum Console {
    static func print(_ line: String) { put(line, to: STDOUT_FILENO) }
    static func warn(_ line: String) { put(line, to: STDERR_FILENO) }

    private static func put(_ line: String, to descriptor: Int32) {
        let bytes = [UInt8]((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
}
