// What a call of gRPC says of itself.

import Testing
import WeirNet
import WeirPolicy
import WeirTime

@testable import WeirProxy

@Suite struct `Calls of gRPC` {
    private func timeout(_ text: String) -> Interval? {
        Array(text.utf8).withUnsafeBytes { GRPC.timeout($0) }
    }

    @Test(arguments: [
        ("1H", Interval.seconds(3600)), ("2M", .seconds(120)), ("03S", .seconds(3)),
        ("4m", .milliseconds(4)), ("5u", .microseconds(5)), ("6n", Interval(nanoseconds: 6)),
        ("0n", .zero), ("99999999n", Interval(nanoseconds: 99_999_999)),
    ])
    func `a timeout has a unit`(text: String, expected: Interval) {
        #expect(timeout(text) == expected)
    }

    @Test func `the longest has no end`() {
        #expect(timeout("99999999H") == .max)
    }

    @Test func `an answer of which a part found no memory is reset, and gives its own back`() throws
    {
        let stand = try Stand { $0.requestBuffer = 0 }
        let client = try stand.client()
        // No windows for bodies; a POST to /, of `application/grpc`, that ends with its head.
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        client.send([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0])
        let block = [0x83, 0x86, 0x84, 0x41, 1, 0x61, 0x5F, 16] + Array("application/grpc".utf8)
        client.send([0, 0, UInt8(block.count), 1, 5, 0, 0, 0, 1] + block)
        let origin = try stand.accept()
        _ = try stand.readHead(origin)
        stand.proxy.context.pool.limit = 0
        origin.send(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
                + "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        let reset: [UInt8] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2]
        try stand.turn(until: "the stream is reset") {
            client.received.firstRange(of: reset) != nil
        }
        #expect(stand.proxy.context.pool.bytesInUse == 0)
        #expect(stand.refusals(.resourceExhausted) == 1)
    }

    @Test(arguments: [
        "", "1", "S", "1s", "1 S", " 1S", "-1S", "+1S", "1.5S", "1SS", "123456789S", "0x1S",
        "1\u{e9}",
    ])
    func `anything else is none`(text: String) {
        #expect(timeout(text) == nil)
    }
}
