// How an oracle says that something is wrong: libFuzzer keeps the input of a process that aborts.

import Glibc

/// Ends the process, as a crash does.
package func finding(_ text: String) -> Never {
    print("==FINDING== \(text)")
    fflush(nil)
    abort()
}

/// A rule that no input may break.
@inline(__always)
package func require(_ holds: Bool, _ rule: @autoclosure () -> String) {
    if !holds { finding("broken: " + rule()) }
}
