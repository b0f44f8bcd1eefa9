// Everything an exchange reads about the configuration, compiled and numbered by generation.

package import WeirNet
package import WeirPolicy
package import WeirTelemetry
package import WeirTime

/// One configuration in the form that one worker uses it.
///
/// Each worker gets plans of its own: two workers that retained the same object per request would
/// contend on its reference count (14 ns becomes 68).
package struct Plan: Sendable {
    /// Which configuration this is; grows by one with each that is adopted.
    package var generation: UInt64
    package var listeners: [ListenerPlan]
    package var table: RouteTable
    package var clusters: [ClusterPlan]
    /// Counts requests that match no route.
    package var unrouted: RouteCounters
    /// Where this worker's access log lines go; `nil` when there is no log.
    package var log: LogRing?
    /// Bytes of this worker's buffers.
    package var bufferMemory: Int
    /// The share of exchanges to log, in 2^32nds; refusals are always logged.
    package var logSample: UInt64
    /// What is governed alike on all routes.
    package var common: CommonRules
    /// `x-weir-reason: `, or whatever the field is called; `nil` leaves it out.
    package var reasonLine: Text?

    package init(
        generation: UInt64, listeners: [ListenerPlan], table: RouteTable,
        clusters: [ClusterPlan], unrouted: RouteCounters, bufferMemory: Int, log: LogRing?,
        logSample: UInt64, common: CommonRules, reasonLine: Text?
    ) {
        self.generation = generation
        self.listeners = listeners
        self.table = table
        self.clusters = clusters
        self.unrouted = unrouted
        self.bufferMemory = bufferMemory
        self.log = log
        self.logSample = logSample
        self.common = common
        self.reasonLine = reasonLine
    }
}

/// Where this worker accepts, and what it demands of clients there.
package struct ListenerPlan: Sendable {
    package var name: String
    /// Identity across reloads.
    package var address: SocketAddress
    /// This worker's listening socket. The server opened it and closes it.
    package var fd: Int32
    package var settings: ListenerSettings
    /// What its connections speak TLS with; `nil` where they do not.
    package var tls: TLSServer?

    package init(
        name: String, address: SocketAddress, fd: Int32, settings: ListenerSettings,
        tls: TLSServer? = nil
    ) {
        self.name = name
        self.address = address
        self.fd = fd
        self.settings = settings
        self.tls = tls
    }
}

/// A listener's limits and trust, in the units that the data plane compares.
package struct ListenerSettings: Equatable, Sendable {
    package var headBytes = 32 << 10
    package var headFields = 100
    package var targetBytes = 8 << 10
    /// `Int64.max` is no limit.
    package var bodyBytes = Int64.max
    package var headerTimeout = Interval.seconds(10)
    package var bodyTimeout = Interval.seconds(10)
    /// Bytes that must arrive within `bodyTimeout`.
    package var bodyBytesPerWindow: UInt64 = 10 << 10
    package var sendTimeout = Interval.seconds(10)
    /// Bytes that must be taken within `sendTimeout`.
    package var sendBytesPerWindow: UInt64 = 10 << 10
    package var idleTimeout = Interval.seconds(60)
    /// A client that has ended its sending side is still answered.
    package var allowsHalfClose = false
    /// Streams that a client may have open on one HTTP/2 connection.
    package var maxStreams = 100
    /// The header that must precede each connection; `nil` where there is none.
    package var proxyProtocol: ProxyHeader.Version?
    /// Where connections were going before they were redirected here is asked.
    package var isTransparent = false
    /// Connections of one client address; `Int.max` is no limit.
    package var connectionsPerAddress = Int.max
    package var trusted: [TrustedPrefix] = []

    package init() {}

    package struct TrustedPrefix: Equatable, Sendable {
        package var address: IPAddress
        /// 0...128.
        package var bits: Int

        package init(address: IPAddress, bits: Int) {
            self.address = address
            self.bits = bits
        }
    }

    /// The peer is a proxy whose word on the client is believed.
    func trusts(_ peer: SocketAddress) -> Bool {
        guard !trusted.isEmpty, case .ip(let address, _) = peer else { return false }
        return trusted.contains { address.matches(prefix: $0.address, bits: $0.bits) }
    }
}

