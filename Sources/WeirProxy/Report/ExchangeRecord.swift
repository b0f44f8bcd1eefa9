// What is remembered of an exchange for its line in the log.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

/// Times, sizes and causes of one exchange.
struct ExchangeRecord {
    var status = 0
    var endedBy = EndedBy.none
    private(set) var refusal: Refusal?
    private(set) var attempts = 0
    /// Why the last failure was not followed by another attempt, where the route retries.
    var retryRefusal: RetryRefusal?
    /// Why a retry that was made would not have been, by a policy in shadow mode.
    var wouldNotRetry: RetryRefusal?
    /// The last attempt that a policy in shadow mode would have made.
    var wouldAttempt: ShadowAttempt?
    /// The tenant's key in the request's head; empty where it is the client's address, or unknown.
    var tenant = Stretch.empty
    var isTenantAddress = false
    /// The rate limit that has refused the request.
    var rule: Text?
    /// What policies in shadow mode would have refused the request for, by the codes' numbers.
    private(set) var shadows: UInt32 = 0
    var requestBodyBytes: Int64 = 0
    var responseBodyBytes: Int64 = 0
    var isTunnel = false
    var call = Call.none
    /// The tunnel's end is nobody's word.
    var isCutOff = false
    /// The client's word on where the request came from is believed.
    private(set) var isPeerTrusted = false

    /// What is known of a call of gRPC that has an answer.
    enum Call {
        case none
        /// The answer's end will say what it came to; its head may say how long it is.
        case open(isBounded: Bool)
        case ended(GRPCStatus)
    }

    fileprivate var startedAt = Instant.distantPast
    /// When the head was complete.
    fileprivate(set) var headAt = Instant.distantPast
    fileprivate(set) var attemptAt = Instant.distantPast
    fileprivate var connectedAt = Instant.distantPast
    fileprivate var firstByteAt = Instant.distantPast
    fileprivate var sentAtStart: UInt64 = 0

    mutating func begin(
        startedAt: Instant, now: Instant, _ downstream: Downstream,
        on connection: DownstreamConnection
    ) {
        self.startedAt = startedAt
        headAt = now
        sentAtStart = downstream.bytesSent
        isPeerTrusted = connection.listener.settings.trusts(connection.peer)
    }

    mutating func attemptBegins(_ now: Instant) {
        attempts += 1
        attemptAt = now
    }

    /// A second attempt has begun beside the first.
    mutating func hedged() { attempts += 1 }

    mutating func connected(_ now: Instant) { connectedAt = now }

    mutating func firstByte(_ now: Instant) { firstByteAt = now }

    mutating func refuse(_ refusal: Refusal) {
        self.refusal = refusal
        if endedBy == .none {
            switch refusal {
            case .badRequest, .headTooLarge, .bodyTooLarge, .clientTooSlow, .clientGone,
                .notImplemented:
                endedBy = .client
            default: endedBy = .weir
            }
        }
    }

    /// A policy in shadow mode would have refused the request.
    mutating func wouldRefuse(_ refusal: Refusal) { shadows |= 1 << UInt32(refusal.rawValue) }

    fileprivate var timers: ExchangeTimers {
        var timers = ExchangeTimers()
        timers.requestRead = Self.nanoseconds(startedAt, headAt)
        timers.queue = Self.nanoseconds(headAt, attemptAt)
        timers.connect = Self.nanoseconds(attemptAt, connectedAt)
        timers.firstByte = Self.nanoseconds(connectedAt, firstByteAt)
        return timers
    }

    private static func nanoseconds(_ from: Instant, _ to: Instant) -> Int64 {
        to == .distantPast ? -1 : (to - from).nanoseconds
    }
}

/// Counts an exchange and writes its line.
enum ExchangeReport {
    static func write(_ exchange: Exchange, phase: Exchange.Phase) {
        exchange.under?.use { write(exchange, $0, phase) }
    }

    private static func write(
        _ exchange: Exchange, _ snapshot: Snapshot, _ phase: Exchange.Phase
    ) {
        let duration = (exchange.proxy.loop.now - exchange.record.startedAt).nanoseconds
        let refusal = exchange.record.refusal
        let shadows = exchange.record.shadows
        if let matched = exchange.matched {
            matched.use {
                count(exchange.record.status, refusal, shadows, duration, in: $0.counters)
            }
        } else {
            count(exchange.record.status, refusal, shadows, duration, in: snapshot.plan.unrouted)
        }
        if snapshot.plan.log == nil { return }
        if refusal == nil, exchange.proxy.chance.next() >> 32 >= snapshot.plan.logSample { return }
        log(exchange, snapshot, phase, duration: duration)
    }

