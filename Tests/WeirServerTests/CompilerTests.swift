// What each key of a configuration becomes in the plan of a worker.

import Testing
import WeirConfig
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTelemetry
import WeirTime

@testable import WeirServer

/// A compiler with everything it needs, for one configuration.
private struct Bench {
    let loop: EventLoop
    let registry = CounterRegistry(workers: 2, refusalCodes: Refusal.allCases.map(\.code))
    let sockets = ListenerSockets(workers: 2)
    let clusters = ClusterDirectory()
    let names: NameDirectory

    init() throws {
        loop = try EventLoop()
        names = try NameDirectory(loop: loop, seed: 1, onChange: {})
    }

    func compiler(_ configuration: Configuration) throws -> Compiler {
        sockets.commit(try sockets.open(configuration.listeners), configuration.listeners)
        let compiler = Compiler(
            configuration: configuration, generation: 5, registry: registry, sockets: sockets,
            clusters: clusters, ledger: TenantLedger(configuration), names: names,
            tls: TLSFiles(), rings: [])
        compiler.adoptClusters()
        return compiler
    }

    func plan(_ change: (inout Configuration) -> Void) throws -> Plan {
        var configuration = Configuration()
        change(&configuration)
        return try compiler(configuration).plan(worker: 0, of: 2)
    }
}

private let anyPort = Address.ip(host: "127.0.0.1", port: 0)

private func text(_ text: Text?) -> String? { text?.description }

@Suite struct `Ceilings in shadow mode` {
    private func governance(
        _ change: (inout Cluster) -> Void
    ) throws -> (ClusterGovernance, Refusal?) {
        var cluster = Cluster(name: "c", source: .endpoints([]))
        cluster.ceilings.maxRequests = 4
        cluster.ceilings.maxConnections = 3
        cluster.ceilings.maxRetries = 2
        change(&cluster)
        var configuration = Configuration()
        configuration.clusters = [cluster]
        let compiler = try Bench().compiler(configuration)
        return (compiler.governance(of: cluster), compiler.shadowRefusal(of: cluster))
    }

    @Test func `limit nobody, but their shadow`() throws {
        let (enforced, none) = try governance { _ in }
        #expect(none == nil && enforced.ceilings.shadow == ClusterSettings.Shadow())
        #expect(enforced.ceilings.maxRequests == 4 && enforced.ceilings.maxRetries == 2)
        let (shadow, refusal) = try governance { $0.ceilings.mode = .shadow }
        #expect(refusal == .ceiling)
        #expect(shadow.ceilings.maxRequests == .max && shadow.ceilings.maxConnections == .max)
        #expect(shadow.ceilings.maxRetries == .max)
        #expect(shadow.ceilings.shadow.maxRequests == 3)
        #expect(shadow.ceilings.shadow.maxRetries == 2)
        let (off, nothing) = try governance { $0.ceilings.mode = .off }
        #expect(nothing == nil && off.ceilings == ClusterSettings())
    }

    @Test func `have the queue that there would be`() throws {
        let (pending, refusal) = try governance {
            $0.ceilings.mode = .shadow
            $0.ceilings.maxPendingRequests = 7
            $0.shadowQueue = QueueSettings()
        }
        #expect(refusal == .queueFull)
        #expect(!pending.ceilings.hasQueue && pending.ceilings.shadow.queueLength == 7)
        #expect(pending.ceilings.shadow.maxWaiting == 7)
        #expect(pending.queue.maxLength == QueueSettings().maxLength)
        let (found, other) = try governance {
            $0.ceilings.mode = .off
            $0.concurrency.mode = .shadow
            $0.shadowQueue = QueueSettings()
        }
        #expect(other == .queueFull)
        #expect(found.ceilings.shadow.queueLength == QueueSettings().maxLength)
    }
}

