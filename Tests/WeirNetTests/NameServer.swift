// A name server of a few lines, scripted by a test, on a thread of its own.

import Foundation
import Glibc
import Synchronization
import Testing

/// Answers questions over UDP on 127.0.0.1 from a table that the test may change at any time.
final class NameServer: Sendable {
    enum RecordType: UInt16 { case a = 1, cname = 5, aaaa = 28 }

    enum Reply: Sendable {
        /// Records, each with its bytes and time to live; an empty list is "no data".
        case records([Record])
        /// An error such as 3, NXDOMAIN.
        case error(code: UInt8)
        case silence
    }

    struct Record: Sendable {
        var type: RecordType
        var life: UInt32
        var bytes: [UInt8]

        static func a(_ bytes: UInt8..., life: UInt32 = 60) -> Record {
            Record(type: .a, life: life, bytes: bytes)
        }

        static func aaaa(lastByte: UInt8, life: UInt32 = 60) -> Record {
            let prefix: [UInt8] = [0x20, 0x01, 0x0d, 0xb8]
            let zeros = [UInt8](repeating: 0, count: 11)
            return Record(type: .aaaa, life: life, bytes: prefix + zeros + [lastByte])
        }
    }

    private struct Question: Hashable {
        var name: String
        var type: UInt16
    }

    private struct Script {
        var replies: [Question: Reply] = [:]
        var asked: [Question: Int] = [:]
    }

    let port: UInt16
    private let socket: Int32
    private let script = Mutex(Script())

    /// Binds and starts answering; what is not scripted is NXDOMAIN.
    init() throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = socket
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound)
        port = UInt16(bigEndian: address.sin_port)
        Thread { [self] in serve() }.start()
    }

    /// How a resolver is told of this server.
    var servers: String { "127.0.0.1:\(port)" }

    func set(_ name: String, _ type: RecordType, _ reply: Reply) {
        let question = Question(name: name, type: type.rawValue)
        script.withLock { $0.replies[question] = reply }
    }

    /// How often a question was asked.
    func timesAsked(_ name: String, _ type: RecordType) -> Int {
        script.withLock { $0.asked[Question(name: name, type: type.rawValue)] ?? 0 }
    }

    /// Ends the thread, which holds the server.
    func stop() { _ = shutdown(socket, Int32(SHUT_RDWR)) }

    deinit { _ = close(socket) }

    private func serve() {
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            var peer = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let count = withUnsafeMutablePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(socket, &buffer, buffer.count, 0, $0, &length)
                }
            }
            // A shut down socket reads as an empty datagram.
            guard count > 0 else { return }
            guard let answer = answer(to: Array(buffer[..<count])) else { continue }
            _ = withUnsafePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(socket, answer, answer.count, 0, $0, length)
                }
            }
        }
    }

    private func answer(to query: [UInt8]) -> [UInt8]? {
        var labels: [String] = []
        var offset = 12
        while offset < query.count, query[offset] != 0 {
            let end = offset + 1 + Int(query[offset])
            guard end < query.count else { return nil }
            labels.append(String(decoding: query[offset + 1..<end], as: UTF8.self))
            offset = end
        }
        guard offset + 5 <= query.count else { return nil }
        let type = UInt16(query[offset + 1]) << 8 | UInt16(query[offset + 2])
        let question = Question(name: labels.joined(separator: "."), type: type)
        let reply = script.withLock { script in
            script.asked[question, default: 0] += 1
            return script.replies[question] ?? .error(code: 3)
        }
        switch reply {
        case .silence:
            return nil
        case .error(let code):
            return [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]
                + query[12..<offset + 5]
        case .records(let records):
            var answer: [UInt8] = [query[0], query[1], 0x81, 0x80, 0, 1]
            answer += [0, UInt8(records.count), 0, 0, 0, 0]
            answer += query[12..<offset + 5]
            for record in records {
                answer += [0xC0, 12, 0, UInt8(record.type.rawValue), 0, 1]
                answer += withUnsafeBytes(of: record.life.bigEndian) { Array($0) }
                answer += [0, UInt8(record.bytes.count)] + record.bytes
            }
            return answer
        }
    }
}
