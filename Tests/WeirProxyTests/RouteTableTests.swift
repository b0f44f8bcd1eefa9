// The route table against a naive reading of the same rules, one after the other.

import Testing
import WeirHTTP
import WeirTelemetry
import WeirTime

@testable import WeirProxy

/// One rule in a form that is easy to read, and the rule that the table compiles.
private struct Sample {
    enum Path { case any, exact(String), prefix(String), regex(String) }
    struct Condition {
        var name: String
        /// present, exact, prefix, regex
        var kind: Int
        var value: String
        var isInverted: Bool
    }

    var listeners: [String] = []
    var hosts: [String] = []
    var suffixes: [String] = []
    var path = Path.any
    var methods: [String] = []
    var headers: [Condition] = []
    var query: [Condition] = []

    func rule(_ name: String, _ registry: CounterRegistry) throws -> RouteRule {
        var rule = RouteRule(plan: plan(name, registry))
        rule.exactHosts = hosts
        rule.hostSuffixes = suffixes
        switch path {
        case .any: rule.path = .any
        case .exact(let path): rule.path = .exact(path)
        case .prefix(let path): rule.path = .prefix(path)
        case .regex(let source):
            rule.path = .regex(try #require(Pattern(source, isWhole: true)))
        }
        rule.conditions.listeners = listeners.map { Text($0) }
        rule.conditions.methods = methods.map { Text($0) }
        rule.conditions.headers = try headers.map(Self.value)
        rule.conditions.query = try query.map(Self.value)
        return rule
    }

    private static func value(_ condition: Condition) throws -> ValueRule {
        let test: ValueRule.Test =
            switch condition.kind {
            case 0: .present
            case 1: .exact(Text(condition.value))
            case 2: .prefix(Text(condition.value))
            default: .regex(try #require(Pattern(condition.value + ".*", isWhole: true)))
            }
        return ValueRule(
            name: Text(condition.name), test: test, isInverted: condition.isInverted)
    }
}

private func plan(_ name: String, _ registry: CounterRegistry) -> RoutePlan {
    RoutePlan(
        name: Text(name), action: .forward(cluster: 0), timeout: .max, idleTimeout: .max,
        requestBuffer: 0, prefixLength: 0, prefixRewrite: nil, requestEdits: FieldEdits(),
        responseEdits: FieldEdits(), counters: registry.route(name, worker: 0))
}

/// A request as the naive reading sees it.
private struct Request {
    var listener = "edge"
    var method = "GET"
    var host = "a.b"
    var path = "/"
    var query: [(String, String)] = []
    var headers: [(String, String)] = []

    var bytes: [UInt8] {
        var target = path
        if !query.isEmpty { target += "?" + query.map { "\($0)=\($1)" }.joined(separator: "&") }
        let lines = headers.map { "\($0): \($1)\r\n" }.joined()
        return Array("\(method) \(target) HTTP/1.1\r\nhost: \(host)\r\n\(lines)\r\n".utf8)
    }

    func meets(_ sample: Sample) -> Bool {
        let host = self.host.lowercased()
        let isHost =
            sample.hosts.isEmpty && sample.suffixes.isEmpty || sample.hosts.contains(host)
            || sample.suffixes.contains { host.hasSuffix($0) && host.count > $0.count }
        return isHost && meets(sample.path)
            && (sample.listeners.isEmpty || sample.listeners.contains(listener))
            && (sample.methods.isEmpty || sample.methods.contains(method))
            && sample.headers.allSatisfy { meets($0, headers.map { ($0.lowercased(), $1) }) }
            && sample.query.allSatisfy { meets($0, query) }
    }

    private func meets(_ wanted: Sample.Path) -> Bool {
        switch wanted {
        case .any: true
        case .exact(let exact): path == exact
        case .prefix(let prefix):
            path == prefix || path.hasPrefix(prefix.hasSuffix("/") ? prefix : prefix + "/")
        // All patterns of the test have the form `/x.*`.
        case .regex(let source): path.hasPrefix(source.dropLast(2))
        }
    }

    private func meets(_ condition: Sample.Condition, _ values: [(String, String)]) -> Bool {
        let holds = values.contains { name, value in
            guard name == condition.name else { return false }
            return switch condition.kind {
            case 0: true
            case 1: value == condition.value
            default: value.hasPrefix(condition.value)
            }
        }
        return holds != condition.isInverted
    }
}

extension RouteTable {
    /// The name of the route that a request finds, by way of the parser and the head's store.
    fileprivate func find(_ bytes: [UInt8], by listener: String = "edge") throws -> String? {
        var head = RequestHead(maxFields: 20)
        return try bytes.withUnsafeBytes { raw -> String? in
            let limits = HeadLimits(maxBytes: 1 << 20, maxFields: 20, maxTargetBytes: 8 << 10)
            let step = H1Parser.parseRequest(raw, seen: 0, limits: limits, into: &head)
            try #require(step == .complete, "\(String(decoding: bytes, as: UTF8.self))")
            var store = HeadStore()
            defer { store.release() }
            store.take(raw, head)
            let name = Text(listener)
            return find(
                host: store.host(head), path: store.path(head), head: head, message: store.bytes,
                listener: name.bytes
            )?.name.description
        }
    }

    fileprivate init(_ samples: [Sample]) throws {
        let registry = CounterRegistry(workers: 1, refusalCodes: [])
        self.init(try samples.enumerated().map { try $1.rule("\($0)", registry) })
    }
}

extension Chance {
    fileprivate mutating func pick<T>(_ items: [T]) -> T {
        items[Int(below(UInt32(items.count)))]
    }

    fileprivate mutating func oneIn(_ count: UInt32) -> Bool { below(count) == 0 }

    fileprivate mutating func path() -> String {
        let depth = below(4)
        if depth == 0 { return "/" }
        let names = ["a", "b", "ab", "", "a%2Fb"]
        let path = (0..<depth).map { _ in "/" + pick(names) }.joined()
        return oneIn(4) ? path + "/" : path
    }

    fileprivate mutating func condition(_ names: [String]) -> Sample.Condition {
        Sample.Condition(
            name: pick(names), kind: Int(below(4)), value: pick(["1", "12", "x"]),
            isInverted: oneIn(3))
    }

    fileprivate mutating func sample() -> Sample {
        var sample = Sample()
        for _ in 0..<below(3) { sample.hosts.append(pick(["a.b", "x.a.b", "b", "c.d"])) }
        if oneIn(3) { sample.suffixes.append(pick([".a.b", ".b", ".x.a.b", ".d"])) }
        switch below(8) {
        case 0: sample.path = .any
        case 1...3: sample.path = .exact(path())
        case 4: sample.path = .regex(pick(["/a.*", "/b.*", "/ab.*"]))
        default: sample.path = .prefix(path())
        }
        if oneIn(4) { sample.listeners = [pick(["edge", "inner", "edge3"])] }
        if oneIn(4) { sample.methods = [pick(["GET", "PUT", "PURGE"])] }
        if oneIn(4) { sample.headers = [condition(["x-a", "x-b"])] }
        if oneIn(4) { sample.query = [condition(["p", "q"])] }
        return sample
    }

    fileprivate mutating func request() -> Request {
        var request = Request()
        request.listener = pick(["edge", "edge", "inner", "edge2"])
        request.method = pick(["GET", "GET", "PUT", "PURGE"])
        request.host = pick(["a.b", "A.B", "x.a.b", "y.X.a.b", "b", "c.d", "nobody"])
        request.path = path()
        for _ in 0..<below(3) {
            request.headers.append((pick(["x-a", "X-B", "x-c"]), pick(["1", "12", "x", "y"])))
            request.query.append((pick(["p", "q", "P"]), pick(["1", "12", "x", "y"])))
        }
        return request
    }
}

@Suite struct `The route table` {
    @Test(arguments: 0..<40)
    func `finds what reading the rules in order finds`(seed: Int) throws {
        var chance = Chance(seed: UInt64(seed))
        for _ in 0..<10 {
            let samples = (0..<chance.below(30)).map { _ in chance.sample() }
            let table = try RouteTable(samples)
            for _ in 0..<25 {
                let request = chance.request()
                let expected = samples.firstIndex { request.meets($0) }.map { "\($0)" }
                let found = try table.find(request.bytes, by: request.listener)
                #expect(found == expected, "\(request) among \(samples)")
            }
        }
    }

    private func find(_ path: String, _ samples: Sample...) throws -> String? {
        try RouteTable(samples).find(Array("GET \(path) HTTP/1.1\r\nhost: h\r\n\r\n".utf8))
    }

    @Test func `a prefix matches whole segments`() throws {
        let plain = Sample(path: .prefix("/a"))
        let slashed = Sample(path: .prefix("/a/"))
        for (path, isPlain, isSlashed) in [
            ("/a", true, false), ("/a/", true, true), ("/a/b", true, true),
            ("/ab", false, false), ("/", false, false), ("/A", false, false),
        ] {
            #expect(try find(path, plain) == (isPlain ? "0" : nil), "\(path)")
            #expect(try find(path, slashed) == (isSlashed ? "0" : nil), "\(path)")
            #expect(try find(path, Sample(path: .prefix("/"))) == "0", "\(path)")
        }
    }

    @Test func `needless percent-encoding is undone, an encoded slash is not`() throws {
        let exact = Sample(path: .exact("/a~"))
        #expect(try find("/%61%7E", exact) == "0")
        #expect(try find("/%61%7e", exact) == "0")
        let segments = Sample(path: .prefix("/a"))
        #expect(try find("/%61/b", segments) == "0")
        #expect(try find("/a%2Fb", segments) == nil)
        #expect(try find("/a%2fb", Sample(path: .exact("/a/b"))) == nil)
        #expect(try find("/a%2fb", Sample(path: .exact("/a%2fb"))) == "0")
        #expect(try find("/%2561", Sample(path: .exact("/%61"))) == nil)
    }

    @Test func `an absolute target brings its own host and may lack a path`() throws {
        let table = try RouteTable([
            Sample(hosts: ["a.b"], path: .exact("/")), Sample(path: .any),
        ])
        for target in ["http://A.b", "http://a.b/", "http://a.b?x", "http://a.b:80/"] {
            let found = try table.find(Array("GET \(target) HTTP/1.1\r\nhost: x\r\n\r\n".utf8))
            #expect(found == "0", "\(target)")
        }
    }

    @Test func `the asterisk form has no path that a prefix could match`() throws {
        let bytes = Array("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n".utf8)
        #expect(try RouteTable([Sample(path: .prefix("/"))]).find(bytes) == nil)
        #expect(try RouteTable([Sample(path: .any)]).find(bytes) == "0")
    }

    @Test func `keys of the same hash are told apart`() throws {
        // Equal under 64-bit FNV-1a, which is what the index mixes paths with.
        let one = "8yn0iYCKYHlIj4-BwPqk"
        let other = "GReLUrM4wMqfg9yzV3KQ"
        func hash(_ key: String) -> UInt64 {
            key.utf8.reduce(RouteIndex.seed) { RouteIndex.mix($0, $1) }
        }
        #expect(hash(one) == hash(other))
        // The table is asked as such, since no request has a path without a slash.
        let registry = CounterRegistry(workers: 1, refusalCodes: [])
        for (key, expected) in [(one, "0"), (other, "1")] {
            let rules = try [Sample(path: .exact(one)), Sample(path: .exact(other))]
                .enumerated().map { try $1.rule("\($0)", registry) }
            let head = RequestHead(maxFields: 1)
            for count in 1...2 {
                let found = Array(key.utf8).withUnsafeBytes {
                    RouteTable(Array(rules.prefix(count))).find(
                        host: UnsafeRawBufferPointer(start: nil, count: 0), path: $0,
                        head: head, message: UnsafeRawBufferPointer(start: nil, count: 0),
                        listener: UnsafeRawBufferPointer(start: nil, count: 0))
                }
                let isKnown = count == 2 || expected == "0"
                #expect(found?.name.description == (isKnown ? expected : nil))
            }
        }
    }

    @Test func `a table without routes finds none`() throws {
        #expect(try find("/") == nil)
    }
}
