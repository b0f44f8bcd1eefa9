// Which requests go where, and what happens to them on the way.

import WeirTime

enum RouteSection {
    static let name = Key("name", .name, required: true, "Its name in logs and metrics; unique.")
    static let match = Key(
        "match", .section(MatchSection.decode), default: "every request",
        "The conditions that a request must meet, all of them.")
    static let cluster = Key(
        "cluster", .reference(to: "cluster"), "Forwards to this cluster.")
    static let redirect = Key(
        "redirect", .section(RedirectSection.decode),
        "Answers with a redirect.")
    static let directResponse = Key(
        "direct_response", .section(DirectResponseSection.decode),
        "Answers with a fixed response.")
    static let timeout = Key(
        "timeout", .orOff(.duration(.milliseconds(1) ... .seconds(86400))), default: "15s",
        "From the end of the request to the end of the response's head, over all attempts and "
            + "waits; while a body is being sent, between two parts that the endpoint takes. "
            + "Beyond it the answer is 504.")
    static let idleTimeout = Key(
        "idle_timeout", .duration(.milliseconds(1) ... .seconds(86400)), default: "5m",
        "How long a response that has begun, or a tunnel, may go without a byte in either "
            + "direction; then it is cut off.")
    static let requestBuffer = Key(
        "request_buffer", .byteCount(0...512 << 10), default: "16KiB",
        "Bytes of a request's body that are gathered before an upstream connection is taken.")
    static let prefixRewrite = Key(
        "prefix_rewrite", .urlPath, default: "none",
        "Replaces the part of the path that path_prefix matched.")
    static let requestHeaders = Key(
        "request_headers",
        .section(HeaderEditsSection.decodeRequest),
        "Changes to the request's fields.")
    static let responseHeaders = Key(
        "response_headers",
        .section(HeaderEditsSection.decodeResponse),
        "Changes to the response's fields.")

    static let priority = Key(
        "priority", .reference(to: "priority class"),
        "The class of its requests; without it the class of the tenant's plan, or default_class.")
    static let retry = Key(
        "retry", .reference(to: "retry policy"),
        "What is sent again after a failure; without it nothing is.")
    static let hedge = Key(
        "hedge", .section(HedgeSection.decode), "Sends a second request when the first takes long.")
    static let rateLimits = Key(
        "rate_limits", RateRuleSection.rules, default: "[]", "How often the route may be used.")
    static let breaker = Key(
        "breaker", .section(BreakerSection.decode),
        "Stops asking while the route keeps failing.")

