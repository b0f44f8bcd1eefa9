// Finds routes that never match because an earlier one takes everything they would.

/// Looks only at earlier routes whose sole conditions are host and path: what those take is known
/// exactly, also of later routes that ask for more. The cost per route grows with the labels of its
/// hosts and the segments of its path, not with the number of routes.
struct RouteReachability {
    /// Hosts that are taken, each with the paths that are.
    private var taken: [HostKey: [PathKey: Int]] = [:]
    /// The first route with exactly these conditions, for routes with more than host and path.
    private var identical: [Route.Match: Int] = [:]

    /// Beyond this many segments a path is not examined.
    private static let maxSegments = 64

    private enum HostKey: Hashable {
        case any
        case host(Route.Host)
    }

    private enum PathKey: Hashable {
        case any
        case exact(String)
        case prefix(String)
        case regex(String)
    }

    static func run(_ routes: [Route], _ report: Report) {
        var seen = RouteReachability()
        for (index, route) in routes.enumerated() {
            if let covers = seen.cover(of: route.match), let last = covers.last {
                let places = report.places.routes
                let names = Text.either(covers.map { "'\(routes[$0].name)'" })
                report.warning(
                    .unreachableRoute, at: places[index].range,
                    "route '\(route.name)' never matches: each of its requests is taken by "
                        + "\(names) before it",
                    help: "move it up, or remove it",
                    related: Diagnostic.Related(
                        range: places[last].range,
                        label: covers.count == 1 ? "takes them all" : "takes the last of them"))
            }
            seen.insert(route.match, at: index)
        }
    }

    private mutating func insert(_ match: Route.Match, at index: Int) {
        guard match.listeners.isEmpty, match.methods.isEmpty, match.headers.isEmpty,
            match.query.isEmpty
        else {
            if identical[match] == nil { identical[match] = index }
            return
        }
        let path = Self.key(match.path)
        let hosts = match.hosts.isEmpty ? [.any] : match.hosts.map { HostKey.host($0) }
        for host in hosts where taken[host]?[path] == nil {
            taken[host, default: [:]][path] = index
        }
    }

    /// The earlier routes that together take what `match` would, in their order.
    private func cover(of match: Route.Match) -> [Int]? {
        if let index = identical[match] { return [index] }
        guard !taken.isEmpty else { return nil }
        let paths = Self.covers(of: match.path)
        if match.hosts.isEmpty { return first(in: .any, paths).map { [$0] } }
        var covers: Set<Int> = []
        for host in match.hosts {
            let found = Self.covers(of: host).compactMap { first(in: $0, paths) }.min()
            guard let found else { return nil }
            covers.insert(found)
        }
        return covers.sorted()
    }

    private func first(in host: HostKey, _ paths: [PathKey]) -> Int? {
        guard let known = taken[host] else { return nil }
        return paths.compactMap { known[$0] }.min()
    }

    private static func key(_ path: Route.Path) -> PathKey {
        switch path {
        case .any: .any
        case .exact(let text): .exact(text)
        case .prefix(let text): .prefix(text)
        case .regex(let text): .regex(text)
        }
    }

    /// All host conditions that hold whenever `host` does.
    private static func covers(of host: Route.Host) -> [HostKey] {
        var keys: [HostKey] = [.any, .host(host)]
        let text: String
        switch host {
        case .exact(let name): text = name
        // `.b.c` also holds what `.a.b.c` does; itself is listed already.
        case .suffix(let suffix): text = String(suffix.dropFirst())
        }
        for dot in text.indices where text[dot] == "." {
            keys.append(.host(.suffix(String(text[dot...]))))
        }
        return keys
    }

    /// All path conditions that hold whenever `path` does.
    private static func covers(of path: Route.Path) -> [PathKey] {
        let text: String
        switch path {
        case .any: return [.any]
        case .regex(let text): return [.any, .regex(text)]
        case .exact(let exact): text = exact
        case .prefix(let prefix): text = prefix
        }
        var keys: [PathKey] = [.any, key(path)]
        guard text.utf8.count(where: { $0 == 0x2F }) <= maxSegments else { return keys }
        for slash in text.indices where text[slash] == "/" {
            // `/a/` and, without its slash, `/a` both hold what `/a/b` does.
            keys.append(.prefix(String(text[...slash])))
            if slash > text.startIndex { keys.append(.prefix(String(text[..<slash]))) }
        }
        if case .exact(let exact) = path { keys.append(.prefix(exact)) }
        return keys
    }
}