@Suite struct `Retries and hedges in shadow mode` {
    private func plan(retry: Mode, hedge: Mode) throws -> (RouteRules, ClusterPlan) {
        let plan = try Bench().plan {
            var policy = RetryPolicy(name: "p", conditions: .gatewayError)
            policy.mode = retry
            policy.perTryTimeout = .seconds(1)
            $0.retryPolicies = [policy]
            var route = Route(name: "r", action: .forward(cluster: "c"))
            route.retry = "p"
            route.hedge = Hedge(after: .percentile(95))
            route.hedge?.mode = hedge
            $0.routes = [route]
            $0.clusters = [Cluster(name: "c", source: .endpoints([]))]
        }
        return (try #require(plan.table.routes.first).rules, plan.clusters[0])
    }

    @Test func `end no try, and have a budget to themselves`() throws {
        let (shadow, cluster) = try plan(retry: .shadow, hedge: .shadow)
        #expect(shadow.retry?.isShadow == true && shadow.isHedgeShadow && shadow.hedge != nil)
        #expect(shadow.retry?.perTryTimeout == .max)
        #expect(cluster.hasRetries && cluster.hasRetriesInShadow)
        let (enforced, other) = try plan(retry: .enforce, hedge: .enforce)
        #expect(enforced.retry?.isShadow == false && !enforced.isHedgeShadow)
        #expect(enforced.retry?.perTryTimeout == .seconds(1))
        #expect(other.hasRetries && !other.hasRetriesInShadow)
    }

    @Test func `are none where they are off`() throws {
        let (rules, cluster) = try plan(retry: .off, hedge: .off)
        #expect(rules.retry == nil && rules.hedge == nil && rules.retryBuffer == 0)
        #expect(!cluster.hasRetries && !cluster.hasRetriesInShadow)
    }
}

@Suite struct `A tenant's key` {
    @Test func `is that of the prefix where an address stands for the tenant`() throws {
        let ledger = TenantLedger(Configuration())
        func key(_ text: String, v4Bits: Int = 24, v6Bits: Int = 64) throws -> UInt64 {
            ledger.key(try #require(IPAddress(text)).prefix(v4Bits: v4Bits, v6Bits: v6Bits))
        }
        #expect(try key("203.0.113.7") == key("203.0.113.0"))
        #expect(try key("203.0.113.7") != key("203.0.114.7"))
        #expect(try key("203.0.113.7", v4Bits: 32) != key("203.0.113.0", v4Bits: 32))
        #expect(try key("2001:db8::1") == key("2001:db8::2"))
        #expect(try key("2001:db8::1", v6Bits: 128) != key("2001:db8::2", v6Bits: 128))
        // A header's value that only reads like an address is somebody else's.
        #expect(try key("203.0.113.0") != ledger.key(Array("203.0.113.0".utf8)))
    }
}

@Suite struct `A compiled configuration` {
    @Test func `has the listener's limits, rates as bytes a window`() throws {
        let plan = try Bench().plan {
            var listener = Listener(name: "l", address: anyPort)
            listener.limits.requestHeaderBytes = 1111
            listener.limits.requestHeaders = 22
            listener.limits.requestURIBytes = 333
            listener.limits.requestBodyBytes = 4444
            listener.limits.headerTimeout = .milliseconds(1)
            listener.limits.bodyTimeout = .milliseconds(2500)
            listener.limits.bodyMinRate = 1000
            listener.limits.sendTimeout = .seconds(4)
            listener.limits.sendMinRate = 0
            listener.limits.idleTimeout = .seconds(6)
            $0.listeners = [listener, Listener(name: "m", address: anyPort)]
        }
        let settings = plan.listeners[0].settings
        #expect(settings.headBytes == 1111)
        #expect(settings.headFields == 22)
        #expect(settings.targetBytes == 333)
        #expect(settings.bodyBytes == 4444)
        #expect(settings.headerTimeout == .milliseconds(1))
        #expect(settings.bodyTimeout == .milliseconds(2500))
        #expect(settings.bodyBytesPerWindow == 2500)
        #expect(settings.sendTimeout == .seconds(4))
        #expect(settings.sendBytesPerWindow == 0)
        #expect(settings.idleTimeout == .seconds(6))
        #expect(plan.listeners[1].settings.bodyBytes == .max)
        #expect(plan.listeners[1].name == "m")
        #expect(plan.listeners[0].address != plan.listeners[1].address)
        #expect(plan.generation == 5)
    }

