// Certificates as they are read, and the keys of tickets; sessions are tested end to end.

import COpenSSL
import Foundation
import Testing
import WeirTime

@testable import WeirNet

/// Files that the openssl command has made, in a folder of their own.
private final class Workshop {
    let folder: String

    init() throws {
        folder = NSTemporaryDirectory() + "weir-tls-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func openssl(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(arguments)")
    }

    /// A self-signed certificate for these names, and its key.
    func certificate(
        _ names: String, kind: String = "ec", file: String = "a"
    ) throws -> (chain: [UInt8], key: [UInt8]) {
        let algorithm =
            kind == "ec"
            ? ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] : ["rsa:2048"]
        let (chain, key) = ("\(folder)/\(file).pem", "\(folder)/\(file).key")
        try openssl(
            ["req", "-x509", "-newkey"] + algorithm + [
                "-nodes", "-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=test",
                "-addext", "subjectAltName=\(names)",
            ])
        return (try bytes(chain), try bytes(key))
    }

    func bytes(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }
}

private func problem(_ body: () throws(TLSFailure) -> Void) -> String {
    do {
        try body()
        return "none"
    } catch {
        return error.description
    }
}

@Suite struct `TLS credentials` {
    @Test func `names are those of the certificate, in lower case`() throws {
        let (chain, key) = try Workshop().certificate("DNS:Shop.Test,URI:spiffe://a,DNS:*.b.test")
        let credential = try TLSCredential(chain: chain, key: key)
        #expect(credential.names == ["shop.test", "*.b.test"])
        let days = (credential.expiry - Int64(Date().timeIntervalSince1970)) / 86400
        #expect((1...2).contains(days))
    }

    @Test func `equal files make equal credentials`() throws {
        let workshop = try Workshop()
        let one = try workshop.certificate("DNS:a.test")
        let other = try workshop.certificate("DNS:a.test", file: "b")
        let credential = try TLSCredential(chain: one.chain, key: one.key)
        #expect(try TLSCredential(chain: one.chain, key: one.key) == credential)
        #expect(try TLSCredential(chain: other.chain, key: other.key) != credential)
    }

    @Test func `what cannot be used is named`() throws {
        let workshop = try Workshop()
        let (chain, key) = try workshop.certificate("DNS:a.test")
        let other = try workshop.certificate("DNS:b.test", file: "b")
        let text = Array("no certificate".utf8)
        #expect(
            problem { () throws(TLSFailure) in _ = try TLSCredential(chain: text, key: key) }
                == "the chain holds no certificate in PEM")
        #expect(
            problem { () throws(TLSFailure) in _ = try TLSCredential(chain: chain, key: text) }
                .hasPrefix("the key is no private key in PEM"))
        #expect(
            problem { () throws(TLSFailure) in _ = try TLSCredential(chain: chain, key: other.key) }
                .hasPrefix("the key is not the certificate's"))
        #expect(
            problem { () throws(TLSFailure) in
                _ = try TLSCredential(chain: chain, key: key, response: text)
            }.hasPrefix("the OCSP response does not say"))
        let broken = chain + Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END".utf8)
        #expect(
            problem { () throws(TLSFailure) in _ = try TLSCredential(chain: broken, key: key) }
                .hasPrefix("certificate 2 of the file is malformed"))
    }

    @Test(arguments: 0..<40)
    func `a file that is cut anywhere is refused, and nothing is left over`(part: Int) throws {
        let (chain, key) = try Workshop().certificate("DNS:a.test")
        let cut = Array(chain[..<(chain.count * part / 40)])
        #expect(
            problem { () throws(TLSFailure) in _ = try TLSCredential(chain: cut, key: key) }
                != "none")
        #expect(TLSFailure.takeReason() == nil)
    }

    @Test func `a server needs a certificate that OpenSSL takes`() throws {
        let (chain, key) = try Workshop().certificate("DNS:a.test")
        let credential = try TLSCredential(chain: chain, key: key)
        let tickets = TLSTicketKeys()
        let settings = TLSServer.Settings(credentials: [credential])
        let server = try TLSServer(settings, name: "edge", tickets: tickets)
        #expect(try TLSServer(settings, name: "edge", tickets: tickets) == server)
        var other = settings
        other.protocols = ["http/1.1"]
        #expect(try TLSServer(other, name: "edge", tickets: tickets) != server)
        #expect(
            problem { () throws(TLSFailure) in
                _ = try TLSServer(.init(credentials: []), name: "edge", tickets: tickets)
            } != "none")
    }
}

/// What OpenSSL prepares for one ticket.
private final class TicketContexts {
    let cipher: OpaquePointer
    let code: OpaquePointer

    init() throws {
        cipher = try #require(EVP_CIPHER_CTX_new())
        let method = try #require(EVP_MAC_fetch(nil, "HMAC", nil))
        defer { EVP_MAC_free(method) }
        code = try #require(EVP_MAC_CTX_new(method))
    }

    deinit {
        EVP_CIPHER_CTX_free(cipher)
        EVP_MAC_CTX_free(code)
    }
}

/// A ticket, as far as it says which key has sealed it.
private struct Ticket {
    var name = [UInt8](repeating: 0, count: TLSTicketKeys.nameBytes)
    var vector = [UInt8](repeating: 0, count: Int(EVP_MAX_IV_LENGTH))

    init(sealedBy keys: TLSTicketKeys) throws {
        let contexts = try TicketContexts()
        #expect(keys.seal(&name, &vector, contexts.cipher, contexts.code) == 1)
    }

    mutating func opened(by keys: TLSTicketKeys, isReplaced: Bool = false) throws -> Int32 {
        let contexts = try TicketContexts()
        return keys.open(
            &name, &vector, contexts.cipher, contexts.code, isReplaced: isReplaced)
    }
}

@Suite struct `Ticket keys` {
    private static let (isForgotten, isGood, isToBeRenewed): (Int32, Int32, Int32) = (0, 1, 2)

    @Test func `a key opens what it has sealed until three others have come`() throws {
        let keys = TLSTicketKeys()
        var ticket = try Ticket(sealedBy: keys)
        #expect(try ticket.opened(by: keys) == Self.isGood)
        #expect(try ticket.opened(by: keys, isReplaced: true) == Self.isToBeRenewed)
        for _ in 0..<2 {
            keys.rotate()
            #expect(try ticket.opened(by: keys) == Self.isToBeRenewed)
        }
        var later = try Ticket(sealedBy: keys)
        #expect(later.name != ticket.name)
        keys.rotate()
        #expect(try ticket.opened(by: keys) == Self.isForgotten)
        #expect(try later.opened(by: keys) == Self.isToBeRenewed)
    }

    @Test func `another process has other keys`() throws {
        var ticket = try Ticket(sealedBy: TLSTicketKeys())
        #expect(try ticket.opened(by: TLSTicketKeys()) == Self.isForgotten)
    }
}
