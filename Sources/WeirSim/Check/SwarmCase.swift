// A random world for the sweep: some policies, some faults, some load, all from one seed.

package import WeirTime

/// What a case of the sweep is made of. Few numbers, so that a failing case can be made smaller
/// by making them smaller.
package struct SwarmCase: Equatable, Sendable, CustomStringConvertible {
    package struct Policies: OptionSet, Hashable, Sendable {
        package let rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }

        package static let concurrency = Policies(rawValue: 1 << 0)
        package static let queue = Policies(rawValue: 1 << 1)
        package static let outlier = Policies(rawValue: 1 << 2)
        package static let retries = Policies(rawValue: 1 << 3)
        package static let breaker = Policies(rawValue: 1 << 4)
        package static let rates = Policies(rawValue: 1 << 5)
        package static let tenantCaps = Policies(rawValue: 1 << 6)
        package static let ceilings = Policies(rawValue: 1 << 7)
        package static let slowStart = Policies(rawValue: 1 << 8)
        package static let shares = Policies(rawValue: 1 << 9)
        package static let verdictDelay = Policies(rawValue: 1 << 10)
        package static let shadow = Policies(rawValue: 1 << 11)

        static let names: [(Policies, String)] = [
            (.concurrency, "concurrency"), (.queue, "queue"), (.outlier, "outlier"),
            (.retries, "retries"), (.breaker, "breaker"), (.rates, "rates"),
            (.tenantCaps, "tenant caps"), (.ceilings, "ceilings"), (.slowStart, "slow start"),
            (.shares, "shares"), (.verdictDelay, "verdict delay"), (.shadow, "shadow"),
        ]
    }

    package var seed: UInt64
    package var policies: Policies
    package var endpoints: Int
    package var tenants: Int
    package var faults: Int
    /// The time in which anything may go wrong.
    package var stormy: Interval
    /// The time after it, in which nothing does.
    package var calm: Interval
    /// Offered in the stormy time, in percent of the capacity.
    package var load: Int

    /// - Parameter scale: how many times as long the stormy time is as 2 s.
    package init(seed: UInt64, scale: Int = 1) {
        var chance = Chance(seed: seed, label: "case")
        self.seed = seed
        var policies = Policies(rawValue: UInt16(truncatingIfNeeded: chance.next()) & 0xFFF)
        // The rarer ones; and where all is shadow, nothing happens.
        if !chance.isHit(share32(0.3)) { policies.remove(.shadow) }
        if !chance.isHit(share32(0.3)) { policies.remove(.breaker) }
        if chance.isHit(share32(0.5)) { policies.formUnion([.concurrency, .queue]) }
        // A third of all cases must recover.
        if chance.isHit(share32(0.3)) {
            policies.formUnion([.concurrency, .queue])
            policies.subtract([.breaker, .rates, .tenantCaps, .ceilings, .shadow])
        }
        self.policies = policies
        // Mostly few, which costs less and shows as much.
        endpoints = 1 + Int(chance.below(2 + chance.below(5)))
        tenants = 1 + Int(chance.below(12))
        faults = Int(chance.below(5))
        stormy = .milliseconds(2000 * Int64(max(scale, 1)))
        calm = .seconds(1)
        load = 30 + Int(chance.below(220))
        if mustRecover { calm = recovery + .seconds(2) }
    }

    package var description: String {
        let names = Policies.names.filter { policies.contains($0.0) }.map(\.1)
        return "seed \(seed): \(endpoints) endpoints, \(tenants) tenants, \(faults) faults, "
            + "\(load) % load, \(Text.seconds(stormy)) stormy, \(Text.seconds(calm)) calm, "
            + (names.isEmpty ? "no policies" : names.joined(separator: ", "))
    }

    /// Whether the governors that bring a cluster back are on, and none that refuse for good
    /// reasons: then nearly all must be served in calm weather.
    package var mustRecover: Bool {
        policies.isSuperset(of: [.concurrency, .queue])
            && policies.isDisjoint(with: [.breaker, .rates, .tenantCaps, .ceilings, .shadow])
    }

    /// Offered in calm weather, in percent of the capacity. An ejection that is in force when the
    /// weather changes takes an endpoint out for a while; and at 75 % of 200 a second about one
    /// request in a hundred waits for more than a tenth of a second by chance alone.
    var calmLoad: Int { min(load, policies.contains(.outlier) || endpoints == 1 ? 60 : 75) }

    /// From when on in calm weather nearly all must be served: after five seconds; where ejections
    /// of up to four seconds may be in force when the weather changes, after they are over.
    var recovery: Interval { .seconds(policies.contains(.outlier) ? 9 : 5) }
}
