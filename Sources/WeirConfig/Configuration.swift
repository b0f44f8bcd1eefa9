// The parsed file as values: everything is checked, everything has its default filled in.

package import WeirPolicy
package import WeirTime

/// One configuration file.
package struct Configuration: Equatable, Sendable {
    package var admin: Admin?
    package var runtime = Runtime()
    package var listeners: [Listener] = []
    /// Without it nobody is told apart.
    package var tenants: Tenants?
    package var priorities = Priorities()
    package var retryPolicies: [RetryPolicy] = []
    /// Rules for all traffic; a request is charged to all of them, or to none.
    package var rateLimits: [RateRule] = []
    package var routes: [Route] = []
    package var clusters: [Cluster] = []

    package init() {}
}

/// An address as it is written: not resolved, but known to be well formed.
package enum Address: Hashable, Sendable {
    /// An IPv4 or IPv6 literal (without brackets) and a port.
    case ip(host: String, port: UInt16)
    /// The path of a unix socket.
    case unix(path: String)
}

/// An IP prefix such as `10.0.0.0/8`.
package struct AddressPrefix: Hashable, Sendable {
    /// The literal before the slash.
    package var address: String
    /// Prefix length within the address's own family (0...32 or 0...128).
    package var bits: Int

    package init(address: String, bits: Int) {
        self.address = address
        self.bits = bits
    }
}

/// The admin listener.
package struct Admin: Equatable, Sendable {
    package var address: Address
    /// A file whose first line must be sent as a bearer token with every change.
    package var tokenFile: String?

    package init(address: Address, tokenFile: String? = nil) {
        self.address = address
        self.tokenFile = tokenFile
    }
}

/// What concerns the whole process.
package struct Runtime: Equatable, Sendable {
    /// Worker threads; `nil` is one a core. Takes effect at start only.
    package var workers: Int?
    package var drainTimeout = Interval.seconds(30)
    /// Downstream connections in the whole process.
    package var maxConnections = 50_000
    /// Bytes of buffers in the whole process; beyond it new requests are refused.
    package var bufferMemory = 256 << 20
    package var accessLog: AccessLog?
    /// Who the process becomes once its listeners are bound; `nil` leaves it as it is. Takes effect
    /// at start only.
    package var user: String?
    /// Where this process runs: endpoints of the same zone are preferred.
    package var zone: String?
    /// The response field that carries the code of weir's own refusals; `nil` is none. Lower case.
    package var reasonHeader: String? = "x-weir-reason"

    package init() {}

    /// Where the access log goes.
    package struct AccessLog: Equatable, Sendable {
        package var path: String
        /// The share of requests that are logged, 0...1. weir's own refusals always are.
        package var sample = 1.0

        package init(path: String) { self.path = path }
    }
}

/// Where weir accepts connections.
package struct Listener: Equatable, Sendable {
    package var name: String
    package var address: Address
    package var limits = Limits()
    /// `nil` is plain HTTP.
    package var tls: ServerTLS?
    package var trustedProxies: [AddressPrefix] = []
    /// The header that must precede each connection; `nil` where there is none.
    package var proxyProtocol: ProxyProtocol?
    /// Connections are redirected here, and where they were going is known.
    package var transparent = false

    package init(name: String, address: Address) {
        self.name = name
        self.address = address
    }

    /// Bounds on what one client may send, and how slowly.
    package struct Limits: Equatable, Sendable {
        package var requestHeaderBytes = 32 << 10
        package var requestHeaders = 100
        package var requestURIBytes = 8 << 10
        /// `nil` is no limit.
        package var requestBodyBytes: Int64?
        /// From the first byte of a head to its end.
        package var headerTimeout = Interval.seconds(10)
        /// The window over which a body's rate is measured.
        package var bodyTimeout = Interval.seconds(10)
        /// Bytes a second that a request body must arrive with; 0 is no minimum.
        package var bodyMinRate = 1024
        /// The window over which the reading of an answer is measured.
        package var sendTimeout = Interval.seconds(10)
        /// Bytes a second with which an answer must be read; 0 is no minimum.
        package var sendMinRate = 1024
        /// Between two requests on a kept connection.
        package var idleTimeout = Interval.seconds(60)
        /// A client that has ended its sending side while it waits is still answered.
        package var allowHalfClose = false
        package var maxConcurrentStreams = 100
        /// Connections of one client address; `nil` is no limit.
        package var maxConnectionsPerIP: Int?

        package init() {}
    }
}

/// A version of the PROXY protocol, or both of them.
package enum ProxyProtocol: String, CaseIterable, Sendable { case v1, v2, any }

