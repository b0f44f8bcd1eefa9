// How many connections each client address has, in the whole process.

import Synchronization
import WeirNet

/// Counts of connections by address, for listeners that bound them. An IPv6 client is its /64,
/// which a client usually has to itself.
package final class AddressBudget: Sendable {
    private let counts = Mutex<[IPAddress: Int]>([:])

    package init() {}

    /// Counts one more connection of an address; `false` when it has `limit` already.
    func take(_ address: IPAddress, limit: Int) -> Bool {
        let key = address.prefix(v4Bits: 32, v6Bits: 64)
        return counts.withLock { counts in
            let count = counts[key, default: 0]
            guard count < limit else { return false }
            counts[key] = count + 1
            return true
        }
    }

    func give(_ address: IPAddress) {
        let key = address.prefix(v4Bits: 32, v6Bits: 64)
        counts.withLock { counts in
            guard let count = counts[key] else { return }
            counts[key] = count > 1 ? count - 1 : nil
        }
    }

    /// Addresses that are counted.
    package var addresses: Int { counts.withLock { $0.count } }
}