    static let section = Section(
        "route", at: "routes[]",
        "Routes are tried in order; the first whose conditions all hold wins. Each has exactly one "
            + "of cluster, redirect and direct_response.",
        example: """
            routes:
              - name: api
                match: { host: api.example.com, path_prefix: /v1 }
                cluster: api
                timeout: 2s
                prefix_rewrite: /
                request_headers:
                  set: { x-served-by: weir }
                  remove: [x-debug]
            """,
        keys: [
            name.entry, match.entry, cluster.entry, redirect.entry, directResponse.entry,
            timeout.entry, idleTimeout.entry, requestBuffer.entry, prefixRewrite.entry,
            requestHeaders.entry, responseHeaders.entry, priority.entry, retry.entry, hedge.entry,
            rateLimits.entry, breaker.entry,
            .later("split", "dividing traffic between clusters", insteadOf: "cluster"),
            .later("canary", "gated rollouts"),
            .later("cache", "caching"),
            .later("slo", "service level objectives"),
            .later("idempotency", "idempotency keys"),
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Route? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        let name = reader.read(name)
        report.places.routes.append(
            Places.RoutePlace(
                name: name ?? "", range: reader.valueRange(self.name) ?? reader.startRange,
                timeout: reader.valueRange(timeout), retry: reader.valueRange(retry)))
        let match = reader.read(match)
        reader.requireOne(of: [cluster.name, redirect.name, directResponse.name])
        let action = decodeAction(reader, report)
        checkPrefix(reader, match, action, report)
        warnNoEffect(reader, report)

        var route = Route(name: name ?? "", action: action ?? .forward(cluster: ""))
        if let match { route.match = match }
        if let limit = reader.read(timeout) { route.timeout = limit.value }
        if let limit = reader.read(idleTimeout) { route.idleTimeout = limit }
        reader.read(requestBuffer, into: &route.requestBuffer)
        route.prefixRewrite = reader.read(prefixRewrite)
        reader.read(requestHeaders, into: &route.requestHeaders)
        reader.read(responseHeaders, into: &route.responseHeaders)
        decodeGovernors(reader, into: &route, report)
        return name == nil || action == nil ? nil : route
    }

    private static func decodeGovernors(
        _ reader: SectionReader, into route: inout Route, _ report: Report
    ) {
        route.priority = reader.read(priority)
        report.places.refer(to: .priorityClass, route.priority, reader.valueRange(priority))
        route.retry = reader.read(retry)
        report.places.refer(to: .retryPolicy, route.retry, reader.valueRange(retry))
        route.hedge = reader.read(hedge)
        reader.read(rateLimits, into: &route.rateLimits)
        route.breaker = reader.read(breaker)
        warnHedge(route, reader, report)
    }

    /// Hedges that are never sent.
    private static func warnHedge(_ route: Route, _ reader: SectionReader, _ report: Report) {
        guard let hedge = route.hedge, let range = reader.keyRange(self.hedge) else { return }
        let methods = route.match.methods
        if !methods.isEmpty, !methods.contains("GET"), !methods.contains("HEAD") {
            report.warning(
                .noEffect, at: range, "'hedge' has no effect on a route without GET and HEAD",
                help: "other methods are never hedged; remove the key")
        }
        if case .delay(let delay) = hedge.after, let timeout = route.timeout, delay >= timeout {
            report.warning(
                .noEffect, at: range,
                "a hedge after \(Quantity.text(delay)) comes too late for the route's timeout "
                    + "(\(Quantity.text(timeout)))",
                help: "give a shorter 'after', or a percentile such as p95")
        }
    }

    private static func decodeAction(_ reader: SectionReader, _ report: Report) -> Route.Action? {
        let target = reader.read(cluster)
        let redirect = reader.read(redirect)
        let response = reader.read(directResponse)
        if let target, let range = reader.valueRange(cluster) {
            report.places.refer(to: .cluster, target, range)
            return .forward(cluster: target)
        }
        if let redirect { return .redirect(redirect) }
        return response.map { .respond($0) }
    }

    /// What shapes a forwarded request says nothing about one that weir answers itself.
    private static func warnNoEffect(_ reader: SectionReader, _ report: Report) {
        guard !reader.has(cluster), reader.has(redirect) || reader.has(directResponse) else {
            return
        }
        let keys = [
            (timeout.name, reader.keyRange(timeout)),
            (requestBuffer.name, reader.keyRange(requestBuffer)),
            (prefixRewrite.name, reader.keyRange(prefixRewrite)),
            (requestHeaders.name, reader.keyRange(requestHeaders)),
            (retry.name, reader.keyRange(retry)),
            (hedge.name, reader.keyRange(hedge)),
            (breaker.name, reader.keyRange(breaker)),
        ]
        for case (let name, let range?) in keys {
            report.warning(
                .noEffect, at: range, "'\(name)' has no effect on a route without 'cluster'",
                help: "weir answers this route itself; remove the key")
        }
    }

    /// A rewrite of the matched prefix needs a prefix that matched.
    private static func checkPrefix(
        _ reader: SectionReader, _ match: Route.Match?, _ action: Route.Action?, _ report: Report
    ) {
        if case .prefix = match?.path { return }
        // With conditions that were refused, what they meant is not known.
        if match == nil, reader.has(self.match) { return }
        let help = "replaces what 'path_prefix' matched; give 'match: { path_prefix: ... }'"
        if let range = reader.keyRange(prefixRewrite) {
            report.error(
                .conflictingKeys, at: range, "'prefix_rewrite' without 'path_prefix'", help: help)
        }
        guard case .redirect(let redirect) = action, redirect.prefixRewrite != nil,
            let range = reader.keyRange(self.redirect)
        else { return }
        report.error(
            .conflictingKeys, at: range, "'redirect.prefix_rewrite' without 'path_prefix'",
            help: help)
    }
}
