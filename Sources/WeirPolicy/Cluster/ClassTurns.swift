// Which priority class gets the next permit: the best that waits, but for declared minimum shares.

/// How many wait in each class, and what each class is owed.
///
/// A class with a minimum share earns that many hundredths of a turn with each turn that is taken
/// while it waits. Once it is owed a whole turn it goes before better classes. What it gets anyway
/// counts; what it did not need is not saved up. No chance is involved, so a seed replays a run.
struct ClassTurns: Sendable {
    /// Classes beyond the last count as the last.
    static let classes = 8
    private static let turn = 100

    private var shares = [Int](repeating: 0, count: classes)
    private var owed = [Int](repeating: 0, count: classes)
    private var waiting = [Int](repeating: 0, count: classes)
    private(set) var total = 0

    init(minimumShares: [Int]) { setShares(minimumShares) }

    /// Shares of more than 100 % in all are cut, the worst class's first: better classes keep
    /// theirs.
    mutating func setShares(_ minimumShares: [Int]) {
        var left = Self.turn
        for priority in 0..<Self.classes {
            let wanted = priority < minimumShares.count ? minimumShares[priority] : 0
            shares[priority] = min(max(wanted, 0), left)
            left -= shares[priority]
            if shares[priority] == 0 { owed[priority] = 0 }
        }
    }

    func count(of priority: Int) -> Int {
        waiting.indices.contains(priority) ? waiting[priority] : 0
    }

    mutating func enter(_ priority: Int) {
        waiting[priority] += 1
        total += 1
    }

    mutating func leave(_ priority: Int) {
        waiting[priority] -= 1
        total -= 1
        if waiting[priority] == 0 { owed[priority] = 0 }
    }

    /// The class whose turn it is, which pays for it; `nil` when nobody waits.
    mutating func take() -> Int? {
        var best: Int?
        var creditor: Int?
        for priority in 0..<Self.classes where waiting[priority] > 0 {
            if best == nil { best = priority }
            guard shares[priority] > 0 else { continue }
            owed[priority] += shares[priority]
            guard owed[priority] >= Self.turn else { continue }
            if let other = creditor, owed[other] >= owed[priority] { continue }
            creditor = priority
        }
        guard let chosen = creditor ?? best else { return nil }
        owed[chosen] = max(owed[chosen] - Self.turn, 0)
        return chosen
    }
}