/// What a matched request is done with.
package final class RoutePlan: Sendable {
    package let name: Text
    package let action: Action
    /// `Interval.max` is no limit.
    package let timeout: Interval
    /// Without a byte in either direction, once the response has begun.
    package let idleTimeout: Interval
    package let requestBuffer: Int
    package let rules: RouteRules
    /// Tells this route from others in the keys of rate limits, across reloads.
    package let salt: UInt64
    /// Bytes of the path that `prefixRewrite` replaces.
    package let prefixLength: Int
    package let prefixRewrite: Text?
    package let requestEdits: FieldEdits
    package let responseEdits: FieldEdits
    package let counters: RouteCounters

    package init(
        name: Text, action: Action, timeout: Interval, idleTimeout: Interval, requestBuffer: Int,
        rules: RouteRules = RouteRules(), salt: UInt64 = 0, prefixLength: Int, prefixRewrite: Text?,
        requestEdits: FieldEdits,
        responseEdits: FieldEdits, counters: RouteCounters
    ) {
        self.name = name
        self.action = action
        self.timeout = timeout
        self.idleTimeout = idleTimeout
        self.requestBuffer = requestBuffer
        self.rules = rules
        self.salt = salt
        self.prefixLength = prefixLength
        self.prefixRewrite = prefixRewrite
        self.requestEdits = requestEdits
        self.responseEdits = responseEdits
        self.counters = counters
    }

    package enum Action: Sendable {
        /// An index into the plan's clusters.
        case forward(cluster: Int)
        case redirect(RedirectPlan)
        case respond(status: Int, body: Text, contentType: Text)
    }
}

/// The parts of a redirect's location; what is `nil` comes from the request.
package struct RedirectPlan: Sendable {
    package var status: Int
    package var scheme: Text?
    package var host: Text?
    package var port: UInt16?
    package var path: Text?
    package var prefixRewrite: Text?
    package var stripQuery: Bool

    package init(
        status: Int, scheme: Text?, host: Text?, port: UInt16?, path: Text?, prefixRewrite: Text?,
        stripQuery: Bool
    ) {
        self.status = status
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.prefixRewrite = prefixRewrite
        self.stripQuery = stripQuery
    }
}

/// Fields to drop and lines to add.
package struct FieldEdits: Sendable {
    /// Fields that the message must not keep: removed, or about to be set.
    package var dropped: [Drop] = []
    /// `name: value CRLF` lines, ready to be written.
    package var lines = Text("")

    package init() {}

    package var isEmpty: Bool { dropped.isEmpty && lines.count == 0 }

    package struct Drop: Sendable {
        /// In lower case.
        package var name: Text
        /// A peer that is trusted may bring it along.
        package var isClaim: Bool

        package init(_ name: String, isClaim: Bool = false) {
            self.name = Text(name)
            self.isClaim = isClaim
        }
    }
}

/// A cluster as one worker sees it.
package struct ClusterPlan: Sendable {
    package var name: Text
    /// Made here, since the tables of hash policies take milliseconds; workers begin apart.
    package var balancer: Balancer
    /// What hash policies go by; `nil` draws by weight.
    package var hashOn: HashSource?
    /// Shared by all workers and all generations.
    package var governor: ClusterGovernor
    /// A route that leads here retries or hedges.
    package var hasRetries: Bool
    /// One of them does so in shadow mode.
    package var hasRetriesInShadow = false
    /// What ceilings or concurrency in shadow mode would refuse requests with; `nil` where neither
    /// is one.
    package var shadowRefusal: Refusal?
    package var endpoints: [EndpointPlan]
    package var connectTimeout: Interval
    package var idleTimeout: Interval
    package var maxIdle: Int
    package var hostHeader: HostHeader
    /// What connections to its endpoints speak TLS with; `nil` where they do not.
    package var tls: TLSClient?
    /// Endpoints speak HTTP/2.
    package var isH2 = false
    /// Requests go where their client's connection was going: the one endpoint stands for all.
    package var goesOn = false
    /// The header that tells endpoints who the client is; `nil` where none does.
    package var proxyProtocol: ProxyHeader.Version?
    package var counters: ClusterCounters

    package init(
        name: Text, balancer: Balancer, hashOn: HashSource?,
        governor: ClusterGovernor, hasRetries: Bool, endpoints: [EndpointPlan],
        connectTimeout: Interval, idleTimeout: Interval, maxIdle: Int, hostHeader: HostHeader,
        counters: ClusterCounters
    ) {
        self.name = name
        self.balancer = balancer
        self.hashOn = hashOn
        self.governor = governor
        self.hasRetries = hasRetries
        self.endpoints = endpoints
        self.connectTimeout = connectTimeout
        self.idleTimeout = idleTimeout
        self.maxIdle = maxIdle
        self.hostHeader = hostHeader
        self.counters = counters
    }

    package enum HostHeader: Sendable {
        case preserve
        /// The same text for every endpoint: a literal, or the name that discovery resolved.
        case fixed(Text)
        case endpoint
    }
}

/// One address of a cluster.
package struct EndpointPlan: Sendable {
    package var address: SocketAddress
    package var weight: Int
    /// Shared by all workers and all generations.
    package var state: EndpointState

    package init(address: SocketAddress, weight: Int, state: EndpointState) {
        self.address = address
        self.weight = weight
        self.state = state
    }
}
