// What the limiter compares: windows of answers, and windows taken together.

import WeirTime

extension ConcurrencyLimiter {
    /// What was seen between two looks.
    package struct Window: Equatable, Sendable {
        package var samples: Int
        /// Nanoseconds.
        package var latency: Double
        /// Answers a second.
        package var rate: Double
        /// The most requests in flight.
        package var peak: Int
        /// Answers that asked for less, for each other one.
        package var busyShare = 0.0
        /// The share of samples that are no answers, but attempts given up after their time.
        package var timeoutShare = 0.0

        package init(samples: Int, latency: Double, rate: Double, peak: Int) {
            self.samples = samples
            self.latency = latency
            self.rate = rate
            self.peak = peak
        }
    }

    /// Windows of about one limit, to compare others with.
    struct Reference: Sendable {
        var limit: Double
        var rate: Double
        var latency: Double
        var samples: Double
        var at: Instant
    }
}

extension ConcurrencyLimiter.Window {
    /// Too many attempts came to nothing for the others to speak for all.
    var isTimedOut: Bool { timeoutShare >= 0.25 }
}

extension ConcurrencyLimiter.Reference {
    init(_ window: ConcurrencyLimiter.Window, limit: Double, at now: Instant) {
        self.init(
            limit: limit, rate: window.rate, latency: window.latency,
            samples: Double(max(window.samples, 1)), at: now)
    }

    /// More answers were seen with fewer in flight: what came before was no measure.
    mutating func raise(to window: ConcurrencyLimiter.Window) {
        guard window.rate > rate else { return }
        rate = window.rate
        samples = Double(max(window.samples, 1))
    }

    /// Takes in another window of about the same limit.
    mutating func merge(_ other: Self) {
        rate += (other.rate - rate) / 4
        latency += (other.latency - latency) / 4
        samples = min(samples + other.samples, 4 * other.samples)
        at = other.at
    }
}
