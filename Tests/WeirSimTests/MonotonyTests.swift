// I31: a better class never makes a request's fate worse.

import Testing
import WeirPolicy
import WeirTime

@testable import WeirSim

@Suite struct MonotonyTests {
    /// Overload in three classes, so that what a class is worth shows.
    private static var scenario: Scenario {
        let model = EndpointModel(workers: 4, service: .milliseconds(20), law: .exponential)
        var streams: [Stream] = []
        for priority in 0..<3 as Range<UInt8> {
            var stream = Stream("class \(priority)", .constant(250))
            stream.priority = priority
            stream.tenants = .even(first: 0, count: 3)
            streams.append(stream)
        }
        var settings = SimSettings.governed(endpoints: 2)
        // How long a request may wait depends on whether its tenant's queue in its class has stood:
        // with two lengths, a worse class in which it has not may be waited in for longer.
        settings.clusters[0].queue.standingWait = settings.clusters[0].queue.maxWait
        return Scenario(
            "monotony", "", length: .milliseconds(1500), streams: streams, models: [model],
            settings: settings)
    }

    @Test func `I31: raising a request's class never turns its service into a refusal`() {
        var differ = 0
        for serial in stride(from: UInt64(300), to: 900, by: 24) {
            let before = fate(of: serial, isRaised: false)
            let after = fate(of: serial, isRaised: true)
            #expect(after >= before, "request \(serial)")
            if after > before { differ += 1 }
        }
        // It must matter, or the test shows nothing.
        #expect(differ > 3)
    }

    /// 1 where the request got a permit, 0 where it was refused.
    private func fate(of serial: UInt64, isRaised: Bool) -> Int {
        var options = RunOptions()
        options.watched = serial
        if isRaised { options.raised = serial }
        return Simulation.attempts(scenario: Self.scenario, seed: 9, options: options)
    }
}
