// The exposition: its text, its syntax, and that the documentation names the same metrics.

import Foundation
import Testing
import WeirTelemetry

struct MetricsTests {
    private func sampleRegistry() -> CounterRegistry {
        let registry = CounterRegistry(workers: 2, refusalCodes: ["bad_request", "draining"])
        let catalog = registry.route("catalog", worker: 0)
        catalog.count(status: 200, durationNanoseconds: 400_000)
        catalog.count(status: 200, durationNanoseconds: 7_000_000)
        registry.route("catalog", worker: 1).count(status: 503, durationNanoseconds: 31_000_000_000)
        registry.route("catalog", worker: 1).countRefusal(1)
        _ = registry.route("-", worker: 0)
        let shop = registry.cluster("sh\"op\\\n", worker: 0)
        shop.count(status: 200)
        shop.add(.attempts, 2)
        shop.add(.failedReset)
        shop.add(.connectionsIdle, 4)
        registry.worker(1).add(.connectionsActive, 3)
        registry.worker(0).add(.requestsActive)
        registry.worker(0).add(.logLinesDropped, 5)
        return registry
    }

    private func build() -> String {
        var gauges = ServerGauges()
        gauges.version = "1.2.3"
        gauges.generation = 7
        gauges.reloadsSucceeded = 6
        gauges.reloadsRefused = 1
        gauges.wasLastReloadSuccessful = false
        gauges.lastReloadSuccessUnixNanoseconds = 1_709_210_096_000_000_042
        var endpoint = EndpointGauges()
        endpoint.address = "a"
        endpoint.shadow = (limit: 7, exceeded: 2)
        endpoint.wouldBeUnhealthy = true
        gauges.governors.clusters = [ClusterGauges()]
        gauges.governors.clusters[0].name = "c"
        gauges.governors.clusters[0].endpoints = [EndpointGauges(), endpoint]
        gauges.governors.routeBreakers = [(route: "catalog", state: "half_open")]
        var usage = ProcessUsage()
        usage.cpuSeconds = 1.25
        usage.residentBytes = 4096
        let bytes = MetricsText.build(CounterTotals(sampleRegistry()), gauges, usage)
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(arguments: [
        """
        # HELP http_requests_total Requests that have ended, by route and class of status; none: no answer was sent.
        # TYPE http_requests_total counter
        http_requests_total{route="catalog",code_class="1xx"} 0
        http_requests_total{route="catalog",code_class="2xx"} 2
        http_requests_total{route="catalog",code_class="3xx"} 0
        http_requests_total{route="catalog",code_class="4xx"} 0
        http_requests_total{route="catalog",code_class="5xx"} 1
        http_requests_total{route="catalog",code_class="none"} 0
        http_requests_total{route="-",code_class="1xx"} 0
        """,
        """
        # TYPE http_request_duration_seconds histogram
        http_request_duration_seconds_bucket{route="catalog",le="0.0005"} 1
        http_request_duration_seconds_bucket{route="catalog",le="0.001"} 1
        http_request_duration_seconds_bucket{route="catalog",le="0.0025"} 1
        http_request_duration_seconds_bucket{route="catalog",le="0.005"} 1
        http_request_duration_seconds_bucket{route="catalog",le="0.01"} 2
        """,
        """
        http_request_duration_seconds_bucket{route="catalog",le="30"} 2
        http_request_duration_seconds_bucket{route="catalog",le="+Inf"} 3
        http_request_duration_seconds_sum{route="catalog"} 31.007400000
        http_request_duration_seconds_count{route="catalog"} 3
        # HELP weir_refusals_total Requests that weir answered itself or gave up on, by route and reason.
        # TYPE weir_refusals_total counter
        weir_refusals_total{route="catalog",reason="draining"} 1
        # HELP weir_would_refuse_total Requests that a policy in shadow mode would have refused, by route and reason.
        # TYPE weir_would_refuse_total counter
        # HELP http_requests_in_flight Requests that have begun and not ended.
        # TYPE http_requests_in_flight gauge
        http_requests_in_flight 1
        """,
        """
        downstream_connections{worker="0"} 0
        downstream_connections{worker="1"} 3
        """,
        #"upstream_attempts_total{cluster="sh\"op\\\n"} 2"#,
        #"upstream_failures_total{cluster="sh\"op\\\n",reason="reset"} 1"#,
        #"upstream_connections{cluster="sh\"op\\\n",state="idle"} 4"#,
        """
        # TYPE weir_endpoint_shadow_limit gauge
        weir_endpoint_shadow_limit{cluster=\"c\",endpoint=\"a\"} 7
        """,
        "weir_endpoint_would_be_unhealthy{cluster=\"c\",endpoint=\"a\"} 1\n",
        "weir_endpoint_would_exceed_total{cluster=\"c\",endpoint=\"a\"} 2\n",
        "weir_route_breaker_state{route=\"catalog\",state=\"half_open\"} 1\n",
        "weir_access_log_dropped_total 5\n",
        "weir_build_info{version=\"1.2.3\"} 1\n",
        "weir_config_generation 7\n",
        "weir_config_last_reload_successful 0\n",
        "weir_config_last_reload_success_timestamp_seconds 1709210096.000000042\n",
        "process_cpu_seconds_total 1.25\n",
        "process_resident_memory_bytes 4096\n",
    ])
    func `the text says`(_ piece: String) {
        #expect(build().contains(piece))
    }

    @Test func `every line follows the format`() throws {
        var checker = ExpositionChecker()
        for line in build().split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            try checker.check(String(line))
        }
        try checker.checkHistograms()
        #expect(checker.families.count > 20)
    }

