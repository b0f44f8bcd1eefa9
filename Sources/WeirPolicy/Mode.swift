// Whether a policy acts, only says what it would do, or rests.

/// Every policy has one; the same code runs in each.
public enum Mode: UInt8, CaseIterable, Sendable {
    /// It decides.
    case enforce
    /// It decides on state of its own and is counted as `would_…`; nothing follows from it.
    case shadow
    /// It is not asked.
    case off
}
