// HTTP/1.x heads, strictly: what could be read in two ways is refused (RFC 9110, RFC 9112).

/// Stateless parsers over borrowed bytes.
package enum H1Parser {
    /// Parses a request head at the start of `bytes`.
    ///
    /// - Parameter seen: how many bytes of `bytes` an earlier call has looked at, so that a head
    ///   that arrives byte by byte costs linear time.
    package static func parseRequest(
        _ bytes: UnsafeRawBufferPointer, seen: Int, limits: HeadLimits,
        into head: inout RequestHead
    ) -> ParseStep {
        .needsMore
    }

    /// Parses a response head at the start of `bytes`; `method` is the request's, which decides
    /// whether a body follows.
    package static func parseResponse(
        _ bytes: UnsafeRawBufferPointer, seen: Int, method: Method, limits: HeadLimits,
        into head: inout ResponseHead
    ) -> ParseStep {
        .needsMore
    }
}
