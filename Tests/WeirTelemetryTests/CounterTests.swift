// Counters: the right cell, the right bucket, and nothing lost to a reload.

import Foundation
import Testing

import WeirTelemetry

struct CounterTests {
    private let codes: [StaticString] = ["bad_request", "draining"]

    @Test func `a duration falls into the first bucket that is not below it`() {
        var samples: [Int64] = [0, -1, .max]
        for bound in Buckets.boundsNanoseconds { samples += [bound - 1, bound, bound + 1] }
        for sample in samples {
            let expected =
                Buckets.boundsNanoseconds.firstIndex { sample <= $0 }
                ?? Buckets.boundsNanoseconds.count
            #expect(Buckets.index(sample) == expected, "\(sample) ns")
        }
        #expect(Buckets.count == Buckets.boundsNanoseconds.count + 1)
    }

    @Test func `the bucket labels are the bounds in seconds`() {
        let seconds = Buckets.boundsNanoseconds.map { Double($0) / 1e9 }
        #expect(Buckets.labels.map { Double($0.description) } == seconds)
    }

    @Test func `a request is counted once in its class, its bucket, the sum and the count`() {
        let route = CounterRegistry(workers: 1, refusalCodes: codes).route("a", worker: 0)
        route.count(status: 200, durationNanoseconds: 3_000_000)
        route.count(status: 503, durationNanoseconds: 40_000_000_000)
        route.count(status: 0, durationNanoseconds: -5)
        route.countRefusal(1)

        #expect(
            RouteCounter.allCases.map { route.load($0) }
                == [0, 1, 0, 0, 1, 1, 40_003_000_000, 3])
        #expect((0..<Buckets.count).filter { route.loadBucket($0) == 1 } == [0, 3, 15])
        #expect(codes.indices.map { route.loadRefusal($0) } == [0, 1])
    }

    @Test func `a name keeps its counters when it is asked for again`() {
        let registry = CounterRegistry(workers: 2, refusalCodes: codes)
        registry.route("a", worker: 1).count(status: 200, durationNanoseconds: 1)
        registry.cluster("c", worker: 0).count(status: 404)
        #expect(registry.route("a", worker: 1).load(.responses2xx) == 1)
        #expect(registry.route("a", worker: 0).load(.responses2xx) == 0)
        #expect(registry.cluster("c", worker: 0).load(.responses4xx) == 1)
        #expect(registry.routes.map(\.name) == ["a"])
    }

    @Test func `names beyond the limit share the name other`() {
        let registry = CounterRegistry(workers: 1, refusalCodes: codes, maxNames: 2)
        for name in ["a", "b", "c", "d"] { registry.cluster(name, worker: 0).add(.attempts) }
        #expect(registry.clusters.map(\.name) == ["a", "b", "other"])
        #expect(registry.clusters.map { $0.workers[0].load(.attempts) } == [1, 1, 2])
    }

    @Test func `a gauge goes up and down`() {
        let worker = CounterRegistry(workers: 1, refusalCodes: []).worker(0)
        worker.add(.requestsActive, 3)
        worker.subtract(.requestsActive)
        #expect(worker.load(.requestsActive) == 2)
    }

    @Test func `the status page gets the sums of all workers`() throws {
        let registry = CounterRegistry(workers: 2, refusalCodes: codes)
        for worker in 0..<2 {
            registry.route("a", worker: worker).count(status: 200, durationNanoseconds: 5)
            registry.route("a", worker: worker).countRefusal(0)
            registry.cluster("c", worker: worker).add(.bytesSent, 3)
            registry.worker(worker).add(.connectionsActive, UInt64(worker))
        }
        var json = JSONWriter()
        json.object { CounterTotals(registry).write(to: &$0) }
        let root = try JSONSerialization.jsonObject(with: Data(json.bytes)) as? [String: Any]
        let workers = root?["workers"] as? [[String: Int]]
        #expect(workers?.map { $0["connections_active"] } == [0, 1])
        let route = (root?["routes"] as? [String: Any])?["a"] as? [String: Any]
        #expect(route?["responses_2xx"] as? Int == 2)
        #expect(route?["duration_sum_nanoseconds"] as? Int == 10)
        #expect(route?["refusals"] as? [String: Int] == ["bad_request": 2])
        let cluster = (root?["clusters"] as? [String: Any])?["c"] as? [String: Int]
        #expect(cluster?["bytes_sent"] == 6)
    }
}
