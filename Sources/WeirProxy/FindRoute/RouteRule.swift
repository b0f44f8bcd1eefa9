// What a route demands of a request, before it is compiled into the table.

/// One route in the order of the file.
package struct RouteRule {
    /// Lower-case hosts without ports; empty is any.
    package var exactHosts: [String] = []
    /// Lower-case suffixes with their leading dot.
    package var hostSuffixes: [String] = []
    package var path = Path.any
    package var conditions = Conditions()
    package var plan: RoutePlan

    package init(plan: RoutePlan) { self.plan = plan }

    package enum Path {
        case any
        case exact(String)
        /// Whole segments: see the configuration reference.
        case prefix(String)
        case regex(Pattern)
    }

    /// What is checked one by one once host and path match.
    package struct Conditions: Sendable {
        /// Names of the listeners that the request may have come by; empty is any.
        package var listeners: [Text] = []
        /// Upper-case method names; empty is any.
        package var methods: [Text] = []
        package var headers: [ValueRule] = []
        package var query: [ValueRule] = []

        package init() {}

        var isEmpty: Bool {
            listeners.isEmpty && methods.isEmpty && headers.isEmpty && query.isEmpty
        }
    }
}

/// A condition on a header or on a query parameter.
package struct ValueRule: Sendable {
    /// Lower case for headers.
    package var name: Text
    package var test: Test
    package var isInverted: Bool

    package init(name: Text, test: Test, isInverted: Bool) {
        self.name = name
        self.test = test
        self.isInverted = isInverted
    }

    package enum Test: Sendable {
        case present
        case exact(Text)
        case prefix(Text)
        case regex(Pattern)
    }

    func holds(_ value: UnsafeRawBufferPointer) -> Bool {
        switch test {
        case .present: true
        case .exact(let text): Bytes.areEqual(value, text.bytes)
        case .prefix(let text): Bytes.hasPrefix(value, text.bytes)
        case .regex(let pattern): pattern.matches(value)
        }
    }
}
