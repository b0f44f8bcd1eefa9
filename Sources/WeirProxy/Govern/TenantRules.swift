// Who a request's tenant is, and what its plan allows.

import WeirHTTP
package import WeirNet
package import WeirPolicy

/// Where a tenant's key may stand in a request.
package enum TenantSource: Sendable {
    /// A header's first value; the name is lower case.
    case header(Text)
    /// The client's address, cut to a prefix.
    case clientAddress(v4Bits: Int, v6Bits: Int)
    /// A segment of the path, the first being 1.
    case pathSegment(Int)
    case query(Text)
    /// A claim of a JSON web token in a header.
    case jwtClaim(TokenSource)
    /// The URI or DNS name of the client's certificate.
    case clientCertificate
}

/// A tenant's plan.
package struct TenantPlanRules: Sendable {
    package var name: Text
    package var allowance: Allowance

    package init(name: Text, allowance: Allowance) {
        self.name = name
        self.allowance = allowance
    }
}

/// What a plan allows each of its tenants. Each request takes a copy, which is cheap: there is no
/// reference in it.
package struct Allowance: Sendable {
    /// `nil` is no limit.
    package var rate: RateLaw?
    /// The tenant's share in a queue, relative to others'.
    package var weight: UInt16 = 1
    /// Requests under way at once; `Int.max` is no limit.
    package var concurrency = Int.max
    /// The class of the tenant's requests where nothing else says one.
    package var priority: UInt8?

    package init() {}
}

/// The tenants section as one worker uses it.
package final class TenantRules: Sendable {
    package let sources: [TenantSource]
    package let directory: TenantDirectory
    package let plans: [TenantPlanRules]
    package let isShadow: Bool

    package init(
        sources: [TenantSource], directory: TenantDirectory, plans: [TenantPlanRules],
        isShadow: Bool
    ) {
        self.sources = sources
        self.directory = directory
        self.plans = plans
        self.isShadow = isShadow
    }

    /// The key of the bucket that a tenant's plan fills.
    package static func bucket(of tenant: UInt64) -> UInt64 {
        KeyHasher.key(tenant, rule: 0x706C_616E)
    }
}

extension KeyHasher {
    /// Adds an address to a key.
    package mutating func update(_ address: IPAddress) {
        withUnsafeBytes(of: (address.high, address.low)) { update($0) }
    }
}

extension Exchange {
    /// The address that stands for a tenant which is known by it: the client's, cut to the prefix
    /// that counts.
    var tenantAddress: IPAddress? {
        guard record.isTenantAddress else { return nil }
        let sources = under?.object.plan.common.tenants?.object.sources ?? []
        for case .clientAddress(let v4Bits, let v6Bits) in sources {
            return clientAddress?.prefix(v4Bits: v4Bits, v6Bits: v6Bits)
        }
        return nil
    }

    /// Finds the tenant's key by the first source that yields one. A request without any is of a
    /// tenant of its own: it is limited like every other.
    func identifyTenant(_ rules: TenantRules, seed: KeySeed) {
        var hasher = KeyHasher(seed: seed)
        // By index: an element that is taken out of an array is copied, its references counted.
        for index in rules.sources.indices where hash(rules.sources[index], &hasher) { break }
        ticket.tenant = hasher.finish()
        let plan = Int(rules.directory.plan(of: ticket.tenant))
        // The directory may be newer than the plans.
        guard plan < rules.plans.count else { return }
        ticket.plan = plan
        ticket.allowance = rules.plans[plan].allowance
    }

    /// Adds what a source yields to a key; `false` where it yields nothing.
    private func hash(_ source: TenantSource, _ hasher: inout KeyHasher) -> Bool {
        switch source {
        case .header(let name):
            guard let value = headerValue(name), !value.isEmpty else { return false }
            record.tenant = message.stretch(of: value)
            hasher.update(value)
        case .clientAddress(let v4Bits, let v6Bits):
            guard hashClientAddress(v4Bits, v6Bits, &hasher) else { return false }
            record.isTenantAddress = true
        case .pathSegment(let number):
            let segment = message.path(head).segment(number)
            guard !segment.isEmpty else { return false }
            record.tenant = message.stretch(of: segment)
            hasher.update(segment)
        case .query(let name):
            guard let value = queryValue(name), !value.isEmpty else { return false }
            record.tenant = message.stretch(of: value)
            hasher.update(value)
        case .clientCertificate:
            guard let identity = clientCertificate?.identity, !identity.isEmpty else {
                return false
            }
            identity.withUnsafeBytes {
                record.tenant = message.note($0)
                hasher.update($0)
            }
        case .jwtClaim(let source):
            guard let token = headerValue(source.header) else { return false }
            let loop = proxy.loop
            let unixSeconds = loop.wallClock.unixNanoseconds(loop.now) / 1_000_000_000
            return source.withClaim(of: token, at: unixSeconds) { claim in
                guard let claim, !claim.isEmpty else { return false }
                record.tenant = message.note(claim)
                hasher.update(claim)
                return true
            }
        }
        return true
    }

    /// Adds the client's address, cut to a prefix; `false` on a unix socket.
    func hashClientAddress(_ v4Bits: Int, _ v6Bits: Int, _ hasher: inout KeyHasher) -> Bool {
        guard let address = clientAddress else { return false }
        hasher.update(address.prefix(v4Bits: v4Bits, v6Bits: v6Bits))
        return true
    }

    /// The first value of a header, without copying it; `name` is lower case.
    func headerValue(_ name: Text) -> UnsafeRawBufferPointer? {
        Self.headerValue(name.bytes, head.fields, message.bytes)
    }

    // Fields and bytes as parameters: read through the exchange, they are looked up for each field.
    private static func headerValue(
        _ name: UnsafeRawBufferPointer, _ fields: borrowing FieldIndex,
        _ message: UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer? {
        for index in 0..<fields.count {
            let field = fields[index]
            guard Int(field.nameLength) == name.count,
                Bytes.areEqual(message[nameOf: field], ignoringCase: name)
            else { continue }
            return message[valueOf: field]
        }
        return nil
    }

    /// The first value of a query parameter, as sent.
    func queryValue(_ name: Text) -> UnsafeRawBufferPointer? {
        let query = message.bytes[head.query]
        var start = 0
        while start < query.count {
            var end = start
            while end < query.count, query[end] != UInt8(ascii: "&") { end += 1 }
            let pair = query.part(start, end - start)
            if pair.count > name.count, pair[name.count] == UInt8(ascii: "="),
                Bytes.hasPrefix(pair, name.bytes)
            {
                return pair.part(name.count + 1, pair.count - name.count - 1)
            }
            start = end + 1
        }
        return nil
    }
}

extension UnsafeRawBufferPointer {
    /// The segment of a path with that number, the first being 1; empty where there is none.
    func segment(_ number: Int) -> UnsafeRawBufferPointer {
        var start = 1
        for _ in 1..<Swift.max(number, 1) {
            while start < count, self[start] != UInt8(ascii: "/") { start += 1 }
            start += 1
        }
        guard start < count else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        var end = start
        while end < count, self[end] != UInt8(ascii: "/") { end += 1 }
        return part(start, end - start)
    }
}
