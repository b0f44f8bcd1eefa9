// Who is ejected for being worse than its peers, and that equals are not.

import Testing
import WeirPolicy
import WeirTime

@Suite struct OutlierDetectionTests {
    private static func stand(
        seed: UInt64, count: Int = 10, law: ServiceLaw, load: Double, isLimited: Bool = true,
        errors: Double = 0, row: Int = 0
    ) -> Stand {
        var concurrency = ConcurrencySettings()
        concurrency.mode = isLimited ? .enforce : .off
        var outlier = OutlierSettings()
        outlier.mode = .enforce
        outlier.consecutive5xx = row
        let server = Stand.Server(errorShare: errors)
        return Stand(
            seed: seed, servers: [Stand.Server](repeating: server, count: count), law: law,
            load: load * 800 * Double(count), concurrency: concurrency, outlier: outlier)
    }

    private static func ejections(_ stand: Stand) -> [(UInt32, EjectionReason, Instant)] {
        stand.events.compactMap { event in
            guard case .ejected(let reason, _, _) = event.kind else { return nil }
            return (event.endpoint, reason, event.at)
        }
    }

    /// A third of a million requests here, so that it stays quick in a debug build; twenty million at
    /// other seeds, loads and shares of errors found none either.
    @Test func `I25: equal endpoints are not ejected for chance, at any load up to twice theirs`() {
        var total = 0
        var found: [String] = []
        for (seed, load) in [(1, 0.5), (2, 0.9), (3, 2.0)] as [(UInt64, Double)] {
            for law in [ServiceLaw.exponential, .lognormal] {
                for (count, errors) in [(2, 0.2), (10, 0.02)] {
                    let stand = Self.stand(
                        seed: seed, count: count, law: law, load: load, errors: errors)
                    stand.run(seconds: 30_000 / stand.load)
                    total += stand.arrived
                    found += Self.ejections(stand).map {
                        "\($0.1.code) of \(count), \(law), \(load)"
                    }
                }
            }
        }
        #expect(total > 300_000)
        #expect(found.count <= 1, "\(found)")
    }

    @Test(arguments: [2, 10])
    func `an endpoint that is twenty times slower is ejected within a second`(count: Int) {
        for seed in 1...3 as ClosedRange<UInt64> {
            for law in [ServiceLaw.fixed, .exponential] {
                let stand = Self.stand(seed: seed, count: count, law: law, load: 0.4)
                stand.run(seconds: 4)
                stand.mark()
                let onset = stand.now
                stand.servers[1].slowness = 20
                stand.run(seconds: 2)
                let first = Self.ejections(stand).first
                #expect(first?.0 == 2, "\(law), seed \(seed)")
                let delay = first.map { $0.2 - onset } ?? .max
                #expect(delay <= .seconds(1), "\(law), seed \(seed): \(delay)")
            }
        }
    }

    @Test func `an endpoint that stops is ejected for its unfinished requests within a second`() {
        for seed in 1...3 as ClosedRange<UInt64> {
            let stand = Self.stand(seed: seed, law: .lognormal, load: 0.4)
            stand.timeout = 2
            stand.run(seconds: 4)
            stand.mark()
            let onset = stand.now
            stand.servers[3].slowness = .infinity
            stand.run(seconds: 2)
            let first = Self.ejections(stand).first
            #expect(first?.0 == 4)
            #expect(first?.1 == .unfinished)
            #expect((first.map { $0.2 - onset } ?? .max) <= .seconds(1))
        }
    }

    @Test func `an endpoint with 32 % errors is ejected, by its rate where no row is watched`() {
        for seed in 1...3 as ClosedRange<UInt64> {
            for count in [2, 3, 10] {
                let stand = Self.stand(seed: seed, count: count, law: .exponential, load: 0.4)
                stand.run(seconds: 4)
                stand.mark()
                stand.servers[0].errorShare = 0.32
                stand.run(seconds: 2)
                #expect(Self.ejections(stand).map(\.0) == [1], "seed \(seed), \(count)")
                #expect(Self.ejections(stand).first?.1 == .failureRate)
            }
        }
    }

    @Test func `six of ten that mostly fail are ejected up to the cap, and the rest serves`() {
        let stand = Self.stand(seed: 4, law: .exponential, load: 0.2, row: 5)
        stand.run(seconds: 5)
        for index in 0..<6 { stand.servers[index].errorShare = 0.6 }
        stand.inspect = { stand in #expect(stand.watch.ejected <= 5) }
        stand.run(seconds: 5)
        stand.mark()
        stand.run(seconds: 20)
        #expect(stand.watch.ejected == 5)
        #expect(stand.failed * 100 < 15 * (stand.failed + stand.answered))
        #expect((6..<10).allSatisfy { stand.endpoints[$0].isAvailable })
    }

    @Test func `where all become slow or stop together none is ejected`() {
        for slowness in [20.0, .infinity] {
            let stand = Self.stand(seed: 6, law: .exponential, load: 0.03, isLimited: false)
            stand.timeout = 3
            stand.run(seconds: 4)
            stand.mark()
            for index in 0..<10 { stand.servers[index].slowness = slowness }
            stand.run(seconds: 10)
            #expect(Self.ejections(stand).map(\.1) == [], "\(slowness)")
        }
    }

    @Test func `a slow endpoint that the others cannot do without is kept`() {
        let stand = Self.stand(seed: 7, count: 3, law: .exponential, load: 2)
        stand.run(seconds: 10)
        stand.mark()
        stand.servers[0].slowness = 12
        stand.run(seconds: 4)
        #expect(Self.ejections(stand).isEmpty)
        let spared = stand.events.filter {
            if case .spared = $0.kind { true } else { false }
        }
        #expect(!spared.isEmpty)
    }

    @Test func `in shadow mode all get their share`() {
        var outlier = OutlierSettings()
        outlier.mode = .shadow
        let stand = Stand(
            seed: 8, servers: [Stand.Server](repeating: Stand.Server(), count: 4),
            law: .exponential, load: 800, outlier: outlier)
        stand.servers[0].errorShare = 0.5
        stand.run(seconds: 10)
        #expect(stand.endpoints.allSatisfy { $0.isAvailable })
        let shadows = stand.events.filter {
            if case .ejected(_, _, isShadow: true) = $0.kind { $0.endpoint == 1 } else { false }
        }
        #expect(!shadows.isEmpty)
        #expect(shadows.count == stand.events.count)
    }
}
