// Names to addresses, asynchronously: c-ares does the asking, the loop tells it when to.

import CCares
import CWeir
import Glibc
package import WeirTime

/// What a name resolved to.
package struct ResolvedName: Equatable, Sendable {
    /// Sorted, without repetitions, never empty.
    package var addresses: [SocketAddress]
    /// How long the answer may be used: the least of its records, within 1 s...1 h.
    package var timeToLive: Interval

    package init(addresses: [SocketAddress], timeToLive: Interval) {
        self.addresses = addresses
        self.timeToLive = timeToLive
    }
}

/// Why a name has no addresses.
package enum ResolveFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The name does not exist (NXDOMAIN).
    case nameMissing
    /// The name exists, but has neither A nor AAAA records.
    case addressesMissing
    case nameInvalid
    /// No server answered in time.
    case timedOut
    /// No server could be reached, or each answered that it cannot or will not tell; c-ares does
    /// not say which.
    case serverFailed
    /// Another status of c-ares.
    case other(code: Int32)

    init(status: Int32) {
        switch status {
        case ARES_ENOTFOUND, ARES_ENONAME: self = .nameMissing
        case ARES_ENODATA: self = .addressesMissing
        case ARES_EBADNAME: self = .nameInvalid
        case ARES_ETIMEOUT: self = .timedOut
        case ARES_ECONNREFUSED, ARES_ESERVFAIL, ARES_EREFUSED, ARES_EFORMERR, ARES_ENOTIMP:
            self = .serverFailed
        default: self = .other(code: status)
        }
    }

    package var description: String {
        switch self {
        case .nameMissing: "the name does not exist"
        case .addressesMissing: "the name has no addresses"
        case .nameInvalid: "the name is not a valid host name"
        case .timedOut: "no name server answered in time"
        case .serverFailed: "every name server failed, refused or was unreachable"
        case .other(let code): String(cString: ares_strerror(code))
        }
    }
}

/// Resolves names for one loop.
///
/// The sockets of c-ares are watched by an epoll instance of their own, level-triggered, whose
/// descriptor the loop watches: so c-ares may open and close them without the loop's keeping track.
/// The loop holds the resolver until `shutdown`.
package final class Resolver: EventSource {
    /// How patient a resolver is. A name with A and AAAA records asks both at once.
    package struct Settings: Equatable, Sendable {
        /// Servers as `address:port`, comma-separated; `nil` is what the system is set up with.
        package var servers: String?
        /// The first attempt's time; each further round of attempts has twice that.
        package var attemptTimeout = Interval.seconds(2)
        /// Attempts at each server.
        package var attempts: Int32 = 2

        package init(servers: String? = nil) { self.servers = servers }
    }

    /// A question, kept alive by c-ares until it has called back.
    private final class Question {
        let resolver: Resolver
        let port: UInt16
        let done: (Result<ResolvedName, ResolveFailure>) -> Void

        init(
            resolver: Resolver, port: UInt16,
            done: @escaping (Result<ResolvedName, ResolveFailure>) -> Void
        ) {
            self.resolver = resolver
            self.port = port
            self.done = done
        }
    }

    // Rule: made once in the process, before any channel; a static is initialised exactly once.
    private static let libraryStatus = ares_library_init(ARES_LIB_INIT_ALL)
    private static let batch = 16

    private let loop: EventLoop
    private var channel: ares_channel?
    private var timer = TimerID.none
    private var answers: [(Question, Result<ResolvedName, ResolveFailure>)] = []

    package init(loop: EventLoop, settings: Settings) throws(SystemError) {
        self.loop = loop
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw .last("epoll_create1") }
        super.init(fd: epoll)
        guard Self.libraryStatus == ARES_SUCCESS, openChannel(settings) == ARES_SUCCESS else {
            closeChannel()
            throw SystemError(call: "ares_init_options", code: ENOMEM)
        }
        if let servers = settings.servers,
            ares_set_servers_ports_csv(channel, servers) != ARES_SUCCESS
        {
            closeChannel()
            throw SystemError(call: "ares_set_servers", code: EINVAL)
        }
        try loop.addForReading(self)
        timer = loop.timers.add(self)
    }

    /// Asks the system's name servers, or those in `servers` (`127.0.0.1:5353`).
    package convenience init(loop: EventLoop, servers: String? = nil) throws(SystemError) {
        try self.init(loop: loop, settings: Settings(servers: servers))
    }

    deinit { closeChannel() }

    /// Looks up a name, first in the hosts file; `done` is called in a later turn of the loop.
    package func resolve(
        _ name: String, port: UInt16,
        _ done: @escaping (Result<ResolvedName, ResolveFailure>) -> Void
    ) {
        guard let channel else { return }
        let question = Question(resolver: self, port: port, done: done)
        if let address = IPAddress(name) {
            let itself = ResolvedName(
                addresses: [.ip(address, port: port)], timeToLive: Self.longestLife)
            return finish(question, .success(itself))
        }
        guard Self.isHostName(name) else { return finish(question, .failure(.nameInvalid)) }
        var hints = ares_addrinfo_hints()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = ARES_AI_NOSORT
        let context = Unmanaged.passRetained(question).toOpaque()
        ares_getaddrinfo(
            channel, name, nil, &hints,
            { context, status, _, list in
                guard let context else { return }
                let question = Unmanaged<Question>.fromOpaque(context).takeRetainedValue()
                let answer = Resolver.read(list, status: status, port: question.port)
                if let list { ares_freeaddrinfo(list) }
                question.resolver.finish(question, answer)
            }, context)
        armTimer()
    }

    /// Ends the resolver. Names still being looked up are not answered.
    package func shutdown() {
        closeChannel()
        answers.removeAll()
        loop.timers.remove(timer)
        timer = .none
        loop.remove(self)
    }

    // Answers wait for the next turn: c-ares calls back from within `resolve` when it knows the
    // answer from the hosts file, and who asks should see one order of events only.
    private func finish(_ question: Question, _ answer: Result<ResolvedName, ResolveFailure>) {
        guard channel != nil else { return }
        answers.append((question, answer))
        loop.defer(self)
    }

    package override func resume() {
        let finished = answers
        answers.removeAll(keepingCapacity: true)
        for (question, answer) in finished { question.done(answer) }
    }

    package override func ready(_ events: Events) {
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.batch) { list in
            let count = epoll_wait(fd, list.baseAddress, Int32(Self.batch), 0)
            for event in list.prefix(Int(max(0, count))) {
                let isReadable = event.events & ~EPOLLOUT.rawValue != 0
                let isWritable = event.events & EPOLLOUT.rawValue != 0
                guard let channel else { return }
                ares_process_fd(
                    channel, isReadable ? event.data.fd : Self.noSocket,
                    isWritable ? event.data.fd : Self.noSocket)
            }
        }
        armTimer()
    }

    package override func timerFired() {
        guard let channel else { return }
        ares_process_fd(channel, Self.noSocket, Self.noSocket)
        armTimer()
    }

    private func armTimer() {
        var wait = timeval()
        guard let channel, ares_timeout(channel, nil, &wait) != nil else {
            return loop.timers.disarm(timer)
        }
        let interval =
            Interval.seconds(Int64(wait.tv_sec)) + .microseconds(Int64(wait.tv_usec) + 1000)
        loop.timers.arm(timer, at: loop.now + interval)
    }
}

