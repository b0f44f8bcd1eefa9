// Why something of TLS cannot be used, in OpenSSL's words where it has any.

import COpenSSL

/// A certificate, a key or a setting that OpenSSL does not take.
package struct TLSFailure: Error, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }

    /// What went wrong, with the reason that OpenSSL gives; its queue of errors is empty then.
    static func last(_ what: String) -> TLSFailure {
        guard let reason = takeReason() else { return TLSFailure(what) }
        return TLSFailure("\(what): \(reason)")
    }

    /// The reason of this thread's first error; all of them are forgotten. Whoever leaves errors in
    /// the queue makes the next call look as if it had failed.
    static func takeReason() -> String? {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0, let text = ERR_reason_error_string(code) else { return nil }
        return String(cString: text)
    }
}
