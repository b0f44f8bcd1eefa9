// What the admin listener answers, from the control thread's view of the process.

import WeirAdmin
import WeirConfig
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry

/// The admin listener that a configuration asks for.
struct AdminBinding {
    let settings: Admin
    let server: AdminServer
    /// What its token file says now; in force once the configuration is.
    let token: [UInt8]?
}

/// Why the admin listener cannot be had.
struct AdminFailure: Error, CustomStringConvertible {
    let description: String
}

extension Server {
    /// Longer token files are not token files.
    private static let maxTokenBytes = 4096

    /// The admin listener for a configuration: the one in use where its address stays, else a new
    /// one, which is open already. `nil` where none is wanted.
    func prepareAdmin(_ configuration: Configuration) throws(AdminFailure) -> AdminBinding? {
        guard let wanted = configuration.admin else { return nil }
        let token = try readToken(wanted)
        if let admin, admin.settings.address == wanted.address {
            return AdminBinding(settings: wanted, server: admin.server, token: token)
        }
        guard let address = SocketAddress(wanted.address) else {
            throw AdminFailure(description: "admin: the address cannot be used")
        }
        let server = AdminServer(
            loop: loop, address: address, token: token, routes: adminRoutes())
        do {
            try server.start()
        } catch {
            throw AdminFailure(
                description: "the admin listener cannot use \(wanted.address.text): \(error)")
        }
        return AdminBinding(settings: wanted, server: server, token: token)
    }

    private func readToken(_ settings: Admin) throws(AdminFailure) -> [UInt8]? {
        guard let file = settings.tokenFile else { return nil }
        switch FileBytes.read(file, maxBytes: Self.maxTokenBytes) {
        case .failure(let error):
            throw AdminFailure(description: "admin.token_file '\(file)': \(error)")
        case .success(let bytes):
            let line = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
            guard !line.isEmpty else {
                throw AdminFailure(
                    description: "admin.token_file '\(file)': its first line is empty")
            }
            return Array(line)
        }
    }

    private func adminRoutes() -> [AdminRoute] {
        [
            AdminRoute(.get, "/healthz") { _ in .text(200, "ok\n") },
            AdminRoute(.get, "/ready") { [unowned self] _ in
                if let reason = unreadiness {
                    .text(503, reason + "\n")
                } else {
                    .text(200, "ready\n")
                }
            },
            AdminRoute(.get, "/metrics") { [unowned self] _ in metrics() },
            AdminRoute(.get, "/status") { [unowned self] _ in .json(200, StatusPage.json(self)) },
            AdminRoute(.post, "/reload") { [unowned self] request in
                answer(reload(trigger: "POST /reload"), asJSON: request.acceptsJSON)
            },
        ] + governorRoutes()
    }

    private func metrics() -> AdminResponse {
        var gauges = ServerGauges()
        gauges.version = Self.version
        gauges.generation = generation
        gauges.reloadsSucceeded = reloadsSucceeded
        gauges.reloadsRefused = reloadsRefused
        gauges.wasLastReloadSuccessful = lastReload.isSuccess
        gauges.lastReloadSuccessUnixNanoseconds = adoptedAt
        gauges.logWriteFailures = logWriter?.writeFailures ?? 0
        gauges.certificates = files.tls.certificates
        let classes = configuration.priorities.classes.map(\.name)
        gauges.governors.clusters = clusters.all.map { $0.gauges(classes: classes) }
        gauges.governors.routeBreakers = clusters.routeBreakers
        gauges.governors.sharedCharges = ledger.governor.buckets.sharedCharges
        return AdminResponse(
            status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8",
            body: MetricsText.build(CounterTotals(registry), gauges, .now()))
    }

    private func answer(_ result: ReloadResult, asJSON: Bool) -> AdminResponse {
        let status = result.isSuccess ? 200 : 400
        guard asJSON else {
            return .text(status, result.lines.joined(separator: "\n") + "\n")
        }
        var out = JSONWriter()
        out.object { out in
            StatusPage.write(result, &out)
            guard let diagnostics = result.diagnosticsJSON else { return }
            out.key("diagnostics")
            out.json(diagnostics)
        }
        return .json(status, out.bytes)
    }
}
