// Who may ask the admin listener for what: tokens, browsers, and names that point at loopback.

import WeirHTTP
import WeirNet

/// Decides whether a request may reach its handler.
struct AdminGate {
    /// What the listener is bound to.
    let address: SocketAddress
    /// The bearer token that changes must carry.
    var token: [UInt8]?

    /// What in a head the gate looks at.
    struct Claims {
        var method = Method.other
        /// Without the port; brackets around IPv6.
        var host = ""
        var authorization: [UInt8] = []
        /// The request has an `Origin` field: a page in a browser made it.
        var hasOrigin = false
        /// `Sec-Fetch-Site`, empty when absent.
        var fetchSite = ""
    }

    /// The request carries the token, or none is configured.
    func isAuthorised(_ claims: Claims) -> Bool {
        guard let token else { return true }
        let scheme = Array("bearer ".utf8)
        let given = claims.authorization
        guard given.count > scheme.count,
            zip(given, scheme).allSatisfy({ $0 | 0x20 == $1 })
        else { return false }
        return Self.areEqual(given[scheme.count...], token)
    }

    /// The answer to a request that must not reach its handler; `nil` lets it pass.
    func refusal(_ claims: Claims) -> AdminResponse? {
        let isFromBrowserPage =
            claims.hasOrigin
            || !["", "none", "same-origin"].contains(claims.fetchSite.lowercased())
        if isFromBrowserPage {
            return .text(403, "requests from web pages are refused\n")
        }
        if !isHostExpected(claims.host) {
            return .text(403, "unexpected Host: ask for localhost or the bound address\n")
        }
        guard claims.method != .get, claims.method != .head else { return nil }
        if token == nil, !address.isLocal {
            return .text(
                403, "changes need admin.token_file when the address is not loopback\n")
        }
        return isAuthorised(claims) ? nil : .text(401, "changes need the bearer token\n")
    }

    /// A page of a hostile site may make its own name resolve to loopback ("DNS rebinding"); its
    /// requests then carry that name. Clients without `Host` are not browsers.
    private func isHostExpected(_ host: String) -> Bool {
        guard case .ip(let bound, _) = address, bound.isLoopback, !host.isEmpty else {
            return true
        }
        if host.lowercased() == "localhost" { return true }
        let literal = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        return IPAddress(literal)?.isLoopback ?? false
    }

    /// Compares in a time that depends only on the length of what was given.
    private static func areEqual(_ given: ArraySlice<UInt8>, _ token: [UInt8]) -> Bool {
        guard given.count == token.count else { return false }
        return zip(given, token).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
