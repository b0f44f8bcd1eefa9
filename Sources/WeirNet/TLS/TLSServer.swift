// What a listener speaks TLS with: contexts by server name, made once for each configuration.

import COpenSSL
import Glibc

/// Contexts of a listener. It never changes, and all workers use it at once.
package final class TLSServer: @unchecked Sendable, Equatable {
    /// What a listener asks for.
    package struct Settings: Equatable, Sendable {
        /// The first is shown to clients that name no server, or one that no certificate is for.
        package var credentials: [TLSCredential]
        package var leastVersion = TLSVersion.v12
        /// What is spoken on top, the preferred one first, such as `http/1.1`.
        package var protocols: [String] = []
        /// Whose certificates clients may show; `nil` asks for none.
        package var authorities: TLSAuthorities?
        package var demandsCertificate = false

        package init(credentials: [TLSCredential]) { self.credentials = credentials }
    }

    // Mozilla's "intermediate" list of 2024 (ssl-config.mozilla.org), without finite-field DHE,
    // which costs most and is asked for by nobody who lacks the others.
    private static let ciphers =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    private static let suites =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    static let groups = "X25519:P-256:P-384"
    /// How long a client may come back with a ticket, in seconds.
    private static let lifetime = 2 * 3600

    let main: OpaquePointer
    private var exact: [String: OpaquePointer] = [:]
    /// By what follows the `*`, with its dot.
    private var wildcard: [String: OpaquePointer] = [:]
    private var others: [OpaquePointer] = []
    fileprivate let tickets: TLSTicketKeys
    /// Sessions are resumed only within it.
    private let scope: [UInt8]
    /// ALPN's list: each name after its length. Sessions point into it.
    fileprivate let protocols: UnsafeMutableBufferPointer<UInt8>
    package let settings: Settings

    /// Makes the contexts.
    ///
    /// - Parameters:
    ///   - name: the listener's; sessions of one are not resumed at another.
    ///   - tickets: the process's.
    package init(
        _ settings: Settings, name: String, tickets: TLSTicketKeys
    ) throws(TLSFailure) {
        guard let first = settings.credentials.first, let main = SSL_CTX_new(TLS_server_method())
        else { throw .last("no certificate, or no memory") }
        self.main = main
        self.settings = settings
        self.tickets = tickets
        let list = settings.protocols.flatMap { [UInt8(clamping: $0.utf8.count)] + $0.utf8 }
        protocols = .allocate(capacity: list.count)
        _ = protocols.initialize(from: list)
        scope = TLSCredential.digest(
            Array(name.utf8) + [0, settings.demandsCertificate ? 1 : 0]
                + (settings.authorities?.fingerprint ?? []))
        try prepare(main)
        let shown = Self.companions(of: first, among: settings.credentials)
        for credential in shown { try credential.add(to: main) }
        try addNames(besides: shown)
    }

    deinit {
        for context in others { SSL_CTX_free(context) }
        SSL_CTX_free(main)
        protocols.deallocate()
    }

    package static func == (a: TLSServer, b: TLSServer) -> Bool { a.settings == b.settings }

    /// Every context has all settings: a session that changes over to the one of its name takes
    /// the authorities and the scope from there.
    private func prepare(_ context: OpaquePointer) throws(TLSFailure) {
        guard copenssl_set_min_version(context, settings.leastVersion.number) == 1,
            SSL_CTX_set_cipher_list(context, Self.ciphers) == 1,
            SSL_CTX_set_ciphersuites(context, Self.suites) == 1,
            copenssl_set_groups(context, Self.groups) == 1
        else { throw .last("OpenSSL lacks what weir offers") }
        // A client that may renegotiate may ask for any number of handshakes on one connection.
        copenssl_restrict(context)
        copenssl_count_steps(context)
        copenssl_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS))
        // Sessions are with the clients, in their tickets: nothing is kept here, and every worker
        // knows them.
        copenssl_set_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        SSL_CTX_set_timeout(context, Self.lifetime)
        copenssl_set_ticket_callback(context, ticketCallback)
        guard copenssl_bound_tickets(context, Self.lifetime) == 1 else {
            throw .last("tickets cannot be bounded")
        }
        copenssl_set_name_callback(context, nameCallback)
        copenssl_set_status_callback(context, statusCallback)
        if !protocols.isEmpty { SSL_CTX_set_alpn_select_cb(context, protocolCallback, nil) }
        guard SSL_CTX_set_session_id_context(context, scope, UInt32(scope.count)) == 1 else {
            throw .last("the session's scope is refused")
        }
        guard let authorities = settings.authorities else { return }
        try authorities.add(to: context)
        let certificates = authorities.certificates.map(Optional.init)
        copenssl_set_client_authorities(context, certificates, Int32(certificates.count))
        SSL_CTX_set_verify(
            context,
            SSL_VERIFY_PEER | (settings.demandsCertificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            nil)
    }

    // MARK: Names

    /// The credentials that a context for one of them holds: the first of each kind of key that
    /// shares a name with it, so that RSA and ECDSA stand side by side.
    private static func companions(
        of first: TLSCredential, among all: [TLSCredential]
    ) -> [TLSCredential] {
        var kinds: Set<Int32> = [first.keyKind]
        let names = Set(first.names)
        return [first]
            + all.filter { other in
                other !== first && !names.isDisjoint(with: other.names)
                    && kinds.insert(other.keyKind).inserted
            }
    }

    /// A context for each name, shared by names with the same certificates.
    private func addNames(besides shown: [TLSCredential]) throws(TLSFailure) {
        var named: [String: [TLSCredential]] = [:]
        for credential in settings.credentials {
            for name in credential.names {
                let others = named[name, default: []]
                if others.contains(where: { $0.keyKind == credential.keyKind }) { continue }
                named[name] = others + [credential]
            }
        }
        var made = [shown.map(ObjectIdentifier.init): main]
        for (name, credentials) in named.sorted(by: { $0.key < $1.key }) {
            let identity = credentials.map(ObjectIdentifier.init)
            let context: OpaquePointer
            if let known = made[identity] {
                context = known
            } else {
                guard let fresh = SSL_CTX_new(TLS_server_method()) else {
                    throw .last("out of memory")
                }
                others.append(fresh)
                try prepare(fresh)
                for credential in credentials { try credential.add(to: fresh) }
                made[identity] = fresh
                context = fresh
            }
            if name.hasPrefix("*.") {
                wildcard[String(name.dropFirst())] = context
            } else {
                exact[name] = context
            }
        }
    }

    /// The context for a name that a client asks for; `nil` where no certificate is for it.
    fileprivate func context(for name: String) -> OpaquePointer? {
        let name = name.lowercased()
        if let context = exact[name] { return context }
        guard let dot = name.firstIndex(of: "."), dot != name.startIndex else { return nil }
        return wildcard[String(name[dot...])]
    }

    /// What is stapled to the certificate at `leaf`, unless it has grown too old.
    fileprivate func response(for leaf: OpaquePointer) -> [UInt8]? {
        let credential = settings.credentials.first { $0.leaf == leaf }
        guard let credential, !credential.response.isEmpty,
            credential.responseExpiry ?? .max > Int64(time(nil))
        else { return nil }
        return credential.response
    }
}