    @Test(arguments: [
        "no_type_before 1", "# TYPE a counter\na{b=c} 1", "# TYPE a counter\na x",
        "# TYPE a counter\na{b=\"c\"\"} 1", "# TYPE a counter\nb 1", "# TYPE a counter\na 1\na 2",
    ])
    func `the checker itself notices`(_ text: String) {
        #expect(throws: ExpositionChecker.Fault.self) {
            var checker = ExpositionChecker()
            for line in text.split(separator: "\n") { try checker.check(String(line)) }
        }
    }

    @Test func `the documentation names exactly the metrics that there are`() throws {
        let page = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("docs/metrics.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let documented = text.matches(of: /(?m)^\| `([a-z_]+)` \| (counter|gauge|histogram) \|/)
            .map { "\($0.1) \($0.2)" }
        let shown = build().matches(of: /# TYPE ([a-z_]+) ([a-z]+)/).map { "\($0.1) \($0.2)" }
        #expect(Set(documented) == Set(shown))
        #expect(documented.count == shown.count)
    }

    @Test func `the process's own figures are plausible`() {
        let usage = ProcessUsage.now()
        #expect(usage.cpuSeconds > 0)
        #expect(usage.residentBytes > 1 << 20)
        #expect(usage.heapBytes > 0)
        #expect(usage.openDescriptors >= 3 && usage.openDescriptors <= usage.maxDescriptors)
        let age = Date().timeIntervalSince1970 - usage.startUnixSeconds
        #expect(age > -2 && age < 86_400)
    }
}

/// Checks an exposition line by line, as Prometheus' own tool does.
struct ExpositionChecker {
    struct Fault: Error { let line: String }

    private(set) var families: [String: String] = [:]
    private var current = ""
    private var seen: Set<String> = []
    private var finished: Set<String> = []
    private var buckets: [String: [(le: Double, count: Double)]] = [:]
    private var counts: [String: Double] = [:]

    mutating func check(_ line: String) throws {
        if line.hasPrefix("# HELP ") { return }
        if let match = line.wholeMatch(
            of: /# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)/)
        {
            let name = String(match.1)
            guard families[name] == nil else { throw Fault(line: line) }
            families[name] = String(match.2)
            current = name
            return
        }
        let pattern =
            /([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? ([0-9.e+\-]+)/
        guard let match = line.wholeMatch(of: pattern), let value = Double(String(match.3)) else {
            throw Fault(line: line)
        }
        let name = String(match.1)
        let labels = match.2.map(String.init) ?? ""
        let suffixes = families[current] == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
        guard suffixes.contains(where: { name == current + $0 }),
            seen.insert(name + labels).inserted
        else { throw Fault(line: line) }
        if families[current] == "counter", !name.hasSuffix("_total") { throw Fault(line: line) }
        noteHistogram(name, labels, value)
    }

    private mutating func noteHistogram(_ name: String, _ labels: String, _ value: Double) {
        if name.hasSuffix("_bucket"), let match = labels.firstMatch(of: /,le="([^"]+)"\}/) {
            let series = labels.replacing(match.0, with: "}")
            let bound = match.1 == "+Inf" ? Double.infinity : Double(String(match.1)) ?? .nan
            buckets[series, default: []].append((bound, value))
        } else if name.hasSuffix("_count") {
            counts[labels] = value
        }
    }

    /// Buckets must be sorted and cumulative, and end with the count.
    func checkHistograms() throws {
        for (series, list) in buckets {
            for (a, b) in zip(list, list.dropFirst()) where a.le >= b.le || a.count > b.count {
                throw Fault(line: series)
            }
            guard let last = list.last, last.le == .infinity, last.count == counts[series] else {
                throw Fault(line: series)
            }
        }
    }
}
