// The laws of arrivals, service and tenants are what they say.

import Testing
import WeirTime

@testable import WeirSim

@Suite struct LawTests {
    @Test func `logarithm and exponential function agree with known values`() {
        let logarithms = [
            (1.0, 0.0), (2.0, 0.6931471805599453), (10.0, 2.302585092994046),
            (0.001, -6.907755278982137), (1e-9, -20.72326583694641),
        ]
        for (x, value) in logarithms { #expect(abs(Curve.logarithm(x) - value) < 1e-9, "\(x)") }
        for x in [-20.0, -1, -0.1, 0, 0.3, 1, 5, 30] {
            let error = Curve.logarithm(Curve.exponential(x)) - x
            #expect(abs(error) < 1e-9, "\(x)")
        }
    }

    @Test(arguments: [
        ServiceLaw.fixed, .exponential, .lognormal(sigma: 0.5), .lognormal(sigma: 1),
    ])
    func `work has a mean of one`(law: ServiceLaw) {
        var chance = Chance(seed: 4)
        var sum = 0.0
        for _ in 0..<200_000 { sum += law.draw(&chance) }
        #expect(abs(sum / 200_000 - 1) < 0.02)
    }

    @Test func `an exponential law has the quantiles of one`() {
        var chance = Chance(seed: 5)
        let draws = (0..<100_000).map { _ in chance.exponential() }.sorted()
        #expect(abs(draws[50_000] - 0.693) < 0.02)
        #expect(abs(draws[99_000] - 4.605) < 0.15)
    }

    @Test func `a ramp has its rates`() {
        var stream = Stream(
            "ramp",
            .open([
                RatePoint(.seconds(1), 0), RatePoint(.seconds(11), 1000),
                RatePoint(.seconds(11), 200),
            ]))
        stream.tenants = .zipf(first: 3, count: 4, exponent: 1)
        var source = Source(stream, seed: 1)
        var counts = [Int](repeating: 0, count: 21)
        var now: Int64 = 0
        while let next = source.nextArrival(after: now), next < 21_000_000_000 {
            #expect(next >= now)
            now = next
            counts[Int(now / 1_000_000_000)] += 1
        }
        #expect(counts[0] == 0)
        for second in 1...10 {
            let expected = Double(second * 100 - 50)
            #expect(abs(Double(counts[second]) - expected) < 5 * expected.squareRoot() + 5)
        }
        let late = counts[11...].reduce(0, +)
        #expect(abs(late - 2000) < 200)
    }

    @Test func `tenants by Zipf's law have its shares`() {
        var stream = Stream("zipf", .constant(1))
        stream.tenants = .zipf(first: 3, count: 4, exponent: 1)
        var source = Source(stream, seed: 2)
        var counts = [Int](repeating: 0, count: 7)
        for _ in 0..<25_000 { counts[source.tenant()] += 1 }
        #expect(counts[..<3].allSatisfy { $0 == 0 })
        for (index, expected) in [12_000, 6000, 4000, 3000].enumerated() {
            #expect(abs(counts[3 + index] - expected) < 400)
        }
    }

    @Test func `a percentile is at most a sixteenth too high and never too low`() throws {
        var counts = LatencyCounts()
        var chance = Chance(seed: 6)
        var values: [Int64] = []
        for _ in 0..<10_000 {
            let value = Int64(chance.exponential() * 5e7)
            values.append(value)
            counts.add(value)
        }
        values.sort()
        for share in [0.01, 0.5, 0.95, 0.99, 1] {
            let exact = values[max(Int((share * 10_000).rounded(.up)), 1) - 1]
            let found = try #require(counts.quantile(share)).nanoseconds
            #expect(found >= exact)
            #expect(Double(found) <= Double(exact) * 17 / 16 + 4096)
        }
    }

    @Test func `capacity is what the endpoints can serve`() {
        let model = EndpointModel(workers: 8, service: .milliseconds(40))
        #expect(abs(model.capacity - 200) < 0.001)
        let knee = EndpointModel(workers: 200, service: .milliseconds(25), knee: 14)
        #expect(abs(knee.capacity - 280) < 0.001)
    }
}
