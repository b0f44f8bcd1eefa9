// What the model of the governors works out from its values.

import Testing
import WeirConfig
import WeirPolicy
import WeirTime

@Suite struct GovernorModelTests {
    private func parse(_ text: String) throws -> Configuration {
        let (configuration, diagnostics) = ConfigurationParser.parse(Array(text.utf8), file: "t")
        return try #require(configuration, "\(diagnostics.map(\.message))")
    }

    @Test func `a backoff doubles up to its maximum`() {
        let policy = RetryPolicy(name: "a", conditions: [.connectFailure])
        #expect(
            (0..<6).map { policy.backoff($0) } == [
                .milliseconds(25), .milliseconds(50), .milliseconds(100), .milliseconds(200),
                .milliseconds(250), .milliseconds(250),
            ])
    }

    @Test func `the longest plan counts every try and every wait`() {
        var policy = RetryPolicy(name: "a", conditions: [.connectFailure])
        #expect(policy.longestPlan == nil)
        policy.perTryTimeout = .milliseconds(300)
        #expect(policy.longestPlan == .milliseconds(900 + 25 + 50))
        policy.perTryTimeout = .max
        #expect(policy.longestPlan == .max)
    }

    @Test func `gateway errors and 5xx come with the timeout of a try`() throws {
        for (word, condition) in [
            ("gateway_error", RetryConditions.gatewayError), ("5xx", .serverError),
        ] {
            let configuration = try parse(
                """
                version: 1
                listeners: [{ name: web, address: 127.0.0.1:80 }]
                retry_policies: { r: { on: [\(word), 404] } }
                routes: [{ name: all, cluster: app, retry: r }]
                clusters: [{ name: app, endpoints: [127.0.0.1:1] }]
                """)
            let policy = try #require(configuration.retryPolicies.first)
            #expect(policy.conditions == [condition, .perTryTimeout, .listedStatus])
            #expect(policy.statuses == [404])
        }
    }

    @Test func `a cluster's retry budget is that of the first route with a policy`() throws {
        let configuration = try parse(
            """
            version: 1
            listeners: [{ name: web, address: 127.0.0.1:80 }]
            retry_policies:
              a: { on: [5xx], budget: { percent: 7 } }
              b: { on: [5xx], budget: { percent: 9 } }
            routes:
              - { name: plain, match: { path: /a }, cluster: app }
              - { name: first, match: { path: /b }, cluster: app, retry: b }
              - { name: second, match: { path: /c }, cluster: app, retry: a }
              - { name: other, match: { path: /d }, cluster: other }
            clusters:
              - { name: app, endpoints: [127.0.0.1:1] }
              - { name: other, endpoints: [127.0.0.1:2] }
            """)
        #expect(configuration.retryBudget(ofCluster: "app").percent == 9)
        #expect(configuration.retryBudget(ofCluster: "other") == RetryBudgetSettings())
    }

    @Test func `a limit's start lies within its bounds`() throws {
        let configuration = try parse(
            """
            version: 1
            listeners: [{ name: web, address: 127.0.0.1:80 }]
            routes: [{ name: a, match: { path: /a }, cluster: a }, { name: b, cluster: b }]
            clusters:
              - { name: a, endpoints: [127.0.0.1:1], concurrency: { min: 50 } }
              - { name: b, endpoints: [127.0.0.1:2], concurrency: { min: 1, max: 5 } }
            """)
        #expect(configuration.clusters.map(\.concurrency.initial) == [50, 5])
        #expect(configuration.clusters.allSatisfy { $0.queue == QueueSettings() })
    }

    @Test func `the place of a class is its order`() {
        let priorities = Priorities()
        #expect(priorities.index(of: "critical") == 0)
        #expect(priorities.index(of: "sheddable") == 2)
        #expect(priorities.index(of: "none") == nil)
    }
}
