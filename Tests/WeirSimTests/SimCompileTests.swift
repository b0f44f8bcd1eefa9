// A configuration file becomes a simulation, and its governors do what they do.

import Testing
import WeirConfig
import WeirPolicy
import WeirTime

@testable import WeirSim

@Suite struct SimCompileTests {
    private static let file = """
        version: 1
        listeners: [{ name: edge, address: 127.0.0.1:8080 }]
        tenants:
          identify: [{ header: x-api-key }]
          plans:
            free: { rate: 50/s, burst: 10 }
            pro: { weight: 4 }
          default_plan: pro
        priorities: { classes: [critical, bulk], default_class: bulk }
        retry_policies:
          safe: { on: [connect_failure, gateway_error], attempts: 1, budget: { percent: 15 } }
        routes:
          - { name: pay, match: { path_prefix: /pay }, cluster: api, priority: critical, retry: safe }
          - { name: rest, cluster: api, timeout: 2s }
        clusters:
          - name: api
            endpoints: [10.0.0.1:80, { address: 10.0.0.2:80, weight: 3 }]
            load_balancing: { policy: least_request }
            concurrency: { mode: adaptive }
            queue: { max_wait: 50ms, max_length: 40 }
          - { name: spare, endpoints: [10.0.0.3:80] }
        """

    private static func configuration() throws -> Configuration {
        let (configuration, findings) = ConfigurationParser.parse(
            Array(file.utf8), file: "test.yaml")
        return try #require(configuration, "\(findings)")
    }

    @Test func `the governors are those of the cluster that the first route leads to`() throws {
        let settings = try #require(SimSettings(Self.configuration()))
        #expect(settings.classes == ["critical", "bulk"])
        #expect(settings.routes.map(\.name) == ["pay", "rest"])
        #expect(settings.routes.map(\.priority) == [0, 1])
        #expect(settings.routes[0].retry?.attempts == 1)
        #expect(settings.routes[1].retry == nil)
        #expect(settings.routes[1].timeout == .seconds(2))
        let cluster = settings.clusters[0]
        #expect(cluster.endpoints.map(\.weight) == [1, 3])
        #expect(cluster.balancer.kind == .leastRequest)
        #expect(cluster.ceilings.hasQueue)
        #expect(cluster.queue.maxWait == .milliseconds(50))
        #expect(cluster.queue.maxLength == 40)
        #expect(cluster.retryBudget.percent == 15)
        #expect(cluster.concurrency.mode == .enforce)
        #expect(settings.plans.map(\.name) == ["pro", "free"])
    }

    @Test func `a cluster that no route leads to cannot be simulated`() throws {
        #expect(try SimSettings(Self.configuration(), cluster: "spare") == nil)
        #expect(try SimSettings(Self.configuration(), cluster: "none") == nil)
    }

    @Test func `a scenario is told with the configuration's governors`() throws {
        let settings = try #require(SimSettings(Self.configuration()))
        var scenario = Scenario.prioritySurge.adapted(to: settings)
        scenario.length = .seconds(14)
        let report = Simulation.run(scenario: scenario, seed: 1)
        #expect(report.violations == [])
        #expect(abs(report.capacity - 480) < 1)
        #expect(report.classNames == ["critical", "bulk"])
        let surge = try #require(report.window("surge"))
        #expect(surge.classes[0].offered > 400)
        #expect(surge.classes[1].offered > 1500)
        #expect(surge.classes[1].refused(.queueTimeout) > 100)
    }

    @Test func `every scenario can be told with any configuration`() throws {
        let settings = try #require(SimSettings(Self.configuration()))
        for named in Scenario.all {
            var scenario = named.adapted(to: settings)
            scenario.length = .seconds(3)
            let report = Simulation.run(scenario: scenario, seed: 1)
            #expect(report.violations == [], "\(named.name)")
            #expect(report.requests > 100, "\(named.name)")
        }
    }
}
