// What the governors' decisions cost: nanoseconds of CPU for all that one request asks of them, by
// one thread and by two that share nothing, a tenant, a cluster, or both.

import Glibc
import WeirPolicy
import WeirTime

/// One thread's part of a run, and its result.
final class Runner {
    private var pipeline: Pipeline
    private let count: Int
    private(set) var nanoseconds = 0.0
    private(set) var refused = 0

    init(_ pipeline: Pipeline, count: Int) {
        self.pipeline = pipeline
        self.count = count
    }

    private static func time(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    func run() {
        let law = pipeline.tenants.law
        withUnsafeTemporaryAllocation(of: RateCharge.self, capacity: 3) { charges in
            charges.initialize(repeating: RateCharge(key: 1, law: law))
            // The first tenth brings buckets and caches to where they will be.
            var start: Int64 = 0
            var now = Instant(nanoseconds: 0)
            for number in 0..<count {
                // As often as the proxy, which reads the clock once a turn of its loop.
                if number % 32 == 0 { now = Instant(nanoseconds: Self.time(CLOCK_MONOTONIC)) }
                if number == count / 10 { start = Self.time(CLOCK_THREAD_CPUTIME_ID) }
                if !pipeline.decide(number, now: now, charges: charges) { refused += 1 }
            }
            let spent = Self.time(CLOCK_THREAD_CPUTIME_ID) - start
            nanoseconds = Double(spent) / Double(count - count / 10)
        }
    }
}

private func runnerMain(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let pointer { Unmanaged<Runner>.fromOpaque(pointer).takeUnretainedValue().run() }
    return nil
}

private func names(_ range: Range<Int>) -> [[UInt8]] { range.map { Array("tenant-\($0)".utf8) } }

/// Runs each pipeline on a thread of its own, all at once; nanoseconds a request, by thread.
private func measure(_ pipelines: [Pipeline], count: Int) -> [Double] {
    let runners = pipelines.map { Runner($0, count: count) }
    var threads: [pthread_t] = []
    for runner in runners {
        var thread = pthread_t()
        let pointer = Unmanaged.passUnretained(runner).toOpaque()
        guard pthread_create(&thread, nil, runnerMain, pointer) == 0 else { exit(2) }
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
    for runner in runners where runner.refused > 0 {
        print("\(runner.refused) of \(count) were refused: not what was to be measured")
        exit(1)
    }
    return runners.map(\.nanoseconds)
}

/// The median of five runs, over the threads' mean.
private func report(_ what: String, count: Int, _ make: () -> [Pipeline]) {
    let runs = (0..<5).map { _ in
        let times = measure(make(), count: count)
        return times.reduce(0, +) / Double(times.count)
    }.sorted()
    let text = [runs[2], runs[0], runs[4]].map { String(Int($0.rounded())) }
    print("| \(what) | \(text[0]) | \(text[1])..\(text[2]) |")
}

let count = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 0 : 2_000_000
guard count >= 1000 else {
    print("usage: weir-decisions [REQUESTS]   requests a thread, from 1000 on (2000000)")
    exit(2)
}
let few = names(0..<10)
let one = names(0..<1)
let other = names(1..<2)
let many = names(0..<1_000_000)

print("| threads | ns CPU a request | range of five runs |\n| --- | ---: | ---: |")
report("one, 10 tenants", count: count) {
    [Pipeline(TenantSide(tenants: 10), ClusterSide(), names: few, thread: 1)]
}
report("one, 1,000,000 tenants", count: max(count, 3_000_000)) {
    [Pipeline(TenantSide(tenants: 1_000_000), ClusterSide(), names: many, thread: 1)]
}
report("two, nothing shared", count: count) {
    [one, other].map { Pipeline(TenantSide(tenants: 10), ClusterSide(), names: $0, thread: 1) }
}
report("two, one hot tenant", count: count) {
    let tenants = TenantSide(tenants: 10)
    return (1...2).map { Pipeline(tenants, ClusterSide(), names: one, thread: $0) }
}
report("two, one cluster and the limit of all", count: count) {
    let (tenants, cluster) = (TenantSide(tenants: 10), ClusterSide())
    return [
        Pipeline(tenants, cluster, names: one, thread: 1),
        Pipeline(tenants, cluster, names: other, thread: 2),
    ]
}
report("two, one hot tenant and one cluster", count: count) {
    let (tenants, cluster) = (TenantSide(tenants: 10), ClusterSide())
    return (1...2).map { Pipeline(tenants, cluster, names: one, thread: $0) }
}
