// What a server of WebSockets answers a client's key with (RFC 6455 section 4.2.2).

import COpenSSL

/// The value of `Sec-WebSocket-Accept`.
package enum WebSocketAccept {
    /// Characters of a key: sixteen bytes in base64.
    package static let keyLength = 24
    private static let suffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The answer to a key; `nil` where it has not the length of one, or there is no memory.
    package static func value(for key: UnsafeRawBufferPointer) -> [UInt8]? {
        guard key.count == keyLength else { return nil }
        let text = Array(key) + Array(suffix.utf8)
        var digest = [UInt8](repeating: 0, count: 20)
        guard EVP_Digest(text, text.count, &digest, nil, EVP_sha1(), nil) == 1 else { return nil }
        // It ends with a zero byte.
        var encoded = [UInt8](repeating: 0, count: 29)
        guard EVP_EncodeBlock(&encoded, digest, Int32(digest.count)) == 28 else { return nil }
        return Array(encoded[..<28])
    }
}
