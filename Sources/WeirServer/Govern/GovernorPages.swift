// What operators ask of the governors: a tenant's budget, and endpoints taken out or put back.

import WeirAdmin
import WeirConfig
import WeirHTTP
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

extension Server {
    func governorRoutes() -> [AdminRoute] {
        [
            AdminRoute(.get, "/tenants/") { [unowned self] in tenant($0) },
            AdminRoute(.post, "/endpoints/") { [unowned self] in command($0) },
        ]
    }

    // MARK: GET /tenants/KEY

    private func tenant(_ request: AdminRequest) -> AdminResponse {
        guard let tenants = configuration.tenants else {
            return .text(404, "the configuration has no tenants section\n")
        }
        let name = String(request.path.dropFirst("/tenants/".count))
        guard let key = PercentEncoding.decode(name) else {
            return .text(400, "the key is not percent-encoded as it should be\n")
        }
        // As the access log has it: the prefix that counts, of whatever address is asked about.
        let address = tenants.address(key)
        let hash = address.map { ledger.key($0) } ?? ledger.key(key)
        let place = Int(ledger.directory.plan(of: hash))
        guard place < tenants.plans.count else { return .text(404, "there are no plans\n") }
        let plan = tenants.plans[place]
        var out = JSONWriter()
        out.object { out in
            out.member("tenant", address?.description ?? String(decoding: key, as: UTF8.self))
            out.member("plan", plan.name)
            out.member("weight", plan.weight)
            out.key("rate")
            if let rate = plan.rate {
                let level = ledger.governor.level(
                    of: TenantRules.bucket(of: hash), limit: rate, now: loop.now)
                out.object { out in
                    out.member("tokens", Int(level.tokens))
                    out.member("burst", Int(rate.burst))
                    out.key("per_second")
                    out.number(Double(rate.count) / rate.period.seconds)
                    out.member("tracked", level.isTracked)
                }
            } else {
                out.null()
            }
            out.member("in_flight", ledger.places.count(of: hash))
            out.key("concurrency")
            if let limit = plan.concurrency { out.number(Int64(limit)) } else { out.null() }
        }
        return .json(200, out.bytes)
    }

    // MARK: POST /endpoints/CLUSTER/ADDRESS/eject|readmit|drain

    private func command(_ request: AdminRequest) -> AdminResponse {
        let parts = request.path.split(separator: "/").map(String.init)
        guard parts.count == 4, let entry = clusters[parts[1]] else {
            return .text(404, "POST /endpoints/CLUSTER/ADDRESS/eject, readmit or drain\n")
        }
        let wanted = PercentEncoding.decode(parts[2]).map { String(decoding: $0, as: UTF8.self) }
        let found = entry.current.first { $0.address.description == wanted }
        guard let (address, state) = found else {
            let names = entry.current.map(\.address.description).joined(separator: ", ")
            return .text(404, "cluster \(entry.name) has no such endpoint; endpoints: \(names)\n")
        }
        if address == .original {
            return .text(
                409, "\(address) stands for all destinations, which have nothing in common\n")
        }
        let governor = state.governor
        switch parts[3] {
        case "eject":
            let duration = Self.duration(request.query) ?? .seconds(300)
            governor.eject(for: duration, now: loop.now)
        case "readmit": governor.readmit(now: loop.now)
        case "drain": governor.drain()
        default: return .text(404, "commands: eject, readmit, drain\n")
        }
        ProcessLog.info(
            "endpoint \(parts[3]) by hand",
            ["cluster": entry.name, "endpoint": address.description])
        ticker?.tick()
        return .text(200, "\(entry.name) \(address): \(governor.inspection.state)\n")
    }

    /// `for=SECONDS` in a query.
    private static func duration(_ query: String) -> Interval? {
        guard query.hasPrefix("for=") else { return nil }
        var text = query.dropFirst(4)
        if text.hasSuffix("s") { text = text.dropLast() }
        return Int64(text).flatMap { (1...86_400).contains($0) ? .seconds($0) : nil }
    }
}

extension Tenants {
    /// The address that a key stands for, cut to the prefix that counts; `nil` where tenants are
    /// not known by their addresses, or it is none.
    fileprivate func address(_ key: [UInt8]) -> IPAddress? {
        for case .clientIP(let v4Prefix, let v6Prefix) in identify {
            return key.withUnsafeBytes { IPAddress(bytes: $0) }?
                .prefix(v4Bits: v4Prefix, v6Bits: v6Prefix)
        }
        return nil
    }
}

/// Percent-encoding in paths (RFC 3986 section 2.1).
enum PercentEncoding {
    /// The bytes that a part of a path means; `nil` where an escape is broken.
    static func decode(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            else { return nil }
            rest = rest.dropFirst(2)
            bytes.append(value)
        }
        return bytes
    }
}
