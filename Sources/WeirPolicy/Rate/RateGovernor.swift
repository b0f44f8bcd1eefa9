// All rate limits of the process: tenant, route and global levels, charged together or not at all.

public import WeirTime

/// Charges requests to the buckets of all levels that limit them.
///
/// One for the process, whatever is reloaded: a bucket is known by its key, and a key is made from
/// names (`KeyHasher`). A rule whose rate has changed goes on with as many tokens spent as before.
///
/// A request is charged once, before its first attempt. Then, exactly once: `refund` where a later
/// stage refuses it or its client leaves before anything was sent; `settle` where its true cost is
/// known only at the end; nothing otherwise. Both forget the charge, so a second call does nothing.
public final class RateGovernor: Sendable {
    /// The buckets.
    public let buckets: BucketTable

    /// Makes a governor that can keep `capacity` buckets which are not full: one for each tenant
    /// and rule.
    package init(capacity: Int) { buckets = BucketTable(capacity: capacity) }

    /// Charges every level, the nearest to the tenant first, or none.
    ///
    /// A denied request leaves every bucket as it was. A shadow level is charged like any other but
    /// denies nothing. No two levels may have the same key.
    public func charge(
        _ charges: UnsafeMutableBufferPointer<RateCharge>, now: Instant
    ) -> RateVerdict {
        var verdict = RateVerdict()
        for level in charges.indices {
            let charge = charges[level]
            let answer = buckets.charge(charge.key, law: charge.law, cost: charge.cost, now: now)
            charges[level].place = answer.place
            if answer.wait == 0 {
                if !charge.isShadow {
                    verdict.admits(at: level, law: charge.law, ahead: answer.ahead)
                }
            } else if charge.isShadow {
                verdict.deniesInShadow(at: level)
            } else {
                refund(UnsafeMutableBufferPointer(rebasing: charges[..<level]))
                verdict.denies(at: level, law: charge.law, ahead: answer.ahead)
                let rest = wait(of: charges, after: level, now: now, verdict: &verdict)
                verdict.waits(max(answer.wait, rest))
                return verdict
            }
        }
        return verdict
    }

    /// The longest wait among the levels that were not asked, without charging them.
    private func wait(
        of charges: UnsafeMutableBufferPointer<RateCharge>, after denied: Int, now: Instant,
        verdict: inout RateVerdict
    ) -> Int64 {
        var longest: Int64 = 0
        for level in charges.indices.dropFirst(denied + 1) {
            let charge = charges[level]
            let answer = buckets.peek(charge.key, law: charge.law, cost: charge.cost, now: now)
            if !charge.isShadow {
                longest = max(longest, answer.wait)
            } else if answer.wait != 0 {
                verdict.deniesInShadow(at: level)
            }
        }
        return longest
    }

    /// Gives back what the request was charged: exactly, at whatever time, under whatever law the
    /// bucket is by then.
    public func refund(_ charges: UnsafeMutableBufferPointer<RateCharge>) {
        for level in charges.indices where charges[level].isCharged {
            let charge = charges[level]
            charges[level].place = 0
            buckets.refund(charge.key, law: charge.law, cost: charge.cost, place: charge.place)
        }
    }

    /// Corrects the charge to the `actual` cost in tokens, now that it is known. More than is left
    /// becomes a debt, of one burst at most: what is beyond it is forgiven.
    public func settle(
        _ charges: UnsafeMutableBufferPointer<RateCharge>, actual: Int64, now: Instant
    ) {
        let actual = max(0, actual)
        for level in charges.indices where charges[level].isCharged {
            let charge = charges[level]
            charges[level].place = 0
            if actual < charge.cost {
                buckets.refund(
                    charge.key, law: charge.law, cost: charge.cost - actual, place: charge.place)
            } else {
                buckets.chargeMore(
                    charge.key, law: charge.law, cost: actual - charge.cost, place: charge.place,
                    now: now)
            }
        }
    }

    /// What the bucket of `key` holds, for the status page: tokens, below 0 for a debt, and whether
    /// there is a bucket at all. A key without one has a full burst.
    package func level(
        of key: UInt64, limit: RateLimit, now: Instant
    ) -> (tokens: Int64, isTracked: Bool) {
        let law = limit.law
        guard let ahead = buckets.ahead(of: key, law: law, now: now) else {
            return (law.burst, false)
        }
        // Rounds down, below 0 as well.
        let room = law.tolerance &- ahead
        let tokens = room / law.emission
        return (room < 0 && room % law.emission != 0 ? tokens - 1 : tokens, true)
    }
}
