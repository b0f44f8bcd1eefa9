// A named scenario for settings that are not its own.

extension Scenario {
    /// The same story for a configuration's cluster: its number of endpoints, and as many requests
    /// as make the same part of their capacity.
    ///
    /// Each stream takes the first route of its class, or the first one of all.
    package func adapted(to other: SimSettings) -> Scenario {
        var result = self
        result.settings = other
        let ours = settings.clusters.first?.endpoints.count ?? 0
        let theirs = other.clusters.first?.endpoints.count ?? 0
        let scale = capacity(other) / max(capacity(settings), 1)
        let classes = max(other.classes.count, 1)
        for index in streams.indices {
            let priority = streams[index].priority ?? ownPriority(streams[index])
            let rank = min(Int(priority), classes - 1)
            let route = other.routes.firstIndex { Int($0.priority) == rank } ?? 0
            result.streams[index].route = route
            result.streams[index].priority = UInt8(rank)
            result.streams[index].arrivals = streams[index].arrivals.scaled(by: scale)
        }
        result.faults = faults.map { fault in
            var adapted = fault
            // What befalls all befalls all; what befalls some befalls those that are there.
            adapted.endpoints =
                fault.endpoints.count >= ours
                ? Array(0..<theirs) : fault.endpoints.filter { $0 < theirs }
            return adapted
        }
        return result
    }

    private func ownPriority(_ stream: Stream) -> UInt8 {
        settings.routes.indices.contains(stream.route)
            ? settings.routes[stream.route].priority : 0
    }
}

extension ArrivalLaw {
    func scaled(by factor: Double) -> ArrivalLaw {
        switch self {
        case .open(let points):
            .open(points.map { RatePoint($0.at, $0.perSecond * factor) })
        case .closed(let users, let think):
            .closed(users: max(Int(Double(users) * factor), 1), think: think)
        }
    }
}
