// A reload answers with what it changed.

import Testing
import WeirConfig

@Suite struct DiffTests {
    private static let base = """
        version: 1
        admin: { address: 127.0.0.1:9901 }
        runtime: { workers: 2 }
        listeners: [{ name: web, address: 127.0.0.1:8080 }]
        routes:
          - { name: api, match: { path_prefix: /api }, cluster: api }
          - { name: web, cluster: web }
        clusters:
          - { name: api, endpoints: [10.0.0.1:80, 10.0.0.2:80] }
          - { name: web, endpoints: [10.0.1.1:80] }
        """

    private func configuration(_ edits: [(String, String)]) throws -> Configuration {
        var text = Self.base
        for (old, new) in edits {
            try #require(text.contains(old))
            text = text.split(separator: old, omittingEmptySubsequences: false)
                .joined(separator: new)
        }
        let (configuration, diagnostics) = ConfigurationParser.parse(Array(text.utf8), file: "t")
        return try #require(configuration, "\(diagnostics.map(\.message))")
    }

    private func diff(_ edits: (String, String)...) throws -> [String] {
        ConfigurationDiff.lines(from: try configuration([]), to: try configuration(edits))
    }

    @Test func `equal meanings are no change`() throws {
        #expect(try diff() == ["no change"])
        #expect(try diff(("workers: 2", "workers: 2, drain_timeout: 30s")) == ["no change"])
    }

