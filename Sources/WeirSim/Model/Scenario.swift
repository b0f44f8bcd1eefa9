// A story to simulate: who sends what, what the endpoints can do, and what goes wrong when.

package import WeirTime

/// A part of the simulated time that the report tells of by itself.
package struct Window: Equatable, Sendable {
    package var name: String
    /// By the arrival of requests.
    package var from: Interval
    package var until: Interval

    package init(_ name: String, _ from: Interval, _ until: Interval) {
        self.name = name
        self.from = from
        self.until = until
    }
}

/// A workload, endpoints and faults, and the settings that the story is told with when there is no
/// configuration.
package struct Scenario: Equatable, Sendable {
    package var name: String
    /// One sentence.
    package var summary: String
    package var length: Interval
    package var streams: [Stream]
    /// By endpoint over all clusters in order; begins anew where there are fewer models.
    package var models: [EndpointModel]
    package var faults: [Fault] = []
    package var windows: [Window] = []
    package var settings: SimSettings

    package init(
        _ name: String, _ summary: String, length: Interval, streams: [Stream],
        models: [EndpointModel], settings: SimSettings
    ) {
        self.name = name
        self.summary = summary
        self.length = length
        self.streams = streams
        self.models = models
        self.settings = settings
    }

    /// The model of an endpoint.
    func model(_ endpoint: Int) -> EndpointModel {
        models.isEmpty
            ? EndpointModel(workers: 8, service: .milliseconds(33))
            : models[endpoint % models.count]
    }

    /// Requests a second that the endpoints of `settings` can serve.
    package func capacity(_ settings: SimSettings) -> Double {
        let count = settings.clusters.reduce(0) { $0 + $1.endpoints.count }
        return (0..<count).reduce(0) { $0 + model($1).capacity }
    }

    /// One more than the last tenant.
    var tenants: Int { streams.map(\.tenants.end).max() ?? 1 }
}
