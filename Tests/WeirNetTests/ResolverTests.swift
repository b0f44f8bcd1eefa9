// Names against a scripted name server.

import Testing
import WeirNet
import WeirTime

/// A loop, a server and a resolver that asks it.
private final class Setting {
    let loop: EventLoop
    let server: NameServer
    let resolver: Resolver

    init(attempts: Int32 = 2, attemptTimeout: Interval = .seconds(5)) throws {
        loop = try EventLoop()
        server = try NameServer()
        var settings = Resolver.Settings(servers: server.servers)
        settings.attempts = attempts
        settings.attemptTimeout = attemptTimeout
        resolver = try Resolver(loop: loop, settings: settings)
    }

    deinit {
        resolver.shutdown()
        server.stop()
        loop.settle()
    }

    func resolve(_ name: String) -> Result<ResolvedName, ResolveFailure>? {
        var answer: Result<ResolvedName, ResolveFailure>?
        resolver.resolve(name, port: 80) { answer = $0 }
        _ = loop.turn { answer != nil }
        return answer
    }
}

private func addresses(_ texts: String...) -> [SocketAddress] {
    texts.compactMap { IPAddress($0).map { .ip($0, port: 80) } }
}

@Suite struct `A resolver` {
    @Test func `gives A and AAAA records together, sorted and without repetitions`() throws {
        let setting = try Setting()
        setting.server.set(
            "app.test", .a,
            .records([.a(10, 0, 0, 2), .a(10, 0, 0, 1), .a(10, 0, 0, 2, life: 7)]))
        setting.server.set("app.test", .aaaa, .records([.aaaa(lastByte: 1, life: 9)]))
        let expected = ResolvedName(
            addresses: addresses("10.0.0.1", "10.0.0.2", "2001:db8::1"),
            timeToLive: .seconds(7))
        #expect(setting.resolve("app.test") == .success(expected))
    }

    @Test func `does with one family when the other has no records`() throws {
        let setting = try Setting()
        setting.server.set("six.test", .a, .records([]))
        setting.server.set("six.test", .aaaa, .records([.aaaa(lastByte: 6)]))
        let found = try setting.resolve("six.test")?.get()
        #expect(found?.addresses == addresses("2001:db8::6"))
    }

    @Test(arguments: [(0, 1), (1, 1), (90, 90), (3600, 3600), (86_400, 3600)] as [(UInt32, Int64)])
    func `keeps the time to live within bounds`(life: UInt32, seconds: Int64) throws {
        let setting = try Setting()
        setting.server.set("app.test", .a, .records([.a(10, 0, 0, 1, life: life)]))
        setting.server.set("app.test", .aaaa, .records([]))
        #expect(try setting.resolve("app.test")?.get().timeToLive == .seconds(seconds))
    }

    @Test func `sees that records have changed`() throws {
        let setting = try Setting()
        setting.server.set("app.test", .aaaa, .records([]))
        setting.server.set("app.test", .a, .records([.a(10, 0, 0, 1, life: 30)]))
        #expect(try setting.resolve("app.test")?.get().timeToLive == .seconds(30))
        setting.server.set("app.test", .a, .records([.a(10, 0, 0, 9, life: 5)]))
        let second = try setting.resolve("app.test")?.get()
        #expect(second?.timeToLive == .seconds(5))
        #expect(second?.addresses == addresses("10.0.0.9"))
    }

    @Test func `says why there are no addresses`() throws {
        let setting = try Setting()
        #expect(setting.resolve("missing.test") == .failure(.nameMissing))
        setting.server.set("empty.test", .a, .records([]))
        setting.server.set("empty.test", .aaaa, .records([]))
        #expect(setting.resolve("empty.test") == .failure(.addressesMissing))
        setting.server.set("broken.test", .a, .error(code: 2))
        setting.server.set("broken.test", .aaaa, .error(code: 2))
        #expect(setting.resolve("broken.test") == .failure(.serverFailed))
        #expect(ResolveFailure.nameMissing.description == "the name does not exist")
    }

    @Test func `gives up a silent server after its attempts`() throws {
        let setting = try Setting(attempts: 2, attemptTimeout: .milliseconds(20))
        setting.server.set("silent.test", .a, .silence)
        setting.server.set("silent.test", .aaaa, .silence)
        #expect(setting.resolve("silent.test") == .failure(.timedOut))
        #expect(setting.server.timesAsked("silent.test", .a) == 2)
        #expect(setting.loop.timers.deadlineIsNear(setting.loop.now) == false)
    }

