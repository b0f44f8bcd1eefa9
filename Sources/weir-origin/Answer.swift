// What each path answers.

import WeirHTTP
import WeirNet
import WeirTime

extension Client {
    /// How the end of a body is shown.
    private enum Framing { case length(Int), chunked, absent }

    private static let largestBody = 1 << 50

    /// Writes the answer, or begins to stream it.
    func answer() {
        switch action {
        case .bytes(let count): answerBytes(min(count, Self.largestBody))
        case .events: answerEvents()
        case .trailers: answerTrailers()
        case .truncate:
            let count = max(request.query.number("bytes") ?? 1000, 2)
            writeHead(status(200), .length(count))
            out.append(UnsafeRawBufferPointer(rebasing: worker.pattern[..<min(count / 2, 4096)]))
            finish(.abrupt)
        case .garbage:
            out.append("this is not HTTP\u{0}\r\n\r\n")
            finish(.abrupt)
        case .statistics: answer(200, origin.statistics, type: "application/json")
        case .change:
            if let wrong = origin.change(request.query) {
                answer(400, "cannot set \(wrong)\n")
            } else {
                answer(200, "done\n")
            }
        case .echo: answer(status(200), request.json(from: origin), type: "application/json")
        case .upload:
            let text = "\(request.bodyLength) \(request.bodyChecksum.text)\n"
            answer(status(200), text)
        case .status(let number): answer(status(number), "status \(number)\n")
        case .any: answer(status(200), request.text(from: origin))
        default: answer(status(200), "\(origin.name):\(origin.port) \(request.path)\n")
        }
    }

    /// Answers what cannot be read, and ends the connection.
    func refuse(_ problem: Malformed) {
        request = Request()
        ending = .gentle
        isAnswered = false
        answer(problem.statusCode, "malformed: \(problem)\n")
    }

    /// The path's status, unless the settings want another one.
    private func status(_ own: Int) -> Int {
        let share = Double(worker.chance.next() >> 11) / Double(1 << 53 as UInt64)
        if settings.failPercent > 0, share * 100 < settings.failPercent { return 500 }
        return settings.status ?? own
    }

    private func answer(_ status: Int, _ body: String, type: String = "text/plain") {
        let isBodiless = status == 204 || status == 304
        writeHead(status, isBodiless ? .absent : .length(body.utf8.count), type: type)
        if !request.isHead, !isBodiless { out.append(body) }
        answerEnded()
    }

    private func answerBytes(_ count: Int) {
        let isChunked = request.query.isSet("chunked")
        begin(
            .bytes(rate: request.query.number("rate").map { max($0, 1) }), count: count,
            framing: isChunked ? .chunked : .length(count), type: "application/octet-stream")
    }

    private func answerEvents() {
        let count = max(request.query.number("n") ?? 5, 0)
        let every = request.query["every"].flatMap { Settings.interval($0) } ?? .milliseconds(100)
        begin(.events(every: every), count: count, framing: .chunked, type: "text/event-stream")
    }

    private func begin(_ kind: BodyStream.Kind, count: Int, framing: Framing, type: String) {
        let status = status(200)
        let isBodiless = status == 204 || status == 304
        writeHead(status, isBodiless ? .absent : framing, type: type)
        if request.isHead || isBodiless { return answerEnded() }
        var isChunked = false
        if case .chunked = framing { isChunked = request.isHTTP11 }
        stream = BodyStream(
            kind: kind, isChunked: isChunked, start: MonotonicClock.now(), count: count)
        phase = .streaming
    }

    private func answerTrailers() {
        let field = "trailer: x-checksum\r\n"
        writeHead(status(200), .chunked, more: request.isHTTP11 ? field : "")
        guard !request.isHead else { return answerEnded() }
        let body = [UInt8]("a body with trailers\n".utf8)
        body.withUnsafeBytes { bytes in
            guard request.isHTTP11 else { return out.append(bytes) }
            var checksum = Checksum()
            checksum.add(bytes)
            out.append(chunk: bytes)
            out.append("0\r\nx-checksum: \(checksum.text)\r\n\r\n")
        }
        answerEnded()
    }

    private func writeHead(
        _ status: Int, _ framing: Framing, type: String = "text/plain", more: String = ""
    ) {
        let isAnnounced = request.query.isSet("close")
        if isAnnounced { ending = .gentle }
        // HTTP/1.0 knows no chunks: there the end of the connection is the end of the body.
        if case .chunked = framing, !request.isHTTP11 { ending = .gentle }
        out.append("HTTP/1.1 \(status) \(StatusReason.text(for: status))\r\n")
        out.append("server: weir-origin\r\nx-origin: \(origin.name):\(origin.port)\r\ndate: ")
        out.append(worker.dateBytes)
        out.append("\r\ncontent-type: \(type)\r\n")
        switch framing {
        case .length(let count): out.append("content-length: \(count)\r\n")
        case .chunked where request.isHTTP11: out.append("transfer-encoding: chunked\r\n")
        case .chunked, .absent: break
        }
        if ending != nil {
            out.append("connection: close\r\n")
        } else if !request.isHTTP11 {
            out.append("connection: keep-alive\r\n")
        }
        out.append(more)
        out.append("\r\n")
        // Said to nobody: what a pooled connection meets when its server has just given up on it.
        if request.query.isSet("drop"), ending == nil { ending = .gentle }
    }
}
