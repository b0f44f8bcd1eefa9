// One connection's TLS: records in, plaintext out, and back.

import COpenSSL
import Glibc

/// A session. Lives on its worker's thread.
///
///     handshake --> open --> ended | failed
package final class TLSSession {
    /// What reading came to.
    enum Opened {
        /// This much plaintext; it may be the last.
        case bytes(Int)
        /// Records were missing, or were only the protocol's own.
        case nothing
        /// The peer has said that it sends no more.
        case ended
        case failed
    }

    private let session: OpaquePointer
    // Kept, since OpenSSL refers to it.
    private let server: TLSServer?
    private let client: TLSClientSession?
    private var end: Opened?
    /// Why the session has failed, in OpenSSL's words.
    package private(set) var failure: String?
    /// The peer's certificate, once it was asked for.
    private var certificate: PeerCertificate??

    /// A session that answers a client.
    init(_ server: TLSServer, port: TLSPort) throws(TLSFailure) {
        guard let session = SSL_new(server.main) else { throw .last("out of memory") }
        self.session = session
        self.server = server
        client = nil
        copenssl_set_owner(session, Unmanaged.passUnretained(server).toOpaque())
        port.attach(session)
        SSL_set_accept_state(session)
    }

    /// A session that asks a server.
    init(_ client: TLSClientSession, port: TLSPort) throws(TLSFailure) {
        session = try client.makeSession()
        server = nil
        self.client = client
        port.attach(session)
        SSL_set_connect_state(session)
    }

    deinit {
        // A session that ends without this is taken for a broken one, and not resumed.
        SSL_set_shutdown(session, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(session)
    }

    /// The peers have agreed on keys, and the peer is who it has to be.
    package var isEstablished: Bool { SSL_is_init_finished(session) == 1 }

    /// The keys are those of an earlier session.
    package var isResumed: Bool { SSL_session_reused(session) == 1 }

    /// What the peers have agreed on.
    package var version: TLSVersion {
        SSL_version(session) == TLSVersion.v13.number ? .v13 : .v12
    }

    /// The peer has ended the session in good order: what came before is all that it had to say.
    package var hasOrderlyEnd: Bool { if case .ended? = end { true } else { false } }

    /// What the peers have agreed to speak; empty where they have not talked about it.
    package var agreedProtocol: UnsafeRawBufferPointer {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(session, &name, &count)
        return UnsafeRawBufferPointer(start: name, count: Int(count))
    }

    /// The client's certificate, which was verified; `nil` where it has shown none.
    package var peerCertificate: PeerCertificate? {
        if let certificate { return certificate }
        guard isEstablished else { return nil }
        let shown = SSL_get0_peer_certificate(session).flatMap {
            SSL_get_verify_result(session) == Int(X509_V_OK) ? PeerCertificate($0) : nil
        }
        certificate = .some(shown)
        return shown
    }

    // MARK: Records

    /// Begins a handshake, where this side speaks first.
    func begin() -> Bool {
        let result = SSL_do_handshake(session)
        return result == 1 || !fails(result)
    }

    /// Opens the records that the port offers, all of them, into `plaintext`, which holds as much
    /// as they can be and a record more.
    func open(into plaintext: UnsafeMutableRawPointer, room: Int) -> Opened {
        if let end { return end }
        var count = 0
        while count < room {
            var more = 0
            let result = SSL_read_ex(session, plaintext + count, room - count, &more)
            if result == 1 {
                count += more
                continue
            }
            switch SSL_get_error(session, result) {
            case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
            case SSL_ERROR_ZERO_RETURN: end = .ended
            default: fail()
            }
            break
        }
        if count > 0 { return .bytes(count) }
        return end ?? .nothing
    }

    /// Reading would say at once that the session is over.
    var hasEnd: Bool { end != nil }

    /// Seals one record.
    func seal(_ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
        var written = 0
        let result = SSL_write_ex(session, bytes, count, &written)
        guard result == 1, written == count else {
            fail()
            return false
        }
        return true
    }

    /// Writes the alert that ends this side.
    func sayGoodbye() {
        guard isEstablished, failure == nil else { return }
        if SSL_shutdown(session) < 0 { ERR_clear_error() }
    }

    private func fails(_ result: Int32) -> Bool {
        switch SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return false
        default:
            fail()
            return true
        }
    }

    private func fail() {
        let verdict = SSL_get_verify_result(session)
        let reason = TLSFailure.takeReason()
        if verdict != Int(X509_V_OK), let text = X509_verify_cert_error_string(verdict) {
            failure = "\(reason ?? "the certificate is refused"): \(String(cString: text))"
        } else {
            failure = reason ?? "the peer has broken off"
        }
        end = .failed
    }
}
