// Fuzzes the PROXY protocol's header: no piece of one may be taken for a whole one, or for none.

import FuzzSupport
import WeirNet

nonisolated(unsafe) private let memory = GuardedMemory()

@c(LLVMFuzzerTestOneInput)
func fuzzProxy(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = Bytes(start: data, count: count)
    guard count < GuardedMemory.capacity else { return 0 }
    for version in [ProxyHeader.Version.v1, .v2, .any] { check(input, version) }
    return 0
}

private func read(_ input: Bytes, _ count: Int, _ version: ProxyHeader.Version)
    -> ProxyHeader.Reading
{
    ProxyHeader.read(
        UnsafeRawBufferPointer(memory.place(Bytes(rebasing: input[..<count]))), version)
}

private func check(_ input: Bytes, _ version: ProxyHeader.Version) {
    let whole = read(input, input.count, version)
    // Only pieces around the places where something is decided; all of them would take too long.
    let end = if case .complete(_, let length) = whole { length } else { input.count }
    for count in 0..<min(end, 300) {
        let piece = read(input, count, version)
        switch whole {
        case .complete, .needsMore:
            require(piece == .needsMore, "\(count) bytes of a header are not yet one")
        case .malformed:
            if case .complete = piece { finding("broken: a whole header in a malformed one") }
        }
    }
    switch whole {
    case .needsMore:
        require(input.count < ProxyHeader.maxBytes, "a header has an end")
    case .malformed: break
    case .complete(let header, let length):
        require(length <= input.count && length <= ProxyHeader.maxBytes, "no longer than the input")
        require(read(input, length, version) == whole, "what follows is another's")
        checkWriting(header)
    }
}

/// What was read can be passed on, and is read the same.
private func checkWriting(_ header: ProxyHeader) {
    for version in [ProxyHeader.Version.v1, .v2] {
        let written = ProxyHeader.write(version, source: header.source, target: header.source)
        var expected = header
        if case .unix? = header.source { expected.source = nil }
        written.withUnsafeBytes {
            require(
                ProxyHeader.read($0, version) == .complete(expected, length: written.count),
                "written as it was read")
        }
    }
}
