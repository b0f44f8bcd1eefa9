// The one place that reads errno.

import CWeir
import Glibc

/// A system call that failed.
package struct SystemError: Error, Equatable, CustomStringConvertible {
    /// The call's name, such as `bind`.
    package let call: StaticString
    /// The errno value.
    package let code: Int32

    package init(call: StaticString, code: Int32) {
        self.call = call
        self.code = code
    }

    /// The error that the last call of this thread left in errno.
    package static func last(_ call: StaticString) -> SystemError {
        SystemError(call: call, code: cweir_errno())
    }

    package static func == (a: SystemError, b: SystemError) -> Bool { a.code == b.code }

    package var description: String { "\(call): \(String(cString: strerror(code)))" }

    /// The process or the machine has run out of something that comes back: descriptors, ports,
    /// memory.
    package var isExhaustion: Bool {
        switch code {
        case EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL, EAGAIN: true
        default: false
        }
    }
}
