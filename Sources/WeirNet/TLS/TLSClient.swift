// What a cluster's connections speak TLS with.

import COpenSSL

/// The context of a cluster. It never changes, and all workers use it at once.
package final class TLSClient: @unchecked Sendable, Equatable {
    /// What a cluster asks for.
    package struct Settings: Equatable, Sendable {
        /// Whose certificates are believed; `nil` believes those that the system does.
        package var authorities: TLSAuthorities?
        /// Believes any certificate.
        package var isUnverified = false
        /// The name that the endpoint must prove, and is told that is asked for; `nil` is its
        /// address, which is told nobody.
        package var name: String?
        /// What weir proves itself with where the endpoint asks.
        package var credential: TLSCredential?

        package init() {}
    }

    package let settings: Settings
    let context: OpaquePointer

    package init(_ settings: Settings) throws(TLSFailure) {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw .last("out of memory") }
        self.context = context
        self.settings = settings
        guard copenssl_set_min_version(context, TLSVersion.v12.number) == 1,
            copenssl_set_groups(context, TLSServer.groups) == 1
        else { throw .last("OpenSSL lacks what weir offers") }
        // An endpoint that may renegotiate may do so in the middle of a request.
        copenssl_restrict(context)
        copenssl_count_steps(context)
        copenssl_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS))
        // Each worker keeps the last session of each endpoint by itself.
        copenssl_set_cache_mode(
            context, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL))
        SSL_CTX_sess_set_new_cb(context, sessionCallback)
        if let authorities = settings.authorities {
            try authorities.add(to: context)
        } else if !settings.isUnverified, SSL_CTX_set_default_verify_paths(context) != 1 {
            throw .last("the system has no list of authorities")
        }
        SSL_CTX_set_verify(context, settings.isUnverified ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nil)
        try settings.credential?.add(to: context)
    }

    deinit { SSL_CTX_free(context) }

    package static func == (a: TLSClient, b: TLSClient) -> Bool { a.settings == b.settings }
}

/// What one worker's sessions with one endpoint have in common: the last of them, to be resumed.
package final class TLSClientSession {
    package let client: TLSClient
    private let address: IPAddress?
    private var last: OpaquePointer?

    /// - Parameter address: the endpoint's, which it must prove where no name is asked for.
    package init(_ client: TLSClient, address: IPAddress?) {
        self.client = client
        self.address = address
    }

    deinit { SSL_SESSION_free(last) }

    fileprivate func keep(_ session: OpaquePointer) {
        SSL_SESSION_free(last)
        last = session
    }

    /// A session that has not begun; its owner keeps this one alive.
    ///
    /// - Parameter offered: what is to be spoken on top; `nil` says nothing of it.
    func makeSession(offering offered: StaticString?) throws(TLSFailure) -> OpaquePointer {
        guard let session = SSL_new(client.context) else { throw .last("out of memory") }
        copenssl_set_owner(session, Unmanaged.passUnretained(self).toOpaque())
        // Alternative names only, and a `*` for a whole label only (RFC 9525 section 6.3).
        SSL_set_hostflags(
            session,
            UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        var isNamed = true
        let name = client.settings.name
        if let address = name == nil ? address : name.flatMap({ IPAddress($0) }) {
            // No address is told as a name (RFC 6066 section 3).
            let parameters = SSL_get0_param(session)
            isNamed = X509_VERIFY_PARAM_set1_ip_asc(parameters, address.description) == 1
        } else if let name {
            isNamed =
                copenssl_set_host_name(session, name) == 1 && SSL_set1_host(session, name) == 1
        } else if !client.settings.isUnverified {
            isNamed = false
        }
        guard isNamed else {
            SSL_free(session)
            throw .last("no name that the endpoint can prove")
        }
        if let offered {
            let bytes = UnsafeBufferPointer(
                start: offered.utf8Start, count: offered.utf8CodeUnitCount)
            let list = [UInt8(clamping: bytes.count)] + bytes
            guard SSL_set_alpn_protos(session, list, UInt32(list.count)) == 0 else {
                SSL_free(session)
                throw .last("out of memory")
            }
        }
        if let last { SSL_set_session(session, last) }
        return session
    }
}

private let sessionCallback: @convention(c) (OpaquePointer?, OpaquePointer?) -> Int32 = {
    session, fresh in
    guard let session, let fresh, let owner = copenssl_owner(session) else { return 0 }
    Unmanaged<TLSClientSession>.fromOpaque(owner).takeUnretainedValue().keep(fresh)
    // The reference is kept.
    return 1
}
