// The time series as comma-separated values, one line a point.

import WeirTime

extension SimReport {
    /// With a heading; for a spreadsheet or a plot of one's own. Latency is in milliseconds.
    package var csv: String {
        var heads = ["seconds"]
        for name in classNames { heads += ["offered_\(name)", "served_\(name)"] }
        heads += ["attempts", "p99_ms", "limit", "in_flight", "waiting", "ejected"]
        var lines = [heads.joined(separator: ",")]
        for point in series {
            var cells = [Text.decimal(point.at.seconds, 3)]
            for index in classNames.indices where index < point.offered.count {
                cells += ["\(point.offered[index])", "\(point.served[index])"]
            }
            cells.append("\(point.attempts)")
            cells.append(point.p99.map { Text.decimal(Double($0.nanoseconds) / 1e6, 3) } ?? "")
            cells.append(point.limit.map(String.init) ?? "")
            cells += ["\(point.inFlight)", "\(point.waiting)", "\(point.ejected)"]
            lines.append(cells.joined(separator: ","))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
