// What is sent again after a failure, when, and how much of it.

import WeirPolicy
import WeirTime

enum RetryPolicySection {
    private static let policy = RetryPolicy(name: "", conditions: [])

    static let mode = Key(
        "mode", .mode, default: "enforce",
        "shadow counts the retries that it would make, on a budget of their own, and makes none.")
    static let on = Key(
        "on", .list(of: RetryCondition.kind, "conditions"), required: true,
        "What may be tried again. The words are connect_failure, refused_stream (the endpoint says "
            + "that it did not look at the request), reset_before_response, gateway_error (502, "
            + "503, 504 or per_try_timeout), 5xx (any of them, or per_try_timeout), "
            + "per_try_timeout, and statuses from 400 to 599.")
    static let attempts = Key(
        "attempts", .integer(1...10), default: "\(policy.attempts)", "Retries after the first try.")
    static let perTryTimeout = Key(
        "per_try_timeout", .orOff(.duration(.milliseconds(1) ... .seconds(86400))), default: "off",
        "From the end of the request to the end of the response's head, for each try. The route's "
            + "timeout holds for all of them together.")
    static let backoff = Key(
        "backoff", .section(BackoffSection.decode), "How long to wait before a retry.")
    static let budget = Key(
        "budget", .section(RetryBudgetSection.decode),
        "How many retries and hedges a cluster's traffic earns. All routes to a cluster share one "
            + "budget: that of the first of them that has a retry policy.")
    static let methods = Key(
        "methods", .list(of: .method, "methods"),
        default: "[" + policy.methods.joined(separator: ", ") + "]",
        "What may be sent twice. Others are sent again only when nothing was sent.")
    static let bodyBuffer = Key(
        "body_buffer", .byteCount(0...1 << 20),
        default: Quantity.text(bytes: Int64(policy.bodyBuffer)),
        "Bytes of a request's body that are kept for a retry. A larger body is sent once.")

    static let section = Section(
        "retry policy", at: "retry_policies.NAME",
        "What is sent again after a failure. A policy has no effect until a route names it under "
            + "'retry'.",
        example: """
            retry_policies:
              safe:
                on: [connect_failure, refused_stream, reset_before_response, gateway_error, 429]
                attempts: 2
                per_try_timeout: 300ms
                backoff: { base: 25ms, max: 250ms, jitter: full }
                budget: { percent: 20, min_per_second: 3, window: 10s }
            routes:
              - { name: api, cluster: api, timeout: 2s, retry: safe }
            """,
        keys: [
            mode.entry, on.entry, attempts.entry, perTryTimeout.entry, backoff.entry,
            budget.entry, methods.entry, bodyBuffer.entry,
        ])

    static func decode(_ name: String, _ node: YAMLNode, _ report: Report) -> RetryPolicy? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let words = reader.read(on)
        var policy = RetryPolicy(name: name, conditions: [])
        for word in words ?? [] {
            switch word {
            case .condition(let condition): policy.conditions.formUnion(condition)
            case .status(let status):
                policy.conditions.insert(.listedStatus)
                if !policy.statuses.contains(status) { policy.statuses.append(status) }
            }
        }
        policy.statuses.sort()
        reader.read(mode, into: &policy.mode)
        reader.read(attempts, into: &policy.attempts)
        policy.perTryTimeout = reader.read(perTryTimeout)?.value
        if let backoff = reader.read(backoff) {
            policy.backoffBase = backoff.base
            policy.backoffMax = backoff.max
            policy.hasJitter = backoff.hasJitter
        }
        reader.read(budget, into: &policy.budget)
        reader.read(methods, into: &policy.methods)
        reader.read(bodyBuffer, into: &policy.bodyBuffer)
        warnTryTimeout(policy, reader, report)
        return words == nil ? nil : policy
    }

    /// A condition that cannot come about, and a limit that nothing follows.
    private static func warnTryTimeout(
        _ policy: RetryPolicy, _ reader: SectionReader, _ report: Report
    ) {
        let follows = policy.conditions.contains(.perTryTimeout)
        let others: RetryConditions = [.gatewayError, .serverError]
        if follows, policy.perTryTimeout == nil, policy.conditions.isDisjoint(with: others),
            let range = reader.valueRange(on)
        {
            report.warning(
                .noEffect, at: range, "the condition 'per_try_timeout' never comes about",
                help: "give a 'per_try_timeout' as well")
        }
        if !follows, policy.perTryTimeout != nil, !policy.conditions.isEmpty,
            let range = reader.keyRange(perTryTimeout)
        {
            report.warning(
                .noEffect, at: range, "a try that 'per_try_timeout' ends is not tried again",
                help: "add per_try_timeout, gateway_error or 5xx to 'on'")
        }
    }
}

