// The names that a certificate is for.

import COpenSSL

/// Reads a certificate's subject alternative names, as far as weir asks for them.
enum AlternativeNames {
    enum Kind { case dns, uri }

    /// Calls `body` with each DNS name and each URI among the first `limit` names, with the
    /// name's place among all of them. The bytes are valid during the call.
    static func forEach(
        of certificate: OpaquePointer, atMost limit: Int = .max,
        _ body: (Int, Kind, UnsafeRawBufferPointer) -> Void
    ) {
        let names = copenssl_alternative_names(certificate)
        defer { copenssl_free_names(names) }
        for index in 0..<min(Int(copenssl_name_count(names)), limit) {
            var start: UnsafePointer<UInt8>?
            var count: Int32 = 0
            let kind = copenssl_name_at(names, Int32(index), &start, &count)
            let bytes = UnsafeRawBufferPointer(start: start, count: Int(count))
            switch kind {
            case GEN_DNS: body(index, .dns, bytes)
            case GEN_URI: body(index, .uri, bytes)
            default: break
            }
        }
    }
}
