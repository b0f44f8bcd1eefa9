// The corpus of well-formed, malformed and ambiguous messages, each with its verdict; the
// fuzzers start from the same files.

import Foundation
import Testing
import WeirHTTP

/// One message of `Tests/Fuzz/corpus` and what `verdicts.tsv` says of it.
struct CorpusMessage: CustomTestStringConvertible, Sendable {
    var path: String
    var verdict: String
    var bytes: [UInt8]
    var testDescription: String { path }

    static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fuzz/corpus")

    static let all: [CorpusMessage] = {
        let table = try? String(
            contentsOf: folder.appending(path: "verdicts.tsv"), encoding: .utf8)
        return (table ?? "").split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap {
            line in
            let columns = line.split(separator: "\t").map(String.init)
            guard columns.count == 2,
                let bytes = try? Data(contentsOf: folder.appending(path: columns[0]))
            else { return nil }
            return CorpusMessage(path: columns[0], verdict: columns[1], bytes: [UInt8](bytes))
        }
    }()
}

@Suite struct CorpusTests {
    /// Reads head and, where it is chunked, the body; `cuts` are where calls end.
    private func verdict(_ message: CorpusMessage, cuts: [Int]) -> String {
        let length: Int
        let framing: BodyFraming
        if message.path.hasPrefix("request/") {
            let read = readRequest(message.bytes, cuts: cuts)
            if let fault = read.fault { return "\(fault)" }
            guard let head = read.head else { return "wait" }
            (length, framing) = (head.length, head.framing)
        } else {
            let read = readResponse(message.bytes, cuts: cuts)
            if let fault = read.fault { return "\(fault)" }
            guard let head = read.head else { return "wait" }
            (length, framing) = (head.length, head.framing)
        }
        guard framing == .chunked else { return "pass" }
        let body = decode(
            Array(message.bytes[length...]),
            cuts: cuts.map { $0 - length }.filter { $0 > 0 })
        if let fault = body.fault { return "\(fault)" }
        return body.isComplete ? "pass" : "wait"
    }

    @Test func `every file has a verdict and every verdict a file`() throws {
        for folder in ["request", "response"] {
            let files = try FileManager.default.contentsOfDirectory(
                atPath: CorpusMessage.folder.appending(path: folder).path)
            let listed = CorpusMessage.all.filter { $0.path.hasPrefix(folder + "/") }
            #expect(Set(files.map { folder + "/" + $0 }) == Set(listed.map(\.path)))
        }
        #expect(CorpusMessage.all.count > 150)
    }

    @Test(arguments: CorpusMessage.all)
    func `has its verdict`(message: CorpusMessage) {
        #expect(verdict(message, cuts: []) == message.verdict)
    }

    @Test(arguments: CorpusMessage.all)
    func `has its verdict wherever the bytes are cut`(message: CorpusMessage) {
        let length = message.bytes.count
        // Long messages repeat themselves: every cut in the first part, some in the rest.
        let places = length < 500 ? Array(1..<length) : Array(1..<200) + [length / 2, length - 1]
        for cut in places {
            #expect(verdict(message, cuts: [cut]) == message.verdict, "cut at \(cut)")
        }
        #expect(verdict(message, cuts: Array(1..<length)) == message.verdict, "byte by byte")
        var numbers = SeededNumbers(seed: 7)
        for _ in 0..<20 {
            let cuts = (0..<4).map { _ in Int.random(in: 1..<length, using: &numbers) }.sorted()
            #expect(verdict(message, cuts: cuts) == message.verdict, "cuts at \(cuts)")
        }
    }
}