    @Test(arguments: ["", "a b", "a\0b", "ä.test", String(repeating: "a", count: 300)])
    func `refuses what is no host name`(name: String) throws {
        let setting = try Setting()
        #expect(setting.resolve(name) == .failure(.nameInvalid))
    }

    @Test func `takes addresses for what they are`() throws {
        let setting = try Setting()
        #expect(try setting.resolve("192.0.2.7")?.get().addresses == addresses("192.0.2.7"))
        #expect(try setting.resolve("2001:db8::7")?.get().addresses == addresses("2001:db8::7"))
    }

    @Test func `reads the hosts file`() throws {
        let setting = try Setting()
        let found = try setting.resolve("localhost")?.get().addresses
        #expect(found?.contains(addresses("127.0.0.1")[0]) == true)
        #expect(setting.server.timesAsked("localhost", .a) == 0)
    }

    @Test func `answers in a later turn even what it knows at once`() throws {
        let setting = try Setting()
        var answers = 0
        setting.resolver.resolve("192.0.2.7", port: 1) { _ in answers += 1 }
        #expect(answers == 0)
        setting.loop.turn(maxWait: .zero)
        #expect(answers == 1)
    }

    @Test func `answers many questions at once, each with its own`() throws {
        let setting = try Setting()
        for index in 0..<100 {
            let last = UInt8(index)
            setting.server.set("h\(index).test", .a, .records([.a(10, 0, 0, last)]))
            setting.server.set("h\(index).test", .aaaa, .records([]))
        }
        var answers: [Int: [SocketAddress]] = [:]
        for index in 0..<100 {
            setting.resolver.resolve("h\(index).test", port: 80) {
                answers[index] = (try? $0.get().addresses) ?? []
            }
        }
        #expect(setting.loop.turn { answers.count == 100 })
        for index in 0..<100 { #expect(answers[index] == addresses("10.0.0.\(index)")) }
    }

    @Test func `answers nothing after its end, and lets go of who asked`() throws {
        let loop = try EventLoop()
        let server = try NameServer()
        server.set("silent.test", .a, .silence)
        server.set("silent.test", .aaaa, .silence)
        let resolver = try Resolver(loop: loop, servers: server.servers)
        weak var asker: Asker?
        do {
            let held = Asker()
            asker = held
            resolver.resolve("silent.test", port: 80) { _ in held.answers += 1 }
            resolver.resolve("192.0.2.1", port: 80) { _ in held.answers += 1 }
            resolver.shutdown()
            loop.settle()
            #expect(held.answers == 0)
        }
        #expect(asker == nil)
        server.stop()
    }

    @Test func `refuses servers that are not addresses`() throws {
        let loop = try EventLoop()
        #expect(throws: SystemError.self) { _ = try Resolver(loop: loop, servers: "no address") }
    }
}

private final class Asker { var answers = 0 }

extension TimerWheel {
    /// A timer may fire within a minute.
    fileprivate func deadlineIsNear(_ now: Instant) -> Bool {
        popExpired(now: now + .seconds(60)) != nil
    }
}

@Suite struct `A name watch` {
    @Test func `tells news and nothing else`() throws {
        let setting = try Setting()
        setting.server.set("app.test", .aaaa, .records([]))
        setting.server.set("app.test", .a, .records([.a(10, 0, 0, 2), .a(10, 0, 0, 1)]))
        var news: [NameSchedule.News] = []
        let watch = NameWatch(
            loop: setting.loop, resolver: setting.resolver, name: "app.test", port: 80,
            every: .milliseconds(1), chance: Chance(seed: 1)
        ) { news.append($0) }
        #expect(setting.loop.turn { setting.server.timesAsked("app.test", .a) >= 3 })
        #expect(news == [.addresses(addresses("10.0.0.1", "10.0.0.2"))])

        setting.server.set("app.test", .a, .records([.a(10, 0, 0, 3)]))
        #expect(setting.loop.turn { news.count == 2 })
        #expect(news.last == .addresses(addresses("10.0.0.3")))

        setting.server.set("app.test", .a, .error(code: 3))
        setting.server.set("app.test", .aaaa, .error(code: 3))
        #expect(setting.loop.turn { news.count == 3 })
        #expect(news.last == .failed(.nameMissing))
        #expect(watch.failure == .nameMissing)
        #expect(watch.addresses == addresses("10.0.0.3"))

        watch.stop()
        let asked = setting.server.timesAsked("app.test", .a)
        setting.loop.settle()
        #expect(setting.server.timesAsked("app.test", .a) == asked)
    }
}