    @Test func `counts the bits of a prefix in the address's long form`() throws {
        let plan = try Bench().plan {
            var listener = Listener(name: "l", address: anyPort)
            listener.trustedProxies = [
                AddressPrefix(address: "10.0.0.0", bits: 8),
                AddressPrefix(address: "2001:db8::", bits: 32),
                AddressPrefix(address: "0.0.0.0", bits: 0),
            ]
            $0.listeners = [listener]
        }
        let trusted = plan.listeners[0].settings.trusted
        #expect(trusted.map(\.bits) == [104, 32, 96])
        let inside = try #require(IPAddress("10.9.9.9"))
        let outside = try #require(IPAddress("11.0.0.1"))
        #expect(inside.matches(prefix: trusted[0].address, bits: trusted[0].bits))
        #expect(!outside.matches(prefix: trusted[0].address, bits: trusted[0].bits))
        #expect(outside.matches(prefix: trusted[2].address, bits: trusted[2].bits))
        let v6 = try #require(IPAddress("2001:db8:1::1"))
        #expect(v6.matches(prefix: trusted[1].address, bits: trusted[1].bits))
        #expect(!v6.matches(prefix: trusted[2].address, bits: trusted[2].bits))
    }

    @Test func `has each worker's own socket for the same address`() throws {
        let bench = try Bench()
        var configuration = Configuration()
        configuration.listeners = [Listener(name: "l", address: anyPort)]
        let compiler = try bench.compiler(configuration)
        let first = compiler.plan(worker: 0, of: 2).listeners[0]
        let second = compiler.plan(worker: 1, of: 2).listeners[0]
        #expect(first.address == second.address)
        #expect(first.fd != second.fd)
        #expect(first.address.port != 0)
    }

    @Test func `divides the buffer memory, and scales the sample`() throws {
        let plan = try Bench().plan {
            $0.runtime.bufferMemory = 10 << 20
            $0.runtime.accessLog = .init(path: "/dev/null")
            $0.runtime.accessLog?.sample = 0.25
        }
        #expect(plan.bufferMemory == 5 << 20)
        #expect(plan.logSample == 1 << 30)
        let all = try Bench().plan { $0.runtime.accessLog = .init(path: "/dev/null") }
        #expect(all.logSample == 1 << 32)
        #expect(all.log == nil, "without rings there is nowhere to write to")
    }

    @Test func `has the route's action, times and rewrites`() throws {
        let plan = try Bench().plan {
            $0.clusters = [
                Cluster(name: "one", source: .endpoints([])),
                Cluster(name: "two", source: .endpoints([])),
            ]
            var forward = Route(name: "f", action: .forward(cluster: "two"))
            forward.match.path = .prefix("/api")
            forward.prefixRewrite = "/v2"
            forward.timeout = .seconds(3)
            forward.idleTimeout = .seconds(4)
            forward.requestBuffer = 55
            var unlimited = Route(name: "u", action: .forward(cluster: "one"))
            unlimited.match.path = .exact("/exact")
            unlimited.timeout = nil
            var redirect = Route.Redirect()
            redirect.status = 308
            redirect.scheme = "https"
            redirect.host = "b"
            redirect.port = 8443
            redirect.path = "/new"
            redirect.stripQuery = true
            var response = Route.DirectResponse(status: 418)
            response.body = "tea"
            $0.routes = [
                forward, unlimited, Route(name: "r", action: .redirect(redirect)),
                Route(name: "d", action: .respond(response)),
            ]
        }
        let routes = plan.table.routes
        #expect(routes.map { text($0.name) } == ["f", "u", "r", "d"])
        guard case .forward(cluster: 1) = routes[0].action,
            case .forward(cluster: 0) = routes[1].action,
            case .redirect(let redirect) = routes[2].action,
            case .respond(let status, let body, let type) = routes[3].action
        else {
            Issue.record("actions: \(routes.map(\.action))")
            return
        }
        #expect(routes[0].prefixLength == 4)
        #expect(text(routes[0].prefixRewrite) == "/v2")
        #expect(routes[0].timeout == .seconds(3))
        #expect(routes[0].idleTimeout == .seconds(4))
        #expect(routes[0].requestBuffer == 55)
        #expect(routes[1].timeout == .max)
        #expect(routes[1].prefixLength == 0)
        #expect(redirect.status == 308 && redirect.port == 8443 && redirect.stripQuery)
        #expect(
            [redirect.scheme, redirect.host, redirect.path].map(text) == ["https", "b", "/new"])
        #expect(redirect.prefixRewrite == nil)
        #expect(status == 418 && text(body) == "tea")
        #expect(text(type) == "text/plain; charset=utf-8")
    }

