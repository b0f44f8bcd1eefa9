// Active health checks: who is probed when, on the control thread.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirProxy
import WeirTime

/// Probes the endpoints of the clusters that ask for it.
final class HealthChecker {
    private struct Key: Hashable {
        var cluster: String
        var address: SocketAddress
    }

    /// Bytes of buffers that all probes may use at once.
    private static let bufferMemory = 4 << 20

    private let context: StreamContext
    private lazy var workspace = H2Session.Workspace()
    private var chance: Chance
    private var checks: [Key: HealthCheck] = [:]

    init(loop: EventLoop, seed: UInt64) {
        context = StreamContext(loop: loop, pool: BufferPool(limit: Self.bufferMemory))
        chance = Chance(seed: seed)
    }

    /// Probes exactly these from now on. What is known of those that stay is kept.
    func watch(
        _ wanted: [(
            entry: ClusterEntry, settings: HealthCheckSettings, tls: TLSClient?,
            greeting: ProxyHeader.Version?, isH2: Bool
        )]
    ) {
        var kept: Set<Key> = []
        for (entry, settings, tls, greeting, isH2) in wanted {
            for (address, state) in entry.current {
                let key = Key(cluster: entry.name, address: address)
                kept.insert(key)
                if let check = checks[key], check.governor === state.governor {
                    check.settings = settings
                    check.secure(by: tls)
                    check.manner.greeting = greeting
                    check.manner.workspace = isH2 ? workspace : nil
                    continue
                }
                checks[key]?.stop()
                let check = HealthCheck(
                    context: context, address: address,
                    governor: state.governor, settings: settings,
                    chance: Chance(seed: chance.next()))
                check.secure(by: tls)
                check.manner.greeting = greeting
                check.manner.workspace = isH2 ? workspace : nil
                checks[key] = check
            }
        }
        for (key, check) in checks where !kept.contains(key) {
            check.stop()
            checks[key] = nil
        }
    }

    func stop() {
        for check in checks.values { check.stop() }
        checks = [:]
    }
}

/// The checks of one endpoint.
private final class HealthCheck: TimerTarget {
    let governor: EndpointGovernor
    var settings: HealthCheckSettings {
        didSet { if settings.mode != oldValue.mode { tell() } }
    }
    private let context: StreamContext
    private var loop: EventLoop { context.loop }
    var manner = HealthProbe.Manner()
    private let address: SocketAddress
    private var chance: Chance
    private var health = HealthState()
    private var probe: HealthProbe?
    private var timer = TimerID.none

    init(
        context: StreamContext, address: SocketAddress, governor: EndpointGovernor,
        settings: HealthCheckSettings, chance: Chance
    ) {
        self.context = context
        self.address = address
        self.governor = governor
        self.settings = settings
        self.chance = chance
        super.init()
        timer = context.loop.timers.add(self)
        // Spread over an interval: a thousand endpoints are not probed in one moment.
        loop.timers.arm(timer, at: loop.now + self.chance.interval(upTo: settings.interval))
    }

    /// Probes speak TLS by these settings from now on.
    func secure(by client: TLSClient?) {
        guard client != manner.security?.client else { return }
        manner.security = client.map { TLSClientSession($0, address: address.ip) }
    }

    /// Ends the checks; the endpoint counts as healthy from then on.
    func stop() {
        loop.timers.remove(timer)
        timer = .none
        probe?.cancel()
        probe = nil
        governor.setHealthy(true, now: loop.now)
        governor.setHealthyInShadow(true)
    }

    override func timerFired() {
        do {
            probe = try HealthProbe(
                context: context, address: address, settings: settings, manner: manner
            ) { [unowned self] isWell in
                probe = nil
                ended(isWell)
            }
        } catch {
            // Without a descriptor nothing is known about the endpoint.
            if error.isExhaustion { arm() } else { ended(false) }
        }
    }

    private func arm() {
        // A tenth at most earlier or later, so that several weirs do not probe in step.
        let spread = Interval(nanoseconds: settings.interval.nanoseconds / 5)
        let wait = settings.interval - Interval(nanoseconds: spread.nanoseconds / 2)
        loop.timers.arm(timer, at: loop.now + wait + chance.interval(upTo: spread))
    }

    private func ended(_ isWell: Bool) {
        arm()
        if health.record(isSuccess: isWell, settings) != nil { tell() }
    }

    /// Tells the endpoint what is known, where it takes effect and where it is only shown.
    private func tell() {
        let isShadow = settings.mode == .shadow
        governor.setHealthy(health.isHealthy || isShadow, now: loop.now)
        governor.setHealthyInShadow(health.isHealthy || !isShadow)
    }
}
