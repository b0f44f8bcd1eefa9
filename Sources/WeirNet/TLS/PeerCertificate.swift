// What a client has proved of itself, in the forms that weir passes on.

import COpenSSL

/// A verified certificate, read once a connection.
package struct PeerCertificate: Sendable {
    /// The first URI of its alternative names, or the first DNS name where there is none: what
    /// identifies a service or a machine. Empty where it has neither.
    package private(set) var identity: [UInt8] = []
    /// The value of `x-forwarded-client-cert`, as Envoy writes it: the certificate's SHA-256, its
    /// subject, its URIs and its DNS names.
    package private(set) var forwarded: [UInt8] = []

    /// Names beyond this are left out: a client's certificate must not fill the head that an
    /// endpoint reads.
    private static let maxNames = 16
    private static let maxNamesRead = 1024
    private static let maxBytes = 1024

    init(_ certificate: OpaquePointer) {
        var digest = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 0
        guard X509_digest(certificate, EVP_sha256(), &digest, &length) == 1 else { return }
        forwarded += Array("Hash=".utf8)
        for byte in digest { forwarded += [Self.hex(byte >> 4), Self.hex(byte & 15)] }
        var count = 0
        if let subject = copenssl_subject(certificate, &count) {
            let bytes = UnsafeRawBufferPointer(start: subject, count: min(count, Self.maxBytes))
            add("Subject", bytes)
            CRYPTO_free(subject, nil, 0)
        }
        addNames(of: certificate)
    }

    private mutating func addNames(of certificate: OpaquePointer) {
        var machine: [UInt8] = []
        AlternativeNames.forEach(of: certificate, atMost: Self.maxNamesRead) { index, kind, bytes in
            guard bytes.count > 0, bytes.count <= Self.maxBytes else { return }
            let isTold = index < Self.maxNames
            switch kind {
            case .uri:
                if identity.isEmpty { identity = Array(bytes) }
                if isTold { add("URI", bytes) }
            case .dns:
                if machine.isEmpty { machine = Array(bytes) }
                if isTold { add("DNS", bytes) }
            }
        }
        if identity.isEmpty { identity = machine }
    }

    /// Adds a pair, in quotes where it could be taken for more than one. Whoever issues
    /// certificates may put any byte into a name; a field's value may not hold all of them.
    private mutating func add(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
        guard forwarded.count + value.count < 4 * Self.maxBytes else { return }
        forwarded.append(UInt8(ascii: ";"))
        name.withUTF8Buffer { forwarded += $0 }
        forwarded.append(UInt8(ascii: "="))
        let isQuoted = value.contains { byte in
            byte == UInt8(ascii: ",") || byte == UInt8(ascii: ";") || byte == UInt8(ascii: "=")
                || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: " ")
        }
        if isQuoted { forwarded.append(UInt8(ascii: "\"")) }
        for byte in value {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                forwarded.append(UInt8(ascii: "\\"))
            }
            forwarded.append(byte < 0x20 || byte > 0x7E ? UInt8(ascii: "?") : byte)
        }
        if isQuoted { forwarded.append(UInt8(ascii: "\"")) }
    }

    private static func hex(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
}
