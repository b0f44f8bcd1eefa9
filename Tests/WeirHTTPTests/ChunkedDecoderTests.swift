// The chunked coding against a plain reference, and its bounds.

import Testing
import WeirHTTP

/// What a chunked body decoded to.
struct DecodedBody: Equatable {
    var body: [UInt8] = []
    var trailers = ""
    var consumed = 0
    var isComplete = false
    var fault: Malformed?
}

/// Decodes a body that arrives in pieces which end at `cuts`.
func decode(_ bytes: [UInt8], cuts: [Int] = []) -> DecodedBody {
    var decoder = ChunkedDecoder()
    return decode(bytes, cuts: cuts, with: &decoder)
}

func decode(
    _ bytes: [UInt8], cuts: [Int] = [], with decoder: inout ChunkedDecoder
) -> DecodedBody {
    var decoded = DecodedBody()
    var start = 0
    for end in cuts.filter({ $0 <= bytes.count }) + [bytes.count] where !decoded.isComplete {
        var piece = Array(bytes[start..<end])
        start = end
        do throws(Malformed) {
            var progress = ChunkedProgress(consumed: 0, bodyLength: 0, isComplete: false)
            var fault: Malformed?
            piece.withUnsafeMutableBytes { memory in
                do throws(Malformed) { progress = try decoder.decode(memory) } catch {
                    fault = error
                }
            }
            if let fault { throw fault }
            decoded.body += piece[..<progress.bodyLength]
            decoded.consumed += progress.consumed
            decoded.isComplete = progress.isComplete
        } catch {
            decoded.fault = error
            return decoded
        }
    }
    decoded.trailers = String(decoding: decoder.trailers, as: UTF8.self)
    return decoded
}

private func decode(_ text: String) -> DecodedBody { decode([UInt8](text.utf8)) }

@Suite struct ChunkedDecoderTests {
    @Test func `joins the chunks and leaves what follows them`() {
        let decoded = decode("5\r\nhello\r\n1;x=\"y\"\r\n,\r\n6\r\n world\r\n0\r\n\r\nGET /")
        #expect(decoded.body == Array("hello, world".utf8))
        #expect(decoded.isComplete)
        #expect(decoded.consumed == 38)
        #expect(decoded.trailers == "")
    }

