// Field lines have two readers, one for plain lines and one for any: what they say must agree.

import Testing
import WeirHTTP

@Suite struct PlainLineTests {
    /// A line that is plain if its value is, and the same with a second space, which never is.
    private func bothWays(
        _ lines: [(name: String, value: [UInt8])]
    ) -> (Verdict<ReadResponse>, Verdict<ReadResponse>) {
        func head(_ separator: String) -> [UInt8] {
            var bytes = [UInt8]("HTTP/1.1 200 OK\r\n".utf8)
            for line in lines {
                bytes += [UInt8]("\(line.name):\(separator)".utf8) + line.value + [13, 10]
            }
            return bytes + [13, 10]
        }
        return (readResponse(head(" ")), readResponse(head("  ")))
    }

    /// What was read, without the length, which differs by the spaces.
    private func withoutLength(_ verdict: Verdict<ReadResponse>) -> Verdict<ReadResponse> {
        guard case .complete(var head) = verdict else { return verdict }
        head.length = 0
        return .complete(head)
    }

    @Test(arguments: knownNames)
    func `both know a name, and what it means for the message`(
        name: String, known: KnownField
    ) throws {
        let values: [KnownField: String] = [
            .contentLength: "5", .transferEncoding: "chunked", .connection: "close",
        ]
        let value = [UInt8]((values[known] ?? "x").utf8)
        for spelling in [name, name.uppercased(), name.prefix(1).uppercased() + name.dropFirst()] {
            for padding in [0, 1, 8, 40] {
                let (plain, any) = bothWays([
                    (name: spelling, value: value),
                    (name: "padding", value: [UInt8](repeating: 46, count: padding)),
                ])
                let head = try #require(plain.head)
                #expect(head.fields.map(\.known) == [known, .other])
                #expect(head.fields.map(\.value).first == String(decoding: value, as: UTF8.self))
                #expect(withoutLength(plain) == withoutLength(any))
            }
        }
    }

    @Test func `both find the same in random sections`() {
        var numbers = SeededNumbers(seed: 11)
        let usual = [UInt8](0x21...0x7e) + [32, 32, 32]
        let rare: [UInt8] = [0, 9, 10, 13, 31, 127, 128, 200, 255]
        var faults = 0
        for _ in 0..<20_000 {
            let oddity = Bool.random(using: &numbers) ? 0 : 1
            let lines = (0..<Int.random(in: 1...4, using: &numbers)).map { _ in
                let length = Int.random(in: 1...18, using: &numbers)
                let name = (0..<length).map { _ in
                    String(Unicode.Scalar(UInt8.random(in: 97...122, using: &numbers)))
                }
                let value = (0..<Int.random(in: 0...70, using: &numbers)).map { _ in
                    let isRare = Int.random(in: 0..<60, using: &numbers) < oddity
                    return (isRare ? rare : usual).randomElement(using: &numbers) ?? 46
                }
                return (name: name.joined(), value: value)
            }
            let (plain, any) = bothWays(lines)
            #expect(withoutLength(plain) == withoutLength(any))
            if plain.fault != nil { faults += 1 }
        }
        #expect((1_000..<15_000).contains(faults))
    }

    @Test func `both refuse one field more than allowed`() {
        let limits = HeadLimits(maxBytes: 16_384, maxFields: 70, maxTargetBytes: 100)
        for (separator, count) in [(" ", 70), ("  ", 70), (" ", 71), ("  ", 71)] {
            let lines = String(repeating: "name:\(separator)value of a field\r\n", count: count)
            let verdict = readResponse("HTTP/1.1 200 OK\r\n\(lines)\r\n", limits: limits)
            #expect(verdict.head?.fields.count == (count == 70 ? 70 : nil))
            #expect(verdict.fault == (count == 70 ? nil : .tooManyFields))
        }
    }
}