    @Test func `turns edits into names to drop and lines to add`() throws {
        let plan = try Bench().plan {
            var route = Route(name: "r", action: .respond(.init(status: 200)))
            route.requestHeaders.remove = ["X-Gone"]
            route.requestHeaders.set = [.init(name: "x-set", value: "1")]
            route.requestHeaders.add = [.init(name: "x-add", value: "2")]
            route.responseHeaders.set = [.init(name: "via", value: "")]
            $0.routes = [route]
        }
        let route = plan.table.routes[0]
        #expect(route.requestEdits.dropped.map(\.name.description) == ["x-gone", "x-set"])
        #expect(text(route.requestEdits.lines) == "x-set: 1\r\nx-add: 2\r\n")
        #expect(route.responseEdits.dropped.map(\.name.description) == ["via"])
        #expect(text(route.responseEdits.lines) == "via: \r\n")
    }

    @Test func `has the cluster's endpoints with weights, times and host`() throws {
        let bench = try Bench()
        var cluster = Cluster(
            name: "c",
            source: .endpoints([
                .init(address: .ip(host: "10.0.0.1", port: 81)),
                .init(address: .ip(host: "::1", port: 82)),
            ]))
        if case .endpoints(var list) = cluster.source {
            list[1].weight = 7
            cluster.source = .endpoints(list)
        }
        cluster.balancing.kind = .leastRequest
        cluster.connectTimeout = .milliseconds(77)
        cluster.keepalive.idleTimeout = .seconds(8)
        cluster.keepalive.maxIdle = 9
        let plan = try bench.plan { $0.clusters = [cluster] }.clusters[0]
        #expect(plan.endpoints.map { "\($0.address)" } == ["10.0.0.1:81", "[::1]:82"])
        #expect(plan.endpoints.map(\.weight) == [1, 7])
        #expect(plan.connectTimeout == .milliseconds(77))
        #expect(plan.idleTimeout == .seconds(8))
        #expect(plan.maxIdle == 9)
        // A reload forgets nothing of what is known of an endpoint.
        let again = try bench.plan { $0.clusters = [cluster] }.clusters[0]
        #expect(plan.endpoints[0].state === again.endpoints[0].state)
        #expect(plan.endpoints[0].state !== plan.endpoints[1].state)
        #expect(plan.counters === again.counters)
    }

    @Test(arguments: [
        (Cluster.HostHeader.preserve, false, 80, "preserve"), (.literal("x:1"), false, 80, "x:1"),
        (.endpoint, false, 80, "endpoint"), (.endpoint, true, 80, "api.internal"),
        (.endpoint, true, 8080, "api.internal:8080"), (.preserve, true, 80, "preserve"),
    ])
    func `says what the endpoint reads as host`(
        header: Cluster.HostHeader, isNamed: Bool, port: UInt16, expected: String
    ) throws {
        let plan = try Bench().plan {
            let source: Cluster.Source =
                isNamed
                ? .dns(host: "api.internal", port: port, resolveEvery: nil) : .endpoints([])
            var cluster = Cluster(name: "c", source: source)
            cluster.hostHeader = header
            $0.clusters = [cluster]
        }
        let found =
            switch plan.clusters[0].hostHeader {
            case .preserve: "preserve"
            case .endpoint: "endpoint"
            case .fixed(let text): text.description
            }
        #expect(found == expected)
    }
}
