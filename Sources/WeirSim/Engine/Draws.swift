// Chance for a simulation: streams forked by label, and laws that are equal on every machine.

package import WeirTime

extension Chance {
    /// A stream of its own for each label: one more draw from one of them shifts no other.
    package init(seed: UInt64, label: String) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in label.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var mixer = Chance(seed: seed ^ hash)
        self.init(seed: mixer.next())
    }

    /// Evenly in `0 < x <= 1`.
    mutating func unit() -> Double {
        Double((next() >> 11) + 1) * 0x1p-53
    }

    /// With mean 1.
    mutating func exponential() -> Double { -Curve.logarithm(unit()) }

    /// With mean 0 and deviation 1 (Marsaglia's polar method, 1964).
    mutating func normal() -> Double {
        while true {
            let (x, y) = (2 * unit() - 1, 2 * unit() - 1)
            let square = x * x + y * y
            guard square > 0, square < 1 else { continue }
            return x * (-2 * Curve.logarithm(square) / square).squareRoot()
        }
    }

    /// `true` in `share` of 2^32 cases. Draws nothing where the answer is clear.
    mutating func isHit(_ share: UInt64) -> Bool {
        if share == 0 { return false }
        return share >= 1 << 32 || next() >> 32 < share
    }
}

/// A share in `0...1` as a count of 2^32.
func share32(_ share: Double) -> UInt64 { UInt64(min(max(share, 0), 1) * 0x1p32) }

/// Functions of the C library differ in the last bit between its versions, and one bit is enough to
/// make two runs of one seed differ: these need nothing but IEEE 754's basic operations.
enum Curve {
    /// The natural logarithm of a positive, normal number; to about 1e-11.
    static func logarithm(_ x: Double) -> Double {
        let mantissa = x.significand
        let isUpper = mantissa > 1.4142135623730951
        let m = isUpper ? mantissa / 2 : mantissa
        let exponent = Double(isUpper ? x.exponent + 1 : x.exponent)
        let s = (m - 1) / (m + 1)
        let q = s * s
        // The series of the inverse hyperbolic tangent; |s| < 0.172.
        let tail = q * (1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13)))
        let sum = 1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + tail)))
        return exponent * 0.6931471805599453 + 2 * s * sum
    }

    /// e to the power of a number in ±700; to about 1e-12.
    static func exponential(_ x: Double) -> Double {
        let clamped = min(max(x, -700), 700)
        let doublings = (clamped / 0.6931471805599453).rounded()
        let rest = clamped - doublings * 0.6931471805599453
        var term = 1.0
        var sum = 1.0
        for step in 1...12 {
            term *= rest / Double(step)
            sum += term
        }
        return Double(sign: .plus, exponent: Int(doublings), significand: 1) * sum
    }
}
