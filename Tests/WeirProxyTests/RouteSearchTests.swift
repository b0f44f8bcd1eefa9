// The route table against the definition: go through the routes in the order of the file.

import Testing
import WeirHTTP
import WeirProxy
import WeirTelemetry
import WeirTime

/// SplitMix64: the same numbers from the same seed, everywhere.
private struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct RouteSearchTests {
    private static let paths = ["", "/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/b", "/b/a", "*"]
    private static let hosts = ["a.test", "b.a.test", "test", "c"]

    private func matches(_ rule: RouteRule, _ host: String, _ path: String) -> Bool {
        let isAnyHost = rule.exactHosts.isEmpty && rule.hostSuffixes.isEmpty
        let isHost =
            isAnyHost || rule.exactHosts.contains(host)
            || rule.hostSuffixes.contains { host.hasSuffix($0) && host != $0 }
        guard isHost else { return false }
        return switch rule.path {
        case .any: true
        case .exact(let wanted): path == wanted
        case .prefix(let wanted):
            wanted.isEmpty || path == wanted
                || path.hasPrefix(wanted.hasSuffix("/") ? wanted : wanted + "/")
        case .regex: false
        }
    }

    private func find(_ table: RouteTable, _ host: String, _ path: String) -> String? {
        let head = RequestHead(maxFields: 1)
        let host = Array(host.utf8)
        let path = Array(path.utf8)
        let found = host.withUnsafeBytes { host in
            path.withUnsafeBytes { path in
                table.find(
                    host: host, path: path, head: head,
                    message: UnsafeRawBufferPointer(start: nil, count: 0),
                    listener: UnsafeRawBufferPointer(start: nil, count: 0))
            }
        }
        return found?.name.description
    }

    @Test func `finds the first route that matches, whatever the table is like`() {
        var numbers = SeededNumbers(state: 5)
        let registry = CounterRegistry(workers: 1, refusalCodes: [])
        var found = 0
        for _ in 0..<1_000 {
            let rules = (0..<Int.random(in: 1...6, using: &numbers)).map { number in
                var rule = RouteRule(
                    plan: RoutePlan(
                        name: Text("\(number)"), action: .forward(cluster: 0), timeout: .max,
                        idleTimeout: .max, requestBuffer: 0, prefixLength: 0, prefixRewrite: nil,
                        requestEdits: FieldEdits(), responseEdits: FieldEdits(),
                        counters: registry.route("\(number)", worker: 0)))
                let path = Self.paths.randomElement(using: &numbers) ?? ""
                switch Int.random(in: 0...4, using: &numbers) {
                case 0: break
                case 1 where !path.isEmpty: rule.path = .exact(path)
                default: rule.path = .prefix(path)
                }
                let host = Self.hosts.randomElement(using: &numbers) ?? ""
                switch Int.random(in: 0...3, using: &numbers) {
                case 0: rule.exactHosts = [host]
                case 1: rule.hostSuffixes = ["." + host]
                default: break
                }
                return rule
            }
            let table = RouteTable(rules)
            for host in Self.hosts {
                for path in Self.paths where !path.isEmpty {
                    let wanted = rules.first { matches($0, host, path) }
                    #expect(find(table, host, path) == wanted?.plan.name.description)
                    if wanted != nil { found += 1 }
                }
            }
        }
        #expect((5_000..<35_000).contains(found))
    }
}