/// One item of `on`.
enum RetryCondition: Sendable {
    case condition(RetryConditions)
    case status(Int)

    /// The conditions that have a word, in the order in which they are written.
    static let words: [(String, RetryConditions)] = [
        ("connect_failure", .connectFailure), ("refused_stream", .refusedStream),
        ("reset_before_response", .resetBeforeResponse),
        ("gateway_error", [.gatewayError, .perTryTimeout]),
        ("5xx", [.serverError, .perTryTimeout]), ("per_try_timeout", .perTryTimeout),
    ]

    private static let word = Kind<RetryConditions>.word(words, orMapping: "a status")

    static let kind = Kind<RetryCondition>(type: word.type, bounds: "statuses 400 to 599") {
        node, report in
        if let text = node.text, !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
            return Kind<Int>.integer(400...599).read(node, report).map { .status($0) }
        }
        return word.read(node, report).map { .condition($0) }
    }
}

enum BackoffSection {
    struct Backoff: Sendable {
        var base: Interval
        var max: Interval
        var hasJitter: Bool
    }

    private static let policy = RetryPolicy(name: "", conditions: [])
    private static let waits: ClosedRange<Interval> = .milliseconds(1) ... .seconds(60)

    static let base = Key(
        "base", .duration(waits), default: Quantity.text(policy.backoffBase),
        "The longest wait before the first retry; it doubles with each one that follows.")
    static let max = Key(
        "max", .duration(waits), default: Quantity.text(policy.backoffMax),
        "What the doubling ends at. A Retry-After of the endpoint is honoured beyond it.")
    static let jitter = Key(
        "jitter", .word([("full", true), ("none", false)]), default: "full",
        "full: the wait is drawn between nothing and that time; none: it is that time.")

    static let section = Section(
        "backoff", at: "retry_policies.NAME.backoff", "How long to wait before a retry.",
        keys: [base.entry, max.entry, jitter.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Backoff? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let backoff = Backoff(
            base: reader.read(base) ?? policy.backoffBase,
            max: reader.read(max) ?? policy.backoffMax,
            hasJitter: reader.read(jitter) ?? policy.hasJitter)
        if backoff.base > backoff.max,
            let range = reader.valueRange(base) ?? reader.valueRange(max)
        {
            report.error(
                .limitOrder, at: range,
                "base (\(Quantity.text(backoff.base))) exceeds max "
                    + "(\(Quantity.text(backoff.max)))")
        }
        return backoff
    }
}

enum RetryBudgetSection {
    private static let settings = RetryBudgetSettings()

    static let percent = Key(
        "percent", .integer(0...100), default: "\(settings.percent)",
        "Retries and hedges for each hundred requests of the window.")
    static let minPerSecond = Key(
        "min_per_second", .decimal(0...1_000_000, "0 to 1000000", such: "0.5"), default: "0",
        "Retries that are allowed however few requests there are.")
    static let window = Key(
        "window", .duration(.milliseconds(100) ... .seconds(3600)),
        default: Quantity.text(settings.window), "What percent looks back on.")

    static let section = Section(
        "budget", at: "retry_policies.NAME.budget",
        "How many retries and hedges a cluster's traffic earns. It bounds what weir adds to an "
            + "overload.",
        keys: [percent.entry, minPerSecond.entry, window.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> RetryBudgetSettings? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var settings = RetryBudgetSettings()
        reader.read(percent, into: &settings.percent)
        reader.read(minPerSecond, into: &settings.minPerSecond)
        reader.read(window, into: &settings.window)
        if settings.percent == 0, settings.minPerSecond == 0 {
            report.warning(
                .noEffect, at: reader.startRange, "this budget allows no retry",
                help: "give a 'percent' or a 'min_per_second' above 0, or no 'retry' to the routes")
        }
        return settings
    }
}
