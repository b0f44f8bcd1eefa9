// The report in its three forms.

import Testing
import WeirTime

@testable import WeirSim

@Suite struct ReportTests {
    private static let report: SimReport = {
        var scenario = Scenario.prioritySurge
        scenario.length = .seconds(14)
        return Simulation.run(scenario: scenario, seed: 2)
    }()

    @Test func `the table names classes, reasons and windows`() {
        let table = Self.report.table
        for word in ["priority-surge", "critical", "sheddable", "surge:", "queue_timeout", "p99"] {
            #expect(table.contains(word), "\(word)")
        }
        #expect(table.split(separator: "\n").allSatisfy { $0.count <= 160 })
    }

    @Test func `the values have a line a point and a column a head`() {
        let lines = Self.report.csv.split(separator: "\n")
        #expect(lines.count == Self.report.series.count + 1)
        let columns = Set(
            lines.map { $0.split(separator: ",", omittingEmptySubsequences: false).count })
        #expect(columns == [13])
    }

    @Test func `the picture is whole`() {
        let svg = Self.report.svg
        #expect(svg.hasPrefix("<svg "))
        #expect(svg.hasSuffix("</svg>\n"))
        #expect(svg.contains(">critical<"))
        #expect(!svg.contains("nan") && !svg.contains("inf"))
        for tag in ["text", "svg"] {
            let opened = svg.split(separator: "<\(tag) ", omittingEmptySubsequences: false).count
            let closed = svg.split(separator: "</\(tag)>", omittingEmptySubsequences: false).count
            #expect(opened == closed, "\(tag)")
        }
    }

    @Test func `numbers are spelled without Foundation`() {
        #expect(Text.decimal(3.14159, 2) == "3.14")
        #expect(Text.decimal(-0.005, 1) == "0.0")
        #expect(Text.decimal(-2.5, 1) == "-2.5")
        #expect(Text.decimal(1e18, 1) == "-")
        #expect(Text.seconds(.milliseconds(1500)) == "1.5 s")
        #expect(Text.seconds(.seconds(60)) == "60 s")
        #expect(Text.percent(0.99999) == "99.99")
        #expect(Text.hex(255) == "00000000000000ff")
    }

    @Test func `what every scenario is called is known`() {
        #expect(Set(Scenario.all.map(\.name)).count == Scenario.all.count)
        for scenario in Scenario.all { #expect(Scenario.named(scenario.name) == scenario) }
        #expect(Scenario.named("no such thing") == nil)
    }

    @Test func `everything that arrives ends once`() {
        // I28, by class.
        for tally in Self.report.whole.classes { #expect(tally.offered == tally.ended) }
    }

    @Test func `settings that name what is not there are refused`() {
        var settings = SimSettings.governed(endpoints: 2)
        settings.routes.removeAll()
        let report = Simulation.run(settings: settings, scenario: .symmetric, seed: 1)
        #expect(report.violations.map(\.invariant) == ["settings"])
        #expect(report.requests == 0)
    }
}
