// From options to running threads, and the end by signal.

import Glibc
import WeirNet

/// Binds every port, starts the workers and waits for SIGINT or SIGTERM.
func serve(_ options: Options) throws(SystemError) {
    SignalWatch.block()
    let loop = try EventLoop()
    let signals = try SignalWatch(loop: loop) { signal in
        if signal == SIGINT || signal == SIGTERM { loop.stop() }
    }
    defer { loop.remove(signals) }
    var listening: [[Listening]] = Array(repeating: [], count: options.workers)
    for asked in options.ports {
        let first = try Socket.listen(
            on: .ip(options.address, port: asked), exclusively: asked != 0)
        let bound = Socket.localAddress(first) ?? .ip(options.address, port: asked)
        let origin = Origin(
            name: options.name, port: bound.port, workers: options.workers,
            settings: options.settings)
        listening[0].append(Listening(fd: first, origin: origin))
        for worker in 1..<max(1, options.workers) {
            let fd = try Socket.listen(on: bound, exclusively: false)
            listening[worker].append(Listening(fd: fd, origin: origin))
        }
        Console.print("weir-origin: \(options.name) listens on \(bound)")
    }
    for (index, sockets) in listening.enumerated() {
        try startThread(WorkerSeed(number: index, sockets: sockets, seed: options.seed))
    }
    loop.run {}
}

/// A bound socket and whose it is.
struct Listening: Sendable {
    let fd: Int32
    let origin: Origin
}

/// What a worker's thread is given.
final class WorkerSeed: Sendable {
    let number: Int
    let sockets: [Listening]
    let seed: UInt64

    init(number: Int, sockets: [Listening], seed: UInt64) {
        self.number = number
        self.sockets = sockets
        self.seed = seed
    }
}

private func startThread(_ seed: WorkerSeed) throws(SystemError) {
    var thread = pthread_t()
    let context = Unmanaged.passRetained(seed)
    let code = pthread_create(
        &thread, nil,
        { context in
            guard let context else { return nil }
            let seed = Unmanaged<WorkerSeed>.fromOpaque(context).takeRetainedValue()
            do {
                try Worker(seed).run()
            } catch {
                Console.warn("weir-origin: \(error)")
                exit(1)
            }
            return nil
        }, context.toOpaque())
    guard code == 0 else {
        context.release()
        throw SystemError(call: "pthread_create", code: code)
    }
    pthread_detach(thread)
}
