// The time series as a picture: goodput by class, latency, and what the limits were.

import WeirTime

extension SimReport {
    /// An SVG of three panels over one time axis; readable without any style sheet or script.
    package var svg: String {
        let plot = Plot(
            seconds: max(length.seconds, 0.001), points: series.filter { $0.at <= length })
        var parts = [plot.open(title: "\(scenario), seed \(seed)")]
        parts += goodputPanel(plot)
        parts += latencyPanel(plot)
        parts += limitPanel(plot)
        parts.append("</svg>")
        return parts.joined(separator: "\n") + "\n"
    }

    private func goodputPanel(_ plot: Plot) -> [String] {
        let step = (plot.points.first?.at ?? .seconds(1)).seconds
        var panel = Plot.Panel(title: "served a second", top: 40)
        for index in classNames.indices {
            let rates = plot.points.map { Double($0.served[index]) / step }
            guard rates.contains(where: { $0 > 0 }) else { continue }
            panel.add(classNames[index], rates.map { $0 }, Plot.colours[index % 4])
        }
        let offered = plot.points.map { Double($0.offered.reduce(0, +)) / step }
        panel.add("offered", offered.map { min($0, capacity * 2.2) }, "#bbb")
        panel.add("capacity", plot.points.map { _ in capacity }, "#000", isDashed: true)
        return plot.draw(panel)
    }

    private func latencyPanel(_ plot: Plot) -> [String] {
        var panel = Plot.Panel(title: "p99 of served requests, ms", top: 240)
        panel.add("p99", plot.points.map { ($0.p99 ?? .zero).seconds * 1000 }, Plot.colours[1])
        return plot.draw(panel)
    }

    private func limitPanel(_ plot: Plot) -> [String] {
        var panel = Plot.Panel(title: "requests at endpoints and in the queue", top: 440)
        if plot.points.contains(where: { $0.limit != nil }) {
            panel.add("limit", plot.points.map { Double($0.limit ?? 0) }, "#000", isDashed: true)
        }
        panel.add("in flight", plot.points.map { Double($0.inFlight) }, Plot.colours[0])
        panel.add("waiting", plot.points.map { Double($0.waiting) }, Plot.colours[1])
        panel.add("ejected endpoints", plot.points.map { Double($0.ejected) }, Plot.colours[2])
        return plot.draw(panel)
    }
}

/// Lines over time, by hand.
struct Plot {
    struct Line {
        var name: String
        var values: [Double]
        var colour: String
        var isDashed: Bool
    }

    struct Panel {
        var title: String
        var top: Int
        var lines: [Line] = []

        init(title: String, top: Int) {
            self.title = title
            self.top = top
        }

        mutating func add(
            _ name: String, _ values: [Double], _ colour: String, isDashed: Bool = false
        ) {
            lines.append(Line(name: name, values: values, colour: colour, isDashed: isDashed))
        }
    }

    static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
    private static let left = 60.0
    private static let width = 640.0
    private static let height = 150.0
    let seconds: Double
    let points: [SeriesPoint]

    func open(title: String) -> String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 640" width="860" height="640" \
        font-family="sans-serif" font-size="11">
        <rect width="860" height="640" fill="#fff"/>
        <text x="60" y="20" font-size="14">\(Self.escaped(title))</text>
        """
    }

    func draw(_ panel: Panel) -> [String] {
        let top = Double(panel.top)
        let most = Self.roundedUp(panel.lines.flatMap(\.values).max() ?? 1)
        var parts = [
            """
            <text x="60" y="\(panel.top - 6)">\(Self.escaped(panel.title))</text>
            <rect x="60" y="\(panel.top)" width="640" height="150" fill="none" stroke="#999"/>
            <text x="54" y="\(panel.top + 10)" text-anchor="end">\(Text.number(most))</text>
            <text x="54" y="\(panel.top + 150)" text-anchor="end">0</text>
            """
        ]
        for step in 0...4 {
            let x = Self.left + Self.width * Double(step) / 4
            let time = Text.decimal(seconds * Double(step) / 4, seconds < 40 ? 1 : 0)
            parts.append(
                "<text x=\"\(Text.decimal(x, 0))\" y=\"\(panel.top + 164)\" "
                    + "text-anchor=\"middle\">\(time) s</text>")
        }
        for (number, line) in panel.lines.enumerated() {
            let path = zip(points, line.values).map { point, value in
                let x = Self.left + Self.width * point.at.seconds / seconds
                let y = top + Self.height * (1 - min(value / most, 1))
                return "\(Text.decimal(x, 1)),\(Text.decimal(y, 1))"
            }
            let dash = line.isDashed ? " stroke-dasharray=\"4 3\"" : ""
            parts.append(
                "<polyline fill=\"none\" stroke=\"\(line.colour)\"\(dash) "
                    + "points=\"\(path.joined(separator: " "))\"/>")
            parts.append(
                "<text x=\"710\" y=\"\(panel.top + 12 + number * 15)\" "
                    + "fill=\"\(line.colour)\">\(Self.escaped(line.name))</text>")
        }
        return parts
    }

    /// One, two or five times a power of ten, at least `value`.
    private static func roundedUp(_ value: Double) -> Double {
        guard value > 0, value.isFinite else { return 1 }
        var unit = 1e-3
        while unit * 10 < value { unit *= 10 }
        for factor in [1.0, 2, 5, 10] where unit * factor >= value { return unit * factor }
        return unit * 10
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
    }
}
