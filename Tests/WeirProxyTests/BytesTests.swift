// Comparing bytes: words of eight must say what single bytes say.

import Testing

@testable import WeirProxy

@Suite struct BytesTests {
    private static func areEqual(_ a: [UInt8], _ lower: [UInt8]) -> Bool {
        a.withUnsafeBytes { a in
            lower.withUnsafeBytes { Bytes.areEqual(a, ignoringCase: $0) }
        }
    }

    @Test(arguments: [3, 8, 13])
    func `a capital letter is its small one, and nothing else is`(length: Int) {
        var name = [UInt8](repeating: UInt8(ascii: "x"), count: length)
        var other = name
        for wanted in UInt8.min...UInt8.max where !(0x41...0x5A).contains(wanted) {
            name[length - 1] = wanted
            for byte in UInt8.min...UInt8.max {
                other[length - 1] = byte
                let isSame = Bytes.lowercased(byte) == wanted
                if Self.areEqual(other, name) != isSame {
                    Issue.record("\(byte) for \(wanted) at the end of \(length)")
                }
            }
        }
    }

    @Test func `capitals anywhere make no difference`() {
        let lower = [UInt8]("x-forwarded-for".utf8)
        #expect(Self.areEqual([UInt8]("X-Forwarded-For".utf8), lower))
        #expect(Self.areEqual([UInt8]("X-FORWARDED-FOR".utf8), lower))
        #expect(!Self.areEqual([UInt8]("X-Forwarded-Fo".utf8), lower))
        #expect(!Self.areEqual([UInt8]("X\u{0d}Forwarded-For".utf8), lower))
    }
}
