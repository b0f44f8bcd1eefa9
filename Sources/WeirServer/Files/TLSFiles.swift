// What listeners and clusters speak TLS with, made of the files that the configuration names.

import Glibc
import WeirConfig
import WeirNet
import WeirTelemetry

/// The TLS of a configuration, ready for use.
struct TLSFiles: Equatable {
    private static let maxBytes = 1 << 20

    /// By the listener's name.
    private(set) var servers: [String: TLSServer] = [:]
    /// By the cluster's name.
    private(set) var clients: [String: TLSClient] = [:]

    /// Reads the files of a configuration.
    ///
    /// - Parameter tickets: the process's, which outlive configurations.
    static func read(
        for configuration: Configuration, tickets: TLSTicketKeys
    ) throws(FileFailure) -> TLSFiles {
        var files = TLSFiles()
        for listener in configuration.listeners {
            guard let tls = listener.tls else { continue }
            let place = "listener '\(listener.name)': tls"
            let settings = try settings(of: tls, place)
            do {
                files.servers[listener.name] = try TLSServer(
                    settings, name: listener.name, tickets: tickets)
            } catch {
                throw FileFailure(description: "\(place): \(error)")
            }
        }
        for cluster in configuration.clusters {
            guard let tls = cluster.tls else { continue }
            let place = "cluster '\(cluster.name)': tls"
            let settings = try settings(of: tls, cluster.source, place)
            do {
                files.clients[cluster.name] = try TLSClient(settings)
            } catch {
                throw FileFailure(description: "\(place): \(error)")
            }
        }
        return files
    }

    private static func settings(
        of tls: ServerTLS, _ place: String
    ) throws(FileFailure) -> TLSServer.Settings {
        var credentials: [TLSCredential] = []
        for (index, files) in tls.certificates.enumerated() {
            credentials.append(try credential(files, "\(place).certificates[\(index)]"))
        }
        var settings = TLSServer.Settings(credentials: credentials)
        settings.leastVersion = tls.minVersion == .v12 ? .v12 : .v13
        settings.protocols = tls.alpn
        if let path = tls.clientCA {
            settings.authorities = try authorities(path, "\(place).client_ca")
            settings.demandsCertificate = tls.clientCertificate == .required
        }
        return settings
    }

    private static func settings(
        of tls: ClientTLS, _ source: Cluster.Source, _ place: String
    ) throws(FileFailure) -> TLSClient.Settings {
        var settings = TLSClient.Settings()
        settings.isUnverified = !tls.verify
        settings.name = tls.serverName
        if settings.name == nil, case .dns(let host, _, _) = source { settings.name = host }
        if let path = tls.ca { settings.authorities = try authorities(path, "\(place).ca") }
        if let files = tls.certificate {
            settings.credential = try credential(files, "\(place).certificate")
        }
        return settings
    }

    private static func credential(
        _ files: CertificateFiles, _ place: String
    ) throws(FileFailure) -> TLSCredential {
        let chain = try bytes(files.chain, "\(place).chain")
        let key = try bytes(files.key, "\(place).key")
        var response: [UInt8]?
        if let path = files.ocsp { response = try bytes(path, "\(place).ocsp") }
        let made: TLSCredential
        do {
            made = try TLSCredential(chain: chain, key: key, response: response)
        } catch {
            throw FileFailure(description: "\(place) '\(files.chain)': \(error)")
        }
        if let end = made.responseExpiry, end <= Int64(time(nil)), let path = files.ocsp {
            ProcessLog.warn(
                "an OCSP response has expired: it is not stapled",
                ["key": "\(place).ocsp", "file": path])
        }
        return made
    }

    private static func authorities(
        _ path: String, _ place: String
    ) throws(FileFailure) -> TLSAuthorities {
        let file = try bytes(path, place)
        do {
            return try TLSAuthorities(file)
        } catch {
            throw FileFailure(description: "\(place) '\(path)': \(error)")
        }
    }

    private static func bytes(_ path: String, _ place: String) throws(FileFailure) -> [UInt8] {
        switch FileBytes.read(path, maxBytes: maxBytes) {
        case .failure(let error): throw FileFailure(description: "\(place) '\(path)': \(error)")
        case .success(let bytes): return bytes
        }
    }

    // MARK: For others

    /// The files that a configuration's TLS is made of.
    static func paths(of configuration: Configuration) -> [String] {
        var paths: [String] = []
        for tls in configuration.listeners.compactMap(\.tls) {
            paths += tls.certificates.flatMap { [$0.chain, $0.key] + ($0.ocsp.map { [$0] } ?? []) }
            if let path = tls.clientCA { paths.append(path) }
        }
        for tls in configuration.clusters.compactMap(\.tls) {
            if let path = tls.ca { paths.append(path) }
            if let files = tls.certificate { paths += [files.chain, files.key] }
        }
        return paths
    }

    /// The certificates in use, for the metrics.
    var certificates: [ServerGauges.Certificate] {
        var all: [ServerGauges.Certificate] = []
        for (name, server) in servers.sorted(by: { $0.key < $1.key }) {
            var seen: Set<[String]> = []
            for credential in server.settings.credentials {
                // A second of one name and kind is never shown.
                guard seen.insert([credential.names.first ?? "", credential.keyName]).inserted
                else { continue }
                all.append(Self.gauge(credential, of: "listener", name))
            }
        }
        for (name, client) in clients.sorted(by: { $0.key < $1.key }) {
            guard let credential = client.settings.credential else { continue }
            all.append(Self.gauge(credential, of: "cluster", name))
        }
        return all
    }

    private static func gauge(
        _ credential: TLSCredential, of kind: String, _ name: String
    ) -> ServerGauges.Certificate {
        ServerGauges.Certificate(
            owner: (kind, name), name: credential.names.first ?? "", key: credential.keyName,
            expiry: credential.expiry, responseExpiry: credential.responseExpiry)
    }

    /// What differs from `old`, a line for each listener and cluster that both have.
    func changes(since old: TLSFiles) -> [String] {
        var lines: [String] = []
        for (name, server) in servers.sorted(by: { $0.key < $1.key }) {
            if let before = old.servers[name], before != server {
                lines.append("listener \(name): a file of its tls has changed")
            }
        }
        for (name, client) in clients.sorted(by: { $0.key < $1.key }) {
            if let before = old.clients[name], before != client {
                lines.append("cluster \(name): a file of its tls has changed")
            }
        }
        return lines
    }
}