    @Test func `endpoints that come and go are counted`() throws {
        #expect(
            try diff(("10.0.0.2:80", "10.0.0.3:80")) == [
                "cluster api: 1 endpoint added, 1 draining"
            ])
        #expect(try diff((", 10.0.0.2:80", "")) == ["cluster api: 1 endpoint draining"])
        #expect(
            try diff(("10.0.0.2:80", "{ address: 10.0.0.2:80, weight: 3 }")) == [
                "cluster api: 1 weight changed"
            ])
    }

    @Test func `changed routes are named`() throws {
        #expect(
            try diff(
                ("cluster: api }", "cluster: api, timeout: 2s }"),
                ("web, cluster", "web, timeout: 9s, cluster"))
                == ["2 routes changed: api, web"])
        #expect(
            try diff(("  - { name: web, cluster: web }", "  - { name: all, cluster: web }")) == [
                "1 route added: all", "1 route removed: web",
            ])
    }

    @Test func `a new order of routes is a change`() throws {
        let api = "  - { name: api, match: { path_prefix: /api }, cluster: api }\n"
        let web = "  - { name: web, cluster: web }\n"
        #expect(try diff((api + web, web + api)) == ["routes are in a new order"])
    }

    @Test func `listeners come, go and change`() throws {
        let web = "{ name: web, address: 127.0.0.1:8080 }"
        #expect(
            try diff((web, "\(web), { name: edge, address: 127.0.0.1:81 }")) == [
                "listener edge added on 127.0.0.1:81"
            ])
        #expect(
            try diff((web, "{ name: edge, address: 127.0.0.1:8080 }")) == [
                "listener edge added on 127.0.0.1:8080", "listener web removed, draining",
            ])
        #expect(
            try diff((web, "{ name: web, address: 127.0.0.1:81, limits: { idle_timeout: 5s } }"))
                == ["listener web: now on 127.0.0.1:81, limits changed"])
    }

    @Test func `what waits for a restart says so`() throws {
        #expect(
            try diff(("workers: 2", "workers: 3, max_connections: 10"), ("9901", "9902")) == [
                "admin: now on 127.0.0.1:9902", "runtime.workers takes effect at restart",
                "runtime changed: max_connections 10",
            ])
    }

    @Test func `a cluster's settings are named`() throws {
        #expect(
            try diff(
                (
                    "[10.0.1.1:80] }",
                    "[10.0.1.1:80], connect_timeout: 2s, load_balancing: { policy: least_request } }"
                )) == [
                    "cluster web: load_balancing is now least_request, connect_timeout is now 2s"
                ])
        #expect(
            try diff(("endpoints: [10.0.1.1:80]", "discovery: { dns: web.internal:80 }")) == [
                "cluster web: now found by dns web.internal:80"
            ])
    }

    // MARK: Governors

    private static let tenants = """
        tenants:
          identify: [{ header: x-api-key }]
          plans: { free: { rate: 10/s }, pro: { rate: 200/s, burst: 400 } }
          default_plan: free
        """

    private func tenantsDiff(_ edit: (String, String)) throws -> [String] {
        let routes = "routes:\n"
        let before = try configuration([(routes, Self.tenants + "\n" + routes)])
        try #require(Self.tenants.contains(edit.0))
        let edited = Self.tenants.split(separator: edit.0, omittingEmptySubsequences: false)
            .joined(separator: edit.1)
        let after = try configuration([(routes, edited + "\n" + routes)])
        return ConfigurationDiff.lines(from: before, to: after)
    }

    @Test func `a changed plan is named with its new figures`() throws {
        #expect(try tenantsDiff(("200/s", "300/s")) == ["plan pro: rate 300/s"])
        #expect(
            try tenantsDiff(("burst: 400", "burst: 7, weight: 4, concurrency: 9")) == [
                "plan pro: burst 7, weight 4, concurrency 9"
            ])
        #expect(try tenantsDiff(("{ rate: 10/s }", "{}")) == ["plan free: rate off"])
    }

    @Test func `plans come and go and tenants change`() throws {
        #expect(
            try tenantsDiff((", pro:", ", big:")) == ["plan big added", "plan pro removed"])
        #expect(
            try tenantsDiff(
                (
                    "default_plan: free",
                    "default_plan: pro\n  mode: shadow\n  assignments: { file: a.csv }"
                )) == [
                    "tenants: default_plan is now pro, assignments changed, mode shadow"
                ])
        #expect(try diff(("routes:\n", Self.tenants + "\nroutes:\n")) == ["tenants added"])
    }

    @Test func `a route's governors are named apart from its other settings`() throws {
        let edits = [
            ("cluster: api }", "cluster: api, rate_limits: [{ rate: 5/s }], priority: critical }"),
            (
                "routes:\n",
                "retry_policies: { safe: { on: [5xx] } }\n"
                    + "priorities: { default_class: sheddable }\nroutes:\n"
            ), ("web, cluster", "web, timeout: 9s, retry: safe, hedge: {}, breaker: {}, cluster"),
        ]
        #expect(
            try ConfigurationDiff.lines(from: configuration([]), to: configuration(edits)) == [
                "priorities: default_class is now sheddable", "retry policy safe added",
                "1 route changed: web", "route api: priority is now critical, rate_limits changed",
                "route web: retry is now safe, hedge changed, breaker changed",
            ])
    }

    @Test func `a retry policy's change is named`() throws {
        let policy = ("routes:\n", "retry_policies: { safe: { on: [5xx] } }\nroutes:\n")
        let changed = (
            "routes:\n",
            "retry_policies: { safe: { on: [429], attempts: 1, per_try_timeout: 1s, "
                + "budget: { percent: 5 } } }\nrate_limits: [{ rate: 1/s }]\nroutes:\n"
        )
        let lines = try ConfigurationDiff.lines(
            from: configuration([policy]), to: configuration([changed]))
        #expect(
            lines == [
                "retry policy safe: on changed, attempts 1, per_try_timeout 1s, budget changed",
                "rate_limits changed",
            ])
    }

    @Test func `a cluster's governors are named`() throws {
        #expect(
            try diff(
                (
                    "10.0.0.2:80] }",
                    """
                    10.0.0.2:80], outlier_detection: { consecutive_5xx: 3 }, queue: {}, \
                    circuit_breakers: { max_requests: 5 }, slow_start: 5s, breaker: {}, \
                    health_check: { tcp: true }, concurrency: { mode: shadow } }
                    """
                )) == [
                    "cluster api: circuit_breakers changed, concurrency changed, queue changed, "
                        + "outlier_detection changed, health_check changed, slow_start is now 5s, "
                        + "breaker changed"
                ])
        #expect(
            try diff(("10.0.0.2:80", "{ address: 10.0.0.2:80, zone: a, priority: 1 }")) == [
                "cluster api: zone or priority of 1 endpoint changed"
            ])
    }

    @Test func `many routes with new governors are counted`() throws {
        let routes = (0..<11).map {
            "  - { name: r\($0), match: { path: /\($0) }, cluster: api }\n"
        }.joined()
        let before = [("routes:\n", "routes:\n" + routes)]
        let after = [
            ("routes:\n", "routes:\n" + routes),
            (" }, cluster: api }", " }, cluster: api, hedge: {} }"),
        ]
        let lines = try ConfigurationDiff.lines(
            from: configuration(before), to: configuration(after))
        #expect(lines.count == 9)
        // The base's own route to the cluster is one of them.
        #expect(lines.last == "governors of 4 more routes changed")
    }
}
