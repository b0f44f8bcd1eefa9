// A route that is said never to match must never match, whatever comes.

import Testing
import WeirConfig
import WeirTime

@Suite struct ReachabilityTests {
    private static let hosts = ["", "a.x", "b.x", "c.b.x", "x", "*.x", "*.b.x"]
    private static let paths = [
        "", "path: /", "path: /a", "path: /a/", "path: /a/b", "path_prefix: /", "path_prefix: /a",
        "path_prefix: /a/", "path_prefix: /a/b", "path_prefix: /ab", "path_regex: /a.*",
    ]
    private static let methods = ["", "methods: [GET]", "methods: [POST]"]

    /// Hosts and paths that tell all of the above apart.
    private static let requests: [(host: String, path: String)] = {
        let hosts = ["a.x", "b.x", "c.b.x", "d.c.b.x", "x", "y", "e.x"]
        let paths = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/c", "/ab", "/ab/", "/b"]
        return hosts.flatMap { host in paths.map { (host, $0) } }
    }()

    @Test func `a route that is called unreachable never matches first`() throws {
        var chance = Chance(seed: 3)
        var warned = 0
        for _ in 0..<300 {
            let configuration = try randomRoutes(&chance)
            for name in configuration.unreachable {
                warned += 1
                let index = try #require(configuration.routes.firstIndex { $0.name == name })
                for request in Self.requests {
                    for method in ["GET", "POST", "PUT"] {
                        let first = configuration.routes.firstIndex {
                            matches($0.match, request, method)
                        }
                        #expect(first != index, "\(name) takes \(request) in \(configuration)")
                    }
                }
            }
        }
        #expect(warned > 300, "the lint must have something to be wrong about")
    }

    private func randomRoutes(
        _ chance: inout Chance
    ) throws -> (routes: [Route], unreachable: [String]) {
        var text = "version: 1\nlisteners: [{ name: w, address: 127.0.0.1:1 }]\nroutes:\n"
        for n in 0..<8 {
            let picked = (0...chance.below(2)).map { _ in
                Self.hosts[Int(chance.below(UInt32(Self.hosts.count)))]
            }
            let isAny = picked.contains("")
            let host =
                isAny ? "" : "host: [" + picked.map { "'\($0)'" }.joined(separator: ",") + "]"
            let path = Self.paths[Int(chance.below(UInt32(Self.paths.count)))]
            // Mostly without a method, or nothing would be covered.
            let method = Self.methods[chance.below(3) == 0 ? Int(chance.below(3)) : 0]
            let match = [host, path, method].filter { !$0.isEmpty }.joined(separator: ", ")
            text += "  - { name: r\(n), match: { \(match) }, direct_response: { status: 204 } }\n"
        }
        let (configuration, diagnostics) = ConfigurationParser.parse(Array(text.utf8), file: "t")
        let routes = try #require(configuration, "\(text) \(diagnostics.map(\.message))").routes
        let unreachable = diagnostics.filter { $0.code == .unreachableRoute }.compactMap {
            $0.message.split(separator: "'").dropFirst().first.map(String.init)
        }
        return (routes, unreachable)
    }

    /// The meaning of a match, as the model's comments give it.
    private func matches(
        _ match: Route.Match, _ request: (host: String, path: String), _ method: String
    ) -> Bool {
        let isHost =
            match.hosts.isEmpty
            || match.hosts.contains { host in
                switch host {
                case .exact(let name): request.host == name
                case .suffix(let suffix): request.host.hasSuffix(suffix)
                }
            }
        let isPath =
            switch match.path {
            case .any: true
            case .exact(let text): request.path == text
            case .prefix(let text):
                request.path == text
                    || request.path.hasPrefix(text.hasSuffix("/") ? text : text + "/")
            case .regex: request.path.hasPrefix("/a")
            }
        return isHost && isPath && (match.methods.isEmpty || match.methods.contains(method))
    }
}
