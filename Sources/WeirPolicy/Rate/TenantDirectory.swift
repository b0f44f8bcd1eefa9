// Which plan a tenant has: the assignments of the configuration or of its file, by hash.

/// Tenants by the hash of their key; made once for each generation of the assignments.
///
/// Open addressing with linear probing, at most half full: 20 to 40 bytes a tenant.
public final class TenantDirectory: Sendable {
    /// The plan of a tenant that is not listed.
    public let defaultPlan: UInt16
    /// Tenants listed.
    public let count: Int
    private let keys: [UInt64]
    private let plans: [UInt16]
    private let shift: UInt64

    /// Lists tenants by `KeyHasher` hash, with the index of their plan. Of two entries with the
    /// same hash the later holds. A hash of 0 is nobody's and is left out.
    package init(_ assignments: [(hash: UInt64, plan: UInt16)], defaultPlan: UInt16) {
        self.defaultPlan = defaultPlan
        var bits: UInt64 = 1
        while 1 << bits < 2 * assignments.count + 1 { bits += 1 }
        var keys = [UInt64](repeating: 0, count: 1 << bits)
        var plans = [UInt16](repeating: defaultPlan, count: 1 << bits)
        var count = 0
        let shift = 64 - bits
        let last = keys.count - 1
        for (hash, plan) in assignments where hash != 0 {
            var index = Self.home(of: hash, shift: shift)
            while keys[index] != 0, keys[index] != hash { index = index == last ? 0 : index + 1 }
            if keys[index] == 0 { count += 1 }
            keys[index] = hash
            plans[index] = plan
        }
        self.keys = keys
        self.plans = plans
        self.count = count
        self.shift = shift
    }

    /// The plan of the tenant with this hash.
    public func plan(of hash: UInt64) -> UInt16 {
        guard count > 0, hash != 0 else { return defaultPlan }
        var index = Self.home(of: hash, shift: shift)
        while true {
            let key = keys[index]
            if key == hash { return plans[index] }
            if key == 0 { return defaultPlan }
            index = index == keys.count &- 1 ? 0 : index &+ 1
        }
    }

    private static func home(of hash: UInt64, shift: UInt64) -> Int {
        Int((hash &* 0x9E37_79B9_7F4A_7C15) >> shift)
    }
}