// MARK: The channel

extension Resolver {
    private static let noSocket: ares_socket_t = -1

    private func openChannel(_ settings: Settings) -> Int32 {
        var options = ares_options()
        options.timeout = Int32(clamping: max(1, settings.attemptTimeout.millisecondsRoundedUp))
        options.tries = max(1, settings.attempts)
        options.sock_state_cb = { context, socket, isReading, isWriting in
            guard let context else { return }
            Unmanaged<Resolver>.fromOpaque(context).takeUnretainedValue()
                .watch(socket, isReading: isReading != 0, isWriting: isWriting != 0)
        }
        options.sock_state_cb_data = Unmanaged.passUnretained(self).toOpaque()
        return ares_init_options(
            &channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB)
    }

    private func closeChannel() {
        guard let open = channel else { return }
        // Cleared first: c-ares now fails every question that is still open.
        channel = nil
        ares_destroy(open)
    }

    private func watch(_ socket: ares_socket_t, isReading: Bool, isWriting: Bool) {
        var event = epoll_event()
        event.data.fd = socket
        if isReading { event.events |= EPOLLIN.rawValue }
        if isWriting { event.events |= EPOLLOUT.rawValue }
        guard event.events != 0 else {
            _ = epoll_ctl(fd, EPOLL_CTL_DEL, socket, &event)
            return
        }
        if epoll_ctl(fd, EPOLL_CTL_MOD, socket, &event) != 0 {
            _ = epoll_ctl(fd, EPOLL_CTL_ADD, socket, &event)
        }
    }
}

// MARK: Reading answers

extension Resolver {
    private static let shortestLife = Interval.seconds(1)
    private static let longestLife = Interval.seconds(3600)

    private static func isHostName(_ name: String) -> Bool {
        let bytes = name.utf8
        return !bytes.isEmpty && bytes.count <= 254 && bytes.allSatisfy { $0 > 32 && $0 < 127 }
    }

    private static func read(
        _ list: UnsafeMutablePointer<ares_addrinfo>?, status: Int32, port: UInt16
    ) -> Result<ResolvedName, ResolveFailure> {
        guard status == ARES_SUCCESS, let list else {
            return .failure(ResolveFailure(status: status))
        }
        var life = longestLife
        var found: Set<IPAddress> = []
        var node = list.pointee.nodes
        while let current = node {
            let entry = current.pointee
            node = entry.ai_next
            guard let address = address(of: entry) else { continue }
            found.insert(address)
            life = min(life, .seconds(Int64(entry.ai_ttl)))
        }
        var alias = list.pointee.cnames
        while let current = alias {
            life = min(life, .seconds(Int64(current.pointee.ttl)))
            alias = current.pointee.next
        }
        guard !found.isEmpty else { return .failure(.addressesMissing) }
        let sorted = found.sorted { ($0.high, $0.low) < ($1.high, $1.low) }
        return .success(
            ResolvedName(
                addresses: sorted.map { .ip($0, port: port) },
                timeToLive: max(life, shortestLife)))
    }

    private static func address(of entry: ares_addrinfo_node) -> IPAddress? {
        guard let pointer = UnsafeRawPointer(entry.ai_addr) else { return nil }
        switch entry.ai_family {
        case AF_INET:
            let v4 = pointer.loadUnaligned(as: sockaddr_in.self)
            return IPAddress(v4: UInt32(bigEndian: v4.sin_addr.s_addr))
        case AF_INET6:
            return IPAddress(pointer.loadUnaligned(as: sockaddr_in6.self).sin6_addr)
        default:
            return nil
        }
    }
}
