// The keys of session tickets: one set for the whole process, so that a client may come back to any
// worker, and across reloads.

import COpenSSL
import CWeir
package import WeirTime
import Synchronization

/// Keys that tickets are sealed with (RFC 5077 section 4). The newest seals; those before open what
/// they have sealed, and no ticket is older than the rotation of all of them.
package final class TLSTicketKeys: Sendable {
    /// A ticket's key is drawn anew this often: whoever steals it reads what was said, in TLS 1.2
    /// at least, for as long as it is in use.
    package static let rotation = Interval.seconds(8 * 3600)
    private static let kept = 3

    static let nameBytes = 16
    private static let secretBytes = 32

    struct Key: Sendable {
        var name: [UInt8]
        var cipher: [UInt8]
        var code: [UInt8]

        init() {
            let bytes = TLSTicketKeys.random(TLSTicketKeys.nameBytes + 2 * secretBytes)
            name = Array(bytes[..<nameBytes])
            cipher = Array(bytes[nameBytes..<nameBytes + secretBytes])
            code = Array(bytes[(nameBytes + secretBytes)...])
        }
    }

    /// The newest first.
    private let keys = Mutex([Key()])

    package init() {}

    /// Begins to seal with a new key, and forgets the oldest of them.
    package func rotate() {
        let fresh = Key()
        keys.withLock { $0 = [fresh] + $0.prefix(Self.kept - 1) }
    }

    static func random(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            if let base = buffer.baseAddress { _ = cweir_random(base, count) }
            filled = count
        }
    }

    private var newest: Key? { keys.withLock { $0.first } }

    private func key(named name: UnsafePointer<UInt8>) -> (key: Key, isNewest: Bool)? {
        keys.withLock { keys in
            for (index, key) in keys.enumerated()
            where key.name.elementsEqual(UnsafeBufferPointer(start: name, count: Self.nameBytes)) {
                return (key, index == 0)
            }
            return nil
        }
    }

    // MARK: OpenSSL's callback

    /// Prepares to seal a ticket; 1, or -1 on failure.
    func seal(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>,
        _ cipher: OpaquePointer, _ code: OpaquePointer
    ) -> Int32 {
        guard let key = newest else { return -1 }
        name.update(from: key.name, count: Self.nameBytes)
        let length = Int(EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()))
        guard cweir_random(vector, length) == length,
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipher, vector) == 1,
            copenssl_set_ticket_mac(code, key.code, key.code.count) == 1
        else { return -1 }
        return 1
    }

    /// Prepares to open a ticket; 0 where its key is gone, 2 where the client should get a new one,
    /// 1 otherwise and -1 on failure.
    func open(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>,
        _ cipher: OpaquePointer, _ code: OpaquePointer, isReplaced: Bool
    ) -> Int32 {
        guard let (key, isNewest) = key(named: name) else { return 0 }
        guard copenssl_set_ticket_mac(code, key.code, key.code.count) == 1,
            EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipher, vector) == 1
        else { return -1 }
        return isNewest && !isReplaced ? 1 : 2
    }
}
