// Time cut into slots: what windows that roll by slots count their slots by.

import WeirTime

extension Instant {
    /// The number of the slot that the instant lies in, where slots of `length` nanoseconds follow
    /// each other from the clock's start. Rounded down, before the clock's start as well.
    func slot(ofLength length: Int64) -> Int64 {
        let (quotient, remainder) = nanoseconds.quotientAndRemainder(dividingBy: max(length, 1))
        return remainder < 0 ? quotient - 1 : quotient
    }
}
