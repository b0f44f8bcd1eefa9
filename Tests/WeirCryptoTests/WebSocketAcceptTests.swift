// The answer to a WebSocket client's key.

import Testing
import WeirCrypto

@Suite struct WebSocketAcceptTests {
    private func value(_ key: String) -> String? {
        Array(key.utf8).withUnsafeBytes { WebSocketAccept.value(for: $0) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `the example of RFC 6455 section 1.3`() {
        #expect(value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test(arguments: ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ==="])
    func `what is not as long as a key has no answer`(_ key: String) {
        #expect(value(key) == nil)
    }
}
