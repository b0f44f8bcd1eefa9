// Fuzzes TLS' records: whatever becomes of them on the way, what is read is what was sent.

import FuzzSupport
import Glibc
import WeirNet
import WeirTime

/// One side of a connection: reads all that it gets, and has something to say.
private final class Side: Connection {
    private(set) var heard: [UInt8] = []
    private(set) var isOver = false
    var words: [UInt8] = []

    func speak() {
        if tls == nil || tls?.isEstablished == true, !words.isEmpty {
            _ = send(words)
            words = []
        }
    }

    override func secured() { speak() }

    override func readReady() {
        while fd >= 0, isReadable, !isOver {
            switch receive() {
            case .bytes(let count):
                heard += UnsafeRawBufferPointer(start: context.readBuffer, count: count)
            case .wouldBlock: return
            case .endOfStream, .failed: end()
            }
        }
    }

    override func resume() { if fd >= 0 { readReady() } }
    override func hungUp() { end() }

    func end() {
        guard !isOver else { return }
        isOver = true
        closeNow()
    }
}

/// A wire that can be held in the middle.
private struct Wire {
    let near: Int32
    let far: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { finding("no sockets") }
        (near, far) = (ends[0], ends[1])
    }

    /// What has come out of this side's socket.
    func take() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(far, &bytes, bytes.count, 0)
        return count > 0 ? Array(bytes[..<count]) : []
    }

    func give(_ bytes: [UInt8]) {
        if !bytes.isEmpty { _ = Glibc.send(far, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
    }
}

private struct Stand {
    let loop: EventLoop
    let context: StreamContext
    let server: TLSServer
    let client: TLSClientSession

    init() {
        do {
            loop = try EventLoop()
            context = StreamContext(loop: loop, pool: BufferPool(limit: 64 << 20))
            let pem = Self.read(getenv("WEIR_FUZZ_PEM").map { String(cString: $0) } ?? "")
            let credential = try TLSCredential(chain: pem, key: pem)
            var settings = TLSServer.Settings(credentials: [credential])
            settings.protocols = ["h2", "http/1.1"]
            server = try TLSServer(settings, name: "edge", tickets: TLSTicketKeys())
            var asked = TLSClient.Settings()
            asked.isUnverified = true
            client = TLSClientSession(try TLSClient(asked), address: nil)
        } catch {
            finding("no stand: \(error)")
        }
    }

    private static func read(_ path: String) -> [UInt8] {
        guard let file = fopen(path, "r") else { finding("WEIR_FUZZ_PEM names no file") }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, file)
        return Array(bytes[..<count])
    }
}

nonisolated(unsafe) private let stand = Stand()
/// Longer than a record, and no part of it like another.
private let speech = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }

@c(LLVMFuzzerTestOneInput)
func fuzzTls(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = UnsafeRawBufferPointer(start: data, count: count)
    guard let first = input.first else { return 0 }
    if first & 1 == 0 {
        feed(Array(input.dropFirst()))
    } else {
        meddle(Array(input.dropFirst()), isServers: first & 2 != 0)
    }
    return 0
}

private func side(on wire: Wire) -> Side {
    let side = Side(fd: wire.near, context: stand.context)
    do { try stand.loop.add(side) } catch { finding("the loop takes no more: \(error)") }
    return side
}

/// The server gets the input as it is.
private func feed(_ input: [UInt8]) {
    let wire = Wire()
    defer { close(wire.far) }
    let server = side(on: wire)
    do { try server.secure(by: stand.server) } catch { finding("no session: \(error)") }
    wire.give(input)
    for _ in 0..<4 { stand.loop.turn(maxWait: .zero) }
    require(server.heard.isEmpty, "nothing is said without a handshake")
    server.end()
    stand.loop.turn(maxWait: .zero)
}

/// Two sides talk, and the input says what is changed on the way of one of them: each four bytes
/// are how many bytes pass, and what the next one becomes, unless that is none.
private func meddle(_ input: [UInt8], isServers: Bool) {
    let (left, right) = (Wire(), Wire())
    defer {
        close(left.far)
        close(right.far)
    }
    let server = side(on: left)
    let client = side(on: right)
    (server.words, client.words) = (speech, speech)
    do {
        try server.secure(by: stand.server)
        try client.secure(as: stand.client, offering: "h2")
    } catch { finding("no session: \(error)") }
    var changes = input[...]
    var passing = next(&changes)
    var isChanged = false
    for _ in 0..<40 {
        stand.loop.turn(maxWait: .zero)
        var toServer = right.take()
        var toClient = left.take()
        if toServer.isEmpty, toClient.isEmpty { break }
        if isServers {
            isChanged = change(&toClient, &changes, &passing) || isChanged
        } else {
            isChanged = change(&toServer, &changes, &passing) || isChanged
        }
        left.give(toServer)
        right.give(toClient)
    }
    for side in [server, client] {
        require(speech.starts(with: side.heard), "what is read is what was sent")
        side.end()
    }
    if !isChanged {
        require(server.heard.count == speech.count, "all of it comes where nobody meddles")
        require(client.heard.count == speech.count, "all of it comes where nobody meddles")
    }
    stand.loop.turn(maxWait: .zero)
}

private func next(_ changes: inout ArraySlice<UInt8>) -> (count: Int, mask: UInt8, extra: Bool)? {
    guard changes.count >= 4 else { return nil }
    let four = Array(changes.prefix(4))
    changes = changes.dropFirst(4)
    return (Int(four[0]) | Int(four[1]) << 8, four[2], four[3] & 1 == 1)
}

/// Changes bytes on their way; whether any was.
private func change(
    _ bytes: inout [UInt8], _ changes: inout ArraySlice<UInt8>,
    _ passing: inout (count: Int, mask: UInt8, extra: Bool)?
) -> Bool {
    var index = 0
    var isChanged = false
    while let step = passing {
        guard index + step.count < bytes.count else {
            passing?.count = step.count - (bytes.count - index)
            return isChanged
        }
        index += step.count
        if step.mask != 0 {
            bytes[index] ^= step.mask
            isChanged = true
        }
        if step.extra {
            bytes.insert(step.mask, at: index)
            isChanged = true
        }
        index += 1
        passing = next(&changes)
    }
    return isChanged
}
