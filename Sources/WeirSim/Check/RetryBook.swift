// The oracle of the retry budget: its own count of requests and retries, by hundredths of windows.

import WeirPolicy
import WeirTime

/// What one cluster's traffic has earned and spent.
///
/// A retry is within the budget when, itself counted, the window that ends with it has no more
/// retries than `percent` of the window's requests and the floor, or it is the only one. The book's
/// slots are coarser than a nanosecond: it counts a slot more of requests, and one less of retries,
/// so what it reports is wrong for certain.
struct RetryBook {
    private static let slots: Int64 = 100
    private let settings: RetryBudgetSettings
    private let slotLength: Int64
    private var requests: ContiguousArray<(slot: Int64, count: Int)>
    private var retries: ContiguousArray<(slot: Int64, count: Int)>
    /// Retries of the whole run, and what they may have been.
    private var total = (requests: 0, retries: 0)

    init(_ settings: RetryBudgetSettings) {
        self.settings = settings
        slotLength = max(settings.window.nanoseconds / Self.slots, 1)
        requests = ContiguousArray(repeating: (-1, 0), count: 128)
        retries = requests
    }

    mutating func deposit(_ now: Int64) {
        total.requests += 1
        Self.add(1, &requests, now / slotLength)
    }

    /// - Returns: whether the retry is within the budget.
    mutating func withdraw(_ now: Int64) -> Bool {
        total.retries += 1
        let slot = now / slotLength
        Self.add(1, &retries, slot)
        let earned = Double(Self.sum(requests, slot - Self.slots...slot)) * share
        let floor = settings.minPerSecond * settings.window.seconds
        let spent = Self.sum(retries, slot - Self.slots + 2...slot)
        return Double(spent) <= earned + floor + 1
    }

    mutating func refund(_ takenAt: Int64) {
        total.retries -= 1
        Self.add(-1, &retries, takenAt / slotLength)
    }

    /// Over all the time until now.
    func isWithin(_ now: Int64) -> Bool {
        let time = Interval(nanoseconds: now).seconds + settings.window.seconds
        let floor = settings.minPerSecond * time
        return Double(total.retries) <= Double(total.requests) * share + floor + 1
    }

    private var share: Double { Double(settings.percent) / 100 }

    private static func add(
        _ count: Int, _ ring: inout ContiguousArray<(slot: Int64, count: Int)>, _ slot: Int64
    ) {
        let index = Int(slot & 127)
        if ring[index].slot != slot { ring[index] = (slot, 0) }
        ring[index].count += count
    }

    private static func sum(
        _ ring: ContiguousArray<(slot: Int64, count: Int)>, _ slots: ClosedRange<Int64>
    ) -> Int {
        ring.reduce(0) { slots.contains($1.slot) ? $0 + $1.count : $0 }
    }
}
