// Compares the endpoints of a cluster: who fails more, or answers later, than its peers.

import Synchronization
import WeirTime

/// One comparison, at the end of a slot; control thread.
///
/// Each endpoint is measured against the others (leave one out), never against a mean that it has
/// itself moved, so that two endpoints are enough to compare. Nothing is judged by one look: a
/// healthy cluster is looked at a thousand times a minute.
struct OutlierDetector {
    /// What counts as one endpoint's offence.
    struct Finding: Equatable {
        let index: Int
        let reason: EjectionReason
    }

    /// The latency of an endpoint must be worse by more than this as well.
    private static let leastDelay = 20_000_000.0
    /// Unfinished requests that are late, at least.
    private static let leastLate = 3
    /// Evidence, in nats, that an endpoint's failures are not chance. Chance reaches e^-11 in one
    /// window of some hundred thousand.
    private static let evidence = 11.0
    /// The share of unfinished late requests that is usual, averaged over some 40 looks.
    private var usualLate = 0.0

    private struct Summary {
        var isJudged: Bool
        var median = 0.0
        var p99 = 0.0
    }

    /// - Returns: the offenders, the worst evidence first come.
    mutating func compare(
        _ watches: inout [EndpointWatch], _ settings: OutlierSettings, now: Instant
    ) -> [Finding] {
        let summaries = watches.map { watch in
            let isCounted = watch.governor.isAvailable
            guard isCounted, watch.latencies.total >= max(settings.latencyMinRequests, 1) else {
                return Summary(isJudged: false)
            }
            return Summary(
                isJudged: true, median: watch.latencies.quantile(0.5),
                p99: watch.latencies.quantile(0.99))
        }
        var findings: [Finding] = []
        if settings.comparesFailures { compareFailures(watches, settings, &findings) }
        if settings.latencyFactor > 0 {
            compareLatencies(&watches, summaries, settings, &findings)
            countLate(&watches, summaries, now, &findings)
        }
        return findings
    }

    // MARK: Failures

    /// Pools the peers but the worst of them, which may be bad itself, and asks how much likelier
    /// both counts are with a rate for each than with one for both (a likelihood ratio: G test,
    /// Woolf 1957). A normal approximation finds three failures of twenty far too unlikely, and a
    /// peer's rate taken for certain ejects one of two equals.
    private func compareFailures(
        _ watches: [EndpointWatch], _ settings: OutlierSettings, _ findings: inout [Finding]
    ) {
        let least = max(settings.failureMinRequests, 1)
        for index in watches.indices where watches[index].governor.isAvailable {
            let own = watches[index].tally
            guard own.answers >= least, own.failures >= 3 else { continue }
            var answers = 0
            var failures = 0
            var worst = EndpointWatch.Tally(answers: 1, failures: -1)
            var peers = 0
            for other in watches.indices
            where other != index && watches[other].governor.isAvailable {
                let tally = watches[other].tally
                guard tally.answers >= least else { continue }
                peers += 1
                answers += tally.answers
                failures += tally.failures
                if tally.failures * worst.answers > worst.failures * tally.answers {
                    worst = tally
                }
            }
            guard peers > 0 else { continue }
            if peers >= 3 {
                answers -= worst.answers
                failures -= worst.failures
            }
            let share = Double(own.failures) / Double(own.answers)
            let usual = Double(failures) / Double(answers)
            guard share - usual >= 0.05 else { continue }
            let joint = Double(own.failures + failures) / Double(own.answers + answers)
            let evidence =
                Double(own.answers) * Self.entropy(share, joint)
                + Double(answers) * Self.entropy(usual, joint)
            if evidence >= Self.evidence {
                findings.append(Finding(index: index, reason: .failureRate))
            }
        }
    }

    /// How much more likely a share is by its own rate than by another one, in nats a sample.
    private static func entropy(_ share: Double, _ other: Double) -> Double {
        let yes = share > 0 ? share * logarithm(share / other) : 0
        let no = share < 1 ? (1 - share) * logarithm((1 - share) / (1 - other)) : 0
        return yes + no
    }

    // MARK: Latency

    private func compareLatencies(
        _ watches: inout [EndpointWatch], _ summaries: [Summary], _ settings: OutlierSettings,
        _ findings: inout [Finding]
    ) {
        for index in watches.indices {
            guard summaries[index].isJudged,
                let usual = Self.ofPeers(summaries, but: index, \.median)
            else {
                watches[index].slowTimes = 0
                continue
            }
            let own = summaries[index].median
            let isSlow = own > settings.latencyFactor * usual && own - usual > Self.leastDelay
            watches[index].slowTimes = isSlow ? watches[index].slowTimes + 1 : 0
            if watches[index].slowTimes >= 2 {
                findings.append(Finding(index: index, reason: .latency))
            }
        }
    }

    /// The median over the peers that have enough samples.
    private static func ofPeers(
        _ summaries: [Summary], but index: Int, _ value: KeyPath<Summary, Double>
    ) -> Double? {
        var values: [Double] = []
        for other in summaries.indices where other != index && summaries[other].isJudged {
            values.append(summaries[other][keyPath: value])
        }
        guard !values.isEmpty else { return nil }
        values.sort()
        let middle = values.count / 2
        return values.count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
    }

    // MARK: Unfinished requests

    /// An endpoint that has stopped gives no samples; its unfinished requests do. Late is later
    /// than three times the peers' median and twice their 99th percentile. Some traffic is slow by
    /// nature (long polls), so that the usual number of late ones is allowed for, with the spread
    /// that chance gives it.
    private mutating func countLate(
        _ watches: inout [EndpointWatch], _ summaries: [Summary], _ now: Instant,
        _ findings: inout [Finding]
    ) {
        var counts = [Int](repeating: 0, count: watches.count)
        var sum = 0
        var counted = 0
        for index in watches.indices {
            let governor = watches[index].governor
            guard let median = Self.ofPeers(summaries, but: index, \.median),
                let p99 = Self.ofPeers(summaries, but: index, \.p99)
            else {
                governor.lateAfter.store(.max, ordering: .relaxed)
                continue
            }
            let late = Int64(max(3 * median, 2 * p99, median + Self.leastDelay))
            governor.lateAfter.store(late, ordering: .relaxed)
            guard governor.isAvailable else { continue }
            counts[index] = governor.unfinished.count(olderThan: late, now: now)
            sum += counts[index]
            counted += 1
        }
        for index in watches.indices where watches[index].governor.isAvailable {
            let others = Double(sum - counts[index]) / Double(max(counted - 1, 1))
            let usual = max(others, usualLate)
            let bound = Double(Self.leastLate) + 3 * usual + 3 * usual.squareRoot()
            let isLate = counts[index] > 0 && Double(counts[index]) >= bound
            watches[index].lateTimes = isLate ? watches[index].lateTimes + 1 : 0
            if watches[index].lateTimes >= 2 {
                findings.append(Finding(index: index, reason: .unfinished))
            }
        }
        let mean = Double(sum) / Double(max(counted, 1))
        usualLate += (mean - usualLate) / 40
    }
}
