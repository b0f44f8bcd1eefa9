// WebSockets to endpoints of HTTP/2 (RFC 8441): what HTTP/1 calls an upgrade, and its 101.

import WeirCrypto
import WeirHTTP
import WeirPolicy

enum H2Tunnel {
    private static let additions = 160

    /// Why an endpoint cannot be asked for the tunnel that a request wants; `nil` where it can.
    static func refusal(_ exchange: Exchange, _ call: H2Call) -> Refusal? {
        // Another method would not be what routes and policies have seen (RFC 6455 section 4.1).
        guard case .get = exchange.head.method else { return .badRequest }
        let message = exchange.message.bytes
        var upgrade: UnsafeRawBufferPointer?
        for index in 0..<exchange.head.fields.count
        where exchange.head.fields[index].known == .upgrade {
            // A choice of several is not one that can be passed on.
            guard upgrade == nil else { return .notImplemented }
            upgrade = message[valueOf: exchange.head.fields[index]]
        }
        guard let upgrade, FieldValue.equals(upgrade, "websocket"), call.takesTunnels else {
            return .notImplemented
        }
        return accept(exchange) == nil ? .badRequest : nil
    }

    /// The field belongs to the handshake of HTTP/1 alone.
    static func isHandshake(_ name: UnsafeRawBufferPointer) -> Bool {
        FieldValue.equals(name, "sec-websocket-key")
    }

    /// Lays an endpoint's consent out as HTTP/1 has it, valid during `body`.
    static func withConsent(
        to exchange: Exchange, _ text: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        withUnsafeTemporaryAllocation(byteCount: text.count + additions, alignment: 1) {
            var out = ByteWriter($0)
            out.append("HTTP/1.1 101 Switching Protocols\r\n")
            out.append("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ")
            if let value = accept(exchange) { value.withUnsafeBytes { out.append($0) } }
            out.append("\r\n")
            var rest = afterLine(text)
            while rest.count > 0 {
                let next = afterLine(rest)
                let line = rest.part(0, rest.count - next.count)
                if !FieldValue.hasPrefix(line, "sec-websocket-accept:") { out.append(line) }
                rest = next
            }
            body(out.written)
        }
    }

    /// What follows the first line.
    private static func afterLine(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        guard let end = text.firstIndex(of: UInt8(ascii: "\n")) else { return text.part(0, 0) }
        return text.part(end + 1, text.count - end - 1)
    }

    private static func accept(_ exchange: Exchange) -> [UInt8]? {
        let message = exchange.message.bytes
        for index in 0..<exchange.head.fields.count
        where isHandshake(message[nameOf: exchange.head.fields[index]]) {
            return WebSocketAccept.value(for: message[valueOf: exchange.head.fields[index]])
        }
        return nil
    }
}
