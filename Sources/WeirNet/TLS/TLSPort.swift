// Where a worker's TLS sessions read records from and write them to: memory, one for all of them.

import COpenSSL
import Glibc

/// A worker's records. A session uses it only while the worker is in a call about that session, so
/// one port serves them all, and an idle session holds no buffer.
final class TLSPort {
    /// Bytes of plaintext that one record holds at most (RFC 8446 section 5.1).
    static let recordBytes = 16 << 10
    /// What sealing that much plaintext adds at most, in any version; a peer may ask for records
    /// of 512 bytes (RFC 6066 section 4).
    private static let recordOverhead = 4 << 10
    /// Records wait here until this many bytes have gathered, or until there are no more.
    private static let outputBytes = 256 << 10

    /// Ciphertext as it was received. Plaintext is never longer, but a record's that has begun to
    /// arrive before.
    static let inputBytes = StreamContext.readBufferSize - recordBytes

    private static let method = MethodBox()

    let input: UnsafeMutableRawPointer
    private let memory: UnsafeMutablePointer<copenssl_port>
    /// Shared by the sessions, each of which counts as an owner.
    private let bio: OpaquePointer
    /// Gathers small pieces into one record.
    private let stage: UnsafeMutableRawPointer

    init() throws(TLSFailure) {
        memory = .allocate(capacity: 1)
        memory.initialize(to: copenssl_port())
        guard let method = Self.method.pointer, let bio = copenssl_port_bio(method, memory) else {
            memory.deallocate()
            throw .last("out of memory")
        }
        self.bio = bio
        input = .allocate(byteCount: Self.inputBytes, alignment: 64)
        stage = .allocate(byteCount: Self.recordBytes, alignment: 64)
        memory.pointee.output = .allocate(capacity: Self.outputBytes)
        memory.pointee.output_size = Self.outputBytes
    }

    deinit {
        BIO_free(bio)
        memory.pointee.output.deallocate()
        memory.deallocate()
        input.deallocate()
        stage.deallocate()
    }

    /// Lets a session read and write here.
    func attach(_ session: OpaquePointer) {
        // One reference serves both directions where they are the same.
        BIO_up_ref(bio)
        SSL_set_bio(session, bio, bio)
    }

    // MARK: Reading

    /// Gives the first `count` bytes of `input` to the session that reads next, as far as they
    /// lead to no more than `steps` of a handshake. Zero before a session does anything else: no
    /// other's bytes may be taken for its own.
    func offer(_ count: Int, steps: Int32 = 0) {
        memory.pointee.input = UnsafePointer(input.assumingMemoryBound(to: UInt8.self))
        memory.pointee.input_left = count
        memory.pointee.steps_left = steps
    }

    /// What is left of the steps that were offered; less than none where it asked for more.
    var stepsLeft: Int32 { memory.pointee.steps_left }

    /// All that was offered has been taken.
    var isDrained: Bool { memory.pointee.input_left == 0 }

    // MARK: Writing

    /// Records that are ready to be sent.
    var output: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory.pointee.output, count: memory.pointee.output_used)
    }

    func clearOutput() { memory.pointee.output_used = 0 }

    /// Another record fits.
    private var hasRoom: Bool {
        Self.outputBytes - memory.pointee.output_used >= Self.recordBytes + Self.recordOverhead
    }

    /// Seals `pieces` into records; small ones share one. `emit` sends what has gathered where
    /// there is no more room.
    func seal(
        _ pieces: UnsafeBufferPointer<iovec>, _ session: TLSSession, emit: () -> Void
    ) -> Bool {
        var staged = 0
        for (index, piece) in pieces.enumerated() {
            guard var source = UnsafeRawPointer(piece.iov_base) else { continue }
            var left = piece.iov_len
            while left > 0 {
                let count = min(left, Self.recordBytes - staged)
                // A record of its own is sealed where it lies.
                if staged == 0, count == Self.recordBytes || index == pieces.count - 1 {
                    guard seal(source, count, session, emit) else { return false }
                } else {
                    memcpy(stage + staged, source, count)
                    staged += count
                }
                if staged == Self.recordBytes {
                    guard seal(stage, staged, session, emit) else { return false }
                    staged = 0
                }
                source += count
                left -= count
            }
        }
        return staged == 0 || seal(stage, staged, session, emit)
    }

    private func seal(
        _ bytes: UnsafeRawPointer, _ count: Int, _ session: TLSSession, _ emit: () -> Void
    ) -> Bool {
        if !hasRoom { emit() }
        return session.seal(bytes, count)
    }
}

/// The kind of BIO that ports are; made once.
private struct MethodBox: @unchecked Sendable {
    let pointer = copenssl_port_method()
}
