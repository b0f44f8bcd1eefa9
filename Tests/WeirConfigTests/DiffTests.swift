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
}