    private static func count(
        _ status: Int, _ refusal: Refusal?, _ shadows: UInt32, _ duration: Int64,
        in counters: RouteCounters
    ) {
        counters.count(status: status, durationNanoseconds: duration)
        if let refusal { counters.countRefusal(Int(refusal.rawValue)) }
        var rest = shadows
        while rest != 0 {
            counters.countShadow(rest.trailingZeroBitCount)
            rest &= rest - 1
        }
    }

    private static func log(
        _ exchange: Exchange, _ snapshot: Snapshot, _ phase: Exchange.Phase, duration: Int64
    ) {
        guard let log = snapshot.plan.log, let downstream = exchange.downstream,
            let client = exchange.client
        else { return }
        let loop = exchange.proxy.loop
        let record = exchange.record
        var line = AccessRecord()
        let message = exchange.message.bytes
        line.requestID = exchange.message.requestID
        line.method = message[exchange.head.methodName]
        line.host = message[exchange.head.authority]
        line.target = message[exchange.head.target]
        line.userAgent = exchange.userAgent
        if let route = exchange.route { line.route = route.name.bytes }
        if let cluster = exchange.cluster { line.cluster = cluster.plan.name.bytes }
        if let pool = exchange.pool { line.endpoint = pool.name.bytes }
        line.unixNanoseconds = loop.wallClock.unixNanoseconds(record.startedAt)
        line.version =
            downstream.isH2 ? .http2 : exchange.head.minorVersion == 0 ? .http10 : .http11
        line.tls = client.use { $0.tls?.version.name }
        line.status = record.status
        line.attempts = record.attempts
        line.bytesReceived = Int64(exchange.head.length) + record.requestBodyBytes
        line.bytesSent = Int64(clamping: downstream.bytesSent &- record.sentAtStart)
        line.generation = snapshot.plan.generation
        line.timers = record.timers
        line.timers.total = duration
        line.endedBy = record.endedBy
        line.phase = phase.name
        line.reason = record.refusal?.code
        line.tenant = message[record.tenant]
        if case .ended(let status) = record.call { line.grpcStatus = status.name }
        line.noRetry = record.retryRefusal?.code
        line.wouldAttempt = record.wouldAttempt?.code
        line.wouldNotRetry = record.wouldNotRetry?.code
        if let rule = record.rule { line.rule = rule.bytes }
        let classes = snapshot.plan.common.priorities.names
        let place = Int(exchange.ticket.priority)
        if place < classes.count { line.priority = classes[place].bytes }
        if record.shadows != 0 {
            line.wouldRefuse =
                Refusal(rawValue: UInt8(record.shadows.trailingZeroBitCount))?.code
        }
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 1) { memory in
            var out = ByteWriter(memory)
            exchange.writeClientAddress(&out)
            let client = out.count
            line.client = UnsafeRawBufferPointer(start: memory.baseAddress, count: client)
            if let address = exchange.tenantAddress {
                out.append(address)
                line.tenant = UnsafeRawBufferPointer(
                    rebasing: UnsafeRawBufferPointer(memory)[client..<out.count])
            }
            if !log.append(line) { exchange.proxy.counters.add(.logLinesDropped) }
        }
    }
}

extension Exchange {
    /// The client's address as text, without its port; `unix` for a local socket.
    func writeClientAddress(_ out: inout ByteWriter) {
        guard let address = client?.use({ $0.peerAddress }) else { return out.append("unix") }
        out.append(address)
    }

    fileprivate var userAgent: UnsafeRawBufferPointer {
        for index in 0..<head.fields.count where head.fields[index].known == .userAgent {
            return message.bytes[valueOf: head.fields[index]]
        }
        return AccessRecord.nothing
    }
}

extension ByteWriter {
    /// Appends an address as text.
    @inline(__always)
    fileprivate mutating func append(_ address: IPAddress) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 46) { buffer in
            guard let base = buffer.baseAddress else { return }
            append(UnsafeRawPointer(base), count: address.format(into: base))
        }
    }
}

extension Exchange.Phase {
    /// The phase as the log spells it.
    var name: StaticString {
        switch self {
        case .accept: "accept"
        case .decode: "decode"
        case .findRoute: "find_route"
        case .govern: "govern"
        case .pickEndpoint: "pick_endpoint"
        case .pool: "pool"
        case .relay: "relay"
        case .report: "report"
        }
    }
}