/// A version of TLS that weir speaks.
package enum TLSVersion: Sendable {
    case v12, v13

    /// As OpenSSL and access logs spell it.
    package var name: StaticString {
        switch self {
        case .v12: "TLSv1.2"
        case .v13: "TLSv1.3"
        }
    }

    var number: Int32 {
        switch self {
        case .v12: TLS1_2_VERSION
        case .v13: TLS1_3_VERSION
        }
    }
}

// OpenSSL calls these from within a session's reading. Literals at file level, since no actor may
// own them: they run on the workers' threads.

/// The server that a session belongs to, which the session's owner keeps alive.
private func server(of session: OpaquePointer?) -> TLSServer? {
    guard let session, let owner = copenssl_owner(session) else { return nil }
    return Unmanaged<TLSServer>.fromOpaque(owner).takeUnretainedValue()
}

private let nameCallback:
    @convention(c) (OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?) ->
        Int32 = { session, _, _ in
            guard let name = SSL_get_servername(session, TLSEXT_NAMETYPE_host_name),
                let context = server(of: session)?.context(for: String(cString: name))
            else { return SSL_TLSEXT_ERR_NOACK }
            SSL_set_SSL_CTX(session, context)
            return SSL_TLSEXT_ERR_OK
        }

private let statusCallback: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = {
    session, _ in
    guard let leaf = SSL_get_certificate(session),
        let response = server(of: session)?.response(for: leaf),
        copenssl_staple(session, response, response.count) == 1
    else { return SSL_TLSEXT_ERR_NOACK }
    return SSL_TLSEXT_ERR_OK
}

private let protocolCallback: SSL_CTX_alpn_select_cb_func = {
    session, chosen, length, offered, count, _ in
    guard let server = server(of: session), let chosen, let length else {
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }
    let own = server.protocols
    var match: UnsafeMutablePointer<UInt8>?
    let result = SSL_select_next_proto(
        &match, length, own.baseAddress, UInt32(own.count), offered, count)
    guard result == OPENSSL_NPN_NEGOTIATED else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    chosen.pointee = UnsafePointer(match)
    return SSL_TLSEXT_ERR_OK
}

private let ticketCallback:
    @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt8>?,
        OpaquePointer?, OpaquePointer?, Int32
    ) -> Int32 = { session, name, vector, cipher, code, isSealing in
        guard let keys = server(of: session)?.tickets, let name, let vector, let cipher, let code
        else { return -1 }
        if isSealing != 0 { return keys.seal(name, vector, cipher, code) }
        // A ticket of TLS 1.3 is used once, lest connections be told to be the same client's.
        let isReplaced = SSL_version(session) == TLS1_3_VERSION
        return keys.open(name, vector, cipher, code, isReplaced: isReplaced)
    }