/// Which requests go where.
package struct Route: Equatable, Sendable {
    package var name: String
    package var match = Match()
    package var action: Action
    /// From the end of the request to the end of the response's head; `nil` is no limit.
    package var timeout: Interval? = .seconds(15)
    /// Without a byte in either direction, once the response has begun.
    package var idleTimeout = Interval.seconds(300)
    /// Bytes of a request body that are gathered before an upstream connection is taken.
    package var requestBuffer = 16 << 10
    /// Replaces the matched prefix.
    package var prefixRewrite: String?
    package var requestHeaders = HeaderEdits()
    package var responseHeaders = HeaderEdits()
    /// The class of its requests; `nil` leaves it to the tenant's plan, then to the default class.
    package var priority: String?
    /// The name of a retry policy; without one nothing is sent twice.
    package var retry: String?
    package var hedge: Hedge?
    /// Rules of this route; they are charged together with the global ones.
    package var rateLimits: [RateRule] = []
    package var breaker: BreakerPolicy?

    package init(name: String, action: Action) {
        self.name = name
        self.action = action
    }

    /// All conditions must hold; one that is absent holds.
    package struct Match: Hashable, Sendable {
        /// Names of listeners, any of these; empty matches every listener.
        package var listeners: [String] = []
        /// Any of these; empty matches every host. Lower case, without port.
        package var hosts: [Host] = []
        package var path = Path.any
        /// Any of these; empty matches every method.
        package var methods: [String] = []
        package var headers: [ValueMatch] = []
        package var query: [ValueMatch] = []

        package init() {}
    }

    package enum Host: Hashable, Sendable {
        case exact(String)
        /// `*.example.com` is `suffix(".example.com")`; it does not match `example.com` itself.
        case suffix(String)
    }

    package enum Path: Hashable, Sendable {
        case any
        case exact(String)
        /// Whole segments: `/a` matches `/a` and `/a/b`, not `/ab`; `/a/` matches `/a/b`, not `/a`.
        case prefix(String)
        /// Must match the whole path.
        case regex(String)
    }

    /// A condition on a header or a query parameter.
    package struct ValueMatch: Hashable, Sendable {
        /// Lower case for headers.
        package var name: String
        package var test: Test
        /// The condition holds when the test does not.
        package var invert = false

        package init(name: String, test: Test) {
            self.name = name
            self.test = test
        }

        package enum Test: Hashable, Sendable {
            case present
            case exact(String)
            case prefix(String)
            case regex(String)
        }
    }

    package enum Action: Equatable, Sendable {
        case forward(cluster: String)
        case redirect(Redirect)
        case respond(DirectResponse)
    }

    /// What is `nil` is kept from the request.
    package struct Redirect: Equatable, Sendable {
        package var status = 301
        package var scheme: String?
        package var host: String?
        package var port: UInt16?
        /// Replaces the whole path.
        package var path: String?
        /// Replaces the matched prefix.
        package var prefixRewrite: String?
        package var stripQuery = false

        package init() {}
    }

    package struct DirectResponse: Equatable, Sendable {
        package var status: Int
        package var body = ""
        package var contentType = "text/plain; charset=utf-8"

        package init(status: Int) { self.status = status }
    }
}

/// Changes to a head's fields, in the order remove, set, add.
package struct HeaderEdits: Equatable, Sendable {
    package var remove: [String] = []
    package var set: [Field] = []
    package var add: [Field] = []

    package init() {}

    package var isEmpty: Bool { remove.isEmpty && set.isEmpty && add.isEmpty }

    package struct Field: Equatable, Sendable {
        /// Lower case.
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }
}

/// A named set of interchangeable endpoints.
package struct Cluster: Equatable, Sendable {
    package var name: String
    package var source: Source
    package var balancing = Balancing()
    package var connectTimeout = Interval.seconds(1)
    package var keepalive = Keepalive()
    /// `nil` is plain HTTP.
    package var tls: ClientTLS?
    /// The header that tells endpoints who the client is; `nil` where none does.
    package var proxyProtocol: ProxyProtocol?
    /// Endpoints speak HTTP/2.
    package var http2 = false
    package var hostHeader = HostHeader.preserve
    package var ceilings = Ceilings()
    package var concurrency = ConcurrencySettings()
    /// `nil` refuses at once where no permit is free. Adaptive concurrency brings a queue with it.
    package var queue: QueueSettings?
    /// The queue that there would be, were ceilings and concurrency not in shadow mode.
    package var shadowQueue: QueueSettings?
    package var outlier = OutlierSettings()
    package var healthCheck: HealthCheckSettings?
    /// How long an endpoint that is new or back takes to get its whole share; `nil` is at once.
    package var slowStart: Interval?
    package var breaker: BreakerPolicy?

    package init(name: String, source: Source) {
        self.name = name
        self.source = source
    }

    package enum Source: Equatable, Sendable {
        case endpoints([Endpoint])
        /// `resolveEvery` is `nil` to follow the records' time to live.
        case dns(host: String, port: UInt16, resolveEvery: Interval?)
        /// Where each client's connection was going before it was redirected.
        case originalDestination
    }

    package struct Endpoint: Hashable, Sendable {
        package var address: Address
        /// 1...1000.
        package var weight = 1
        /// Where it runs; preferred where it is the process's own zone.
        package var zone: String?
        /// 0...9. 0 is used first; higher ones when those before are short of endpoints.
        package var priority = 0

        package init(address: Address) { self.address = address }
    }

    /// How upstream connections are kept.
    package struct Keepalive: Equatable, Sendable {
        package var idleTimeout = Interval.seconds(60)
        /// Idle connections kept a worker and endpoint; 0 closes after each request.
        package var maxIdle = 64

        package init() {}
    }

    /// What the endpoint reads as `Host`.
    package enum HostHeader: Equatable, Sendable {
        /// The client's.
        case preserve
        /// The endpoint's address, or the name that discovery resolved.
        case endpoint
        case literal(String)
    }
}
