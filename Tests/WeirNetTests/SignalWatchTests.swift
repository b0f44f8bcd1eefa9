// Signals arrive as calls from the loop.

import Glibc
import Testing
import WeirNet
import WeirTime

@Suite struct `A signal watch` {
    @Test func `tells each signal's number`() throws {
        var before = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        SignalWatch.block()
        let loop = try EventLoop()
        var received: [Int32] = []
        let watch = try SignalWatch(loop: loop) { received.append($0) }
        // Sent to this thread alone, which is also the one that reads: other tests' threads do not
        // block these signals, and would die of them.
        for signal in SignalWatch.signals { pthread_kill(pthread_self(), signal) }
        #expect(loop.turn { received.count == 4 })
        #expect(Set(received) == [SIGHUP, SIGTERM, SIGINT, SIGUSR1])
        pthread_kill(pthread_self(), SIGUSR1)
        #expect(loop.turn { received.count == 5 })
        #expect(received.last == SIGUSR1)
        loop.remove(watch)
        loop.turn(maxWait: .zero)
    }

    @Test func `lets a write to a closed pipe fail instead of killing the process`() {
        SignalWatch.block()
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        _ = close(ends[0])
        #expect(write(ends[1], "x", 1) == -1)
        _ = close(ends[1])
    }
}