    @Test func `does the same wherever the bytes are cut`() {
        var numbers = SeededNumbers(seed: 42)
        for round in 0..<400 {
            var wire: [UInt8] = []
            var body: [UInt8] = []
            for _ in 0..<Int.random(in: 0...6, using: &numbers) {
                let size = Int.random(in: 1...(round % 5 == 0 ? 5000 : 40), using: &numbers)
                let chunk = (0..<size).map { _ in UInt8.random(in: 0...255, using: &numbers) }
                let zeros = String(repeating: "0", count: Int.random(in: 0...3, using: &numbers))
                let digits = String(size, radix: 16, uppercase: Bool.random(using: &numbers))
                let mark = Bool.random(using: &numbers) ? "" : ";e=1"
                wire += Array("\(zeros)\(digits)\(mark)\r\n".utf8) + chunk + Array("\r\n".utf8)
                body += chunk
            }
            let trailer = Bool.random(using: &numbers) ? "X-Sum: 1\r\n" : ""
            wire += Array("0\r\n\(trailer)\r\n".utf8)
            let length = wire.count
            wire += Array("next".utf8)
            let cuts = (0..<Int.random(in: 0...8, using: &numbers)).map { _ in
                Int.random(in: 0...wire.count, using: &numbers)
            }
            let decoded = decode(wire, cuts: cuts.sorted())
            #expect(
                decoded
                    == DecodedBody(
                        body: body, trailers: trailer, consumed: length, isComplete: true),
                "round \(round)")
        }
    }

    @Test(arguments: [
        "\r\n", " 5\r\n", "5 \r\n", "5\t\r\n", "0x5\r\n", "+5\r\n", "-5\r\n", "5\n", "5\rh",
        "g\r\n",
        "5 ;x\r\n", "5;\n", "5;\u{1}\r\n", "5;a\rb\r\n", "5;\u{7f}\r\n", "5;\u{e9}\r\n", ";x\r\n",
        "11111111111111111\r\n", "00000000000000000\r\n", "8000000000000000\r\n",
        "4000000000000000\r\n", "ffffffffffffffff\r\n", "5,5\r\n", "5_\r\n", "5.\r\n",
    ])
    func `refuses a size that is not hexadecimal digits alone`(text: String) {
        #expect(decode(text).fault == .chunkSize)
    }

    @Test func `sizes may go up to half of what 63 bits hold`() {
        #expect(decode("3fffffffffffffff\r\nx").fault == nil)
        #expect(decode("0000000000000001\r\nx\r\n").fault == nil)
    }

    @Test(arguments: ["3\r\nabcd", "3\r\nabc\n", "3\r\nabc\rX", "3\r\nabc0\r\n\r\n"])
    func `refuses a chunk that does not end where its size says`(text: String) {
        #expect(decode(text).fault == .chunkEnd)
    }

    @Test func `a size line may have 1,024 bytes of extension`() {
        let most = String(repeating: "e", count: 1023)
        #expect(decode("1;\(most)\r\nx\r\n0\r\n\r\n").isComplete)
        #expect(decode("1;\(most)e\r\nx\r\n0\r\n\r\n").fault == .chunkSize)
    }

    @Test func `chunks of one byte pass, chunks of mostly extension do not`() {
        let bare = String(repeating: "1\r\nx\r\n", count: 100_000)
        #expect(decode(bare + "0\r\n\r\n").body.count == 100_000)
        let padded = "1;" + String(repeating: "e", count: 100) + "\r\nx\r\n"
        #expect(decode(String(repeating: padded, count: 100) + "0\r\n\r\n").isComplete)
        #expect(decode(String(repeating: padded, count: 1000)).fault == .chunkSize)
    }

    @Test func `forwards only trailers that change nothing about the message`() {
        let decoded = decode(
            """
            0\r\nContent-Length: 1\r\nX-Sum:  abc \r\nTransfer-Encoding: chunked\r\nHost: b\r\n\
            Set-Cookie: a\r\ncontent-encoding: gzip\r\nX-Forwarded-For: 1\r\nTrailer: x\r\n\
            Content_Length: 7\r\nX_Forwarded_For: 8\r\nServer-Timing: t\r\nAuthorization: x\r\n\
            If-Match: x\r\nCache-Control: x\r\nConnection: x\r\nX-Real-IP: y\r\n\r\n
            """)
        #expect(decoded.isComplete)
        #expect(decoded.trailers == "X-Sum: abc\r\nServer-Timing: t\r\n")
    }

    @Test(arguments: [
        "X: 1\n\r\n", "X: 1\r\n 2\r\n\r\n", "X : 1\r\n\r\n", ": 1\r\n\r\n", "X\r\n\r\n",
        "X: \0\r\n\r\n",
        "\n", "\rX", "X: 1\r\n\n", "X: a\rb\r\n\r\n", " X: 1\r\n\r\n",
    ])
    func `refuses trailers that would be refused in a head`(section: String) {
        #expect(decode("0\r\n\(section)").fault == .trailer)
    }

    @Test func `trailers have a bound in bytes and in number`() {
        let most = String(repeating: "X: 1\r\n", count: 32)
        #expect(decode("0\r\n\(most)\r\n").trailers == most)
        #expect(decode("0\r\n\(most)X: 1\r\n\r\n").fault == .trailerTooLarge)
        let value = String(repeating: "v", count: 8192 - 5)
        #expect(decode("0\r\nX: \(value)\r\n\r\n").isComplete)
        #expect(decode("0\r\nX: \(value)v\r\n\r\n").fault == .trailerTooLarge)
        #expect(decode("0\r\nX: \(value)\(value)").fault == .trailerTooLarge)
    }

    @Test func `is ready for the next body after a reset, whatever came before`() {
        var decoder = ChunkedDecoder()
        for spoiler in ["0\r\nX: 1\r\n\r\n", "5\r\nhel", "g", "0\r\nX: ", "1;xx", "fff"] {
            _ = decode([UInt8](spoiler.utf8), with: &decoder)
            decoder.reset()
            let decoded = decode([UInt8]("2\r\nok\r\n0\r\n\r\n".utf8), with: &decoder)
            #expect(decoded.body == Array("ok".utf8))
            #expect(decoded.isComplete)
            #expect(decoded.trailers == "")
            decoder.reset()
        }
    }

    @Test func `takes nothing more once it is complete`() throws {
        var decoder = ChunkedDecoder()
        #expect(decode([UInt8]("0\r\n\r\n".utf8), with: &decoder).isComplete)
        let more = decode([UInt8]("5\r\nhello\r\n".utf8), with: &decoder)
        #expect(more == DecodedBody(isComplete: true))
        let nothing = try decoder.decode(UnsafeMutableRawBufferPointer(start: nil, count: 0))
        #expect(nothing == ChunkedProgress(consumed: 0, bodyLength: 0, isComplete: true))
    }
}
