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
    private let port: TLSPort
    private var end: Opened?
    /// The peers have agreed on keys, and the peer is who it has to be. It stays so: OpenSSL calls
    /// itself unfinished again while it reads what follows a handshake.
    package private(set) var isEstablished = false
    /// Steps of a handshake, and of messages that follow one, that the peer may still cause. Each
    /// change of keys takes as long as many records: a peer that asks for one after the other wants
    /// to keep this side busy. A handshake takes some 30, a ticket 1, a change of keys up to 5.
    private var stepsLeft = mostSteps
    private static let mostSteps: Int32 = 200
    /// Plaintext that has not earned a step yet.
    private var unpaidBytes = 0
    /// Bytes of plaintext for which the peer may cause another step.
    private static let bytesAStep = 64 << 10
    /// Why the session has failed, in OpenSSL's words.
    package private(set) var failure: String?
    private var hasRefusal = false
    /// The peer's certificate, once it was asked for.
    private var certificate: PeerCertificate??

    /// A session that answers a client.
    init(_ server: TLSServer, port: TLSPort) throws(TLSFailure) {
        guard let session = SSL_new(server.main) else { throw .last("out of memory") }
        self.session = session
        self.server = server
        self.port = port
        client = nil
        copenssl_set_owner(session, Unmanaged.passUnretained(server).toOpaque())
        port.attach(session)
        SSL_set_accept_state(session)
    }

    /// A session that asks a server.
    init(
        _ client: TLSClientSession, offering offered: StaticString?, port: TLSPort
    ) throws(TLSFailure) {
        session = try client.makeSession(offering: offered)
        server = nil
        self.client = client
        self.port = port
        port.attach(session)
        SSL_set_connect_state(session)
    }

    deinit {
        // A session that ends without this is taken for a broken one, and not resumed.
        SSL_set_shutdown(session, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(session)
    }

    /// The handshake has begun.
    var hasBegun: Bool { SSL_in_before(session) == 0 }

    /// This side answers, and the other could ask for any number of handshakes.
    var isServer: Bool { server != nil }

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
        port.offer(0)
        ERR_clear_error()
        let result = SSL_do_handshake(session)
        return result == 1 || !fails(result)
    }

    /// Opens `received` bytes of records, which lie in the port's input, into `plaintext`, which
    /// holds as much as they can be and a record more.
    func open(_ received: Int, into plaintext: UnsafeMutableRawPointer, room: Int) -> Opened {
        if let end { return end }
        port.offer(received, steps: stepsLeft)
        defer { port.offer(0) }
        ERR_clear_error()
        var count = 0
        while count < room {
            var more = 0
            let result = SSL_read_ex(session, plaintext + count, room - count, &more)
            if result == 1 {
                // Said now: a record that is broken, or half of a change of keys, may follow.
                isEstablished = true
                count += more
                // Another call would only say that there is no more.
                if port.isDrained, SSL_pending(session) == 0 { break }
                continue
            }
            switch SSL_get_error(session, result) {
            case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
            case SSL_ERROR_ZERO_RETURN: end = .ended
            default: fail()
            }
            break
        }
        if !isEstablished { isEstablished = SSL_is_init_finished(session) == 1 }
        countSteps(count)
        return count > 0 ? .bytes(count) : end ?? .nothing
    }

    private func countSteps(_ count: Int) {
        stepsLeft = port.stepsLeft
        if stepsLeft < 0 { return fail("the peer asks for too many changes of keys") }
        unpaidBytes += count
        guard unpaidBytes >= Self.bytesAStep else { return }
        let earned = Int32(clamping: unpaidBytes / Self.bytesAStep)
        stepsLeft = min(Self.mostSteps, stepsLeft + earned)
        unpaidBytes %= Self.bytesAStep
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

    private func fail(_ reason: String) {
        failure = reason
        end = .failed
    }

    /// The peer has refused this side's part of the handshake, which in TLS 1.3 is heard of when
    /// data may have been sent already: the peer has looked at none of it.
    package var isRefused: Bool { hasRefusal && version == .v13 }

    /// Alerts that say so: the handshake as a whole, certificates of all kinds, access, a wrong
    /// signature, and no certificate (RFC 8446 section 6.2).
    private static func isRefusal(_ error: UInt) -> Bool {
        guard ERR_GET_LIB(error) == ERR_LIB_SSL else { return false }
        switch ERR_GET_REASON(error) - SSL_AD_REASON_OFFSET {
        case 40, 42...46, 48, 49, 51, 116: return true
        default: return false
        }
    }

    private func fail() {
        hasRefusal = Self.isRefusal(ERR_peek_error())
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
