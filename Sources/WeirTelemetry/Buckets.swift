// The bounds of the request duration histogram, and which bucket a duration falls in.

/// The buckets of `http_request_duration_seconds`: 0.5 ms to 30 s, and one beyond.
package enum Buckets {
    /// Each bucket's inclusive upper bound. The last bucket, beyond these, has none.
    package static let boundsNanoseconds: [Int64] = [
        500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
        100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000,
        10_000_000_000, 30_000_000_000,
    ]

    /// The bounds in seconds, as the exposition writes them.
    package static let labels: [StaticString] = [
        "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
        "1", "2.5", "5", "10", "30",
    ]

    /// How many buckets there are, the boundless one included.
    package static var count: Int { 16 }

    /// The bucket of a duration: four comparisons with constants, no memory read.
    package static func index(_ nanoseconds: Int64) -> Int {
        if nanoseconds <= 100_000_000 {
            if nanoseconds <= 5_000_000 {
                return nanoseconds <= 1_000_000
                    ? (nanoseconds <= 500_000 ? 0 : 1) : (nanoseconds <= 2_500_000 ? 2 : 3)
            }
            return nanoseconds <= 25_000_000
                ? (nanoseconds <= 10_000_000 ? 4 : 5) : (nanoseconds <= 50_000_000 ? 6 : 7)
        }
        if nanoseconds <= 2_500_000_000 {
            return nanoseconds <= 500_000_000
                ? (nanoseconds <= 250_000_000 ? 8 : 9) : (nanoseconds <= 1_000_000_000 ? 10 : 11)
        }
        return nanoseconds <= 10_000_000_000
            ? (nanoseconds <= 5_000_000_000 ? 12 : 13) : (nanoseconds <= 30_000_000_000 ? 14 : 15)
    }
}
