// Logarithms without a C library: equal on every machine, so that a seed replays a run.

/// The natural logarithm of a positive number, to about 1e-9; 0 for anything else.
func logarithm(_ x: Double) -> Double {
    guard x > 0, x.isFinite else { return 0 }
    // ln m = 2 artanh((m - 1) / (m + 1)), with m in 1..<2 brought to 0.7..<1.4.
    var exponent = Double(x.exponent)
    var m = x.significand
    if m > 1.414 {
        m /= 2
        exponent += 1
    }
    let y = (m - 1) / (m + 1)
    let square = y * y
    var term = y
    var sum = 0.0
    for odd in stride(from: 1.0, through: 15.0, by: 2.0) {
        sum += term / odd
        term *= square
    }
    return 2 * sum + exponent * 0.693147180559945309
}

/// The logarithm to the base 10.
func logarithm10(_ x: Double) -> Double { logarithm(x) / 2.302585092994045684 }
