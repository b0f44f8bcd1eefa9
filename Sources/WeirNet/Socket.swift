// The socket calls that weir makes, each returning a value or the error that names the call.

import CWeir
package import Glibc

/// What a read or a write on a non-blocking descriptor came to.
package enum Transfer {
    /// This many bytes moved; more than zero.
    case bytes(Int)
    /// Nothing now; readiness will be reported.
    case wouldBlock
    /// The peer has closed its sending side (reads only).
    case endOfStream
    case failed(SystemError)
}

/// Socket calls on raw descriptors. Descriptors made here are non-blocking and close-on-exec.
package enum Socket {
    /// Opens a listening socket.
    ///
    /// The kernel lets several sockets share a port with `SO_REUSEPORT`, which would hide a stale
    /// instance that still takes half of the connections: so `exclusively` first checks that
    /// nobody listens there.
    package static func listen(
        on address: SocketAddress, exclusively: Bool, backlog: Int32 = 4096
    ) throws(SystemError) -> Int32 {
        if exclusively, case .ip = address {
            let probe = try bind(to: address, sharing: false)
            // Bound is not enough: two sockets may be bound, only one may listen.
            let result = Glibc.listen(probe, 1)
            let error = SystemError.last("listen")
            _ = close(probe)
            if result != 0 { throw error }
        }
        let fd = try bind(to: address, sharing: true)
        guard Glibc.listen(fd, backlog) == 0 else {
            let error = SystemError.last("listen")
            _ = close(fd)
            throw error
        }
        return fd
    }

    /// Removes the file of a unix socket that a process left behind; fails when somebody still
    /// answers there.
    package static func removeStale(_ path: String) throws(SystemError) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return }
        do {
            _ = close(try connect(to: .unix(path: path)))
        } catch {
            // EAGAIN is a listener whose queue is full: alive.
            if error.code == ECONNREFUSED { _ = unlink(path) }
            return
        }
        throw SystemError(call: "bind", code: EADDRINUSE)
    }

    /// Another descriptor for an open socket.
    package static func duplicate(_ fd: Int32) throws(SystemError) -> Int32 {
        let copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw .last("fcntl") }
        return copy
    }

    private static func bind(
        to address: SocketAddress, sharing: Bool
    ) throws(SystemError) -> Int32 {
        let fd = try make(family: address.family)
        switch address {
        case .ip(let ip, _):
            setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
            if sharing { setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1) }
            if !ip.isV4 { setOption(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
        case .unix:
            break
        }
        let result = address.withSockAddr { Glibc.bind(fd, $0, $1) }
        guard result == 0 else {
            let error = SystemError.last("bind")
            _ = close(fd)
            throw error
        }
        return fd
    }

    private static func make(family: Int32) throws(SystemError) -> Int32 {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let fd = socket(family, type, 0)
        guard fd >= 0 else { throw .last("socket") }
        return fd
    }

    /// Takes one connection from a listener; `nil` when none waits.
    package static func accept(
        _ listener: Int32
    ) throws(SystemError) -> (fd: Int32, peer: SocketAddress)? {
        var storage = sockaddr_storage()
        while true {
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let fd = cweir_accept(listener, &storage, &length)
            if fd >= 0 { return (fd, SocketAddress(storage)) }
            let error = SystemError.last("accept")
            switch error.code {
            case EAGAIN: return nil
            // The client gave up between the handshake and now: take the next.
            case EINTR, ECONNABORTED, EPROTO, EPERM: continue
            default: throw error
            }
        }
    }

    /// Starts connecting; the descriptor becomes writable when it is connected or has failed.
    package static func connect(to address: SocketAddress) throws(SystemError) -> Int32 {
        let fd = try make(family: address.family)
        if case .ip = address { setNoDelay(fd) }
        let result = address.withSockAddr { Glibc.connect(fd, $0, $1) }
        if result == 0 { return fd }
        let error = SystemError.last("connect")
        if error.code == EINPROGRESS || error.code == EINTR { return fd }
        _ = close(fd)
        throw error
    }

    /// The pending error of a socket, which tells whether a started connect has worked.
    package static func pendingError(_ fd: Int32) -> SystemError? {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else {
            return .last("getsockopt")
        }
        return code == 0 ? nil : SystemError(call: "connect", code: code)
    }

    /// The address that a listening socket is bound to (its port, when 0 was asked for).
    package static func localAddress(_ fd: Int32) -> SocketAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(fd, $0, &length) }
        }
        return result == 0 ? SocketAddress(storage) : nil
    }

    /// Sends small segments at once.
    package static func setNoDelay(_ fd: Int32) {
        setOption(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// Closes with a reset, so that a refused peer does not hold the port.
    package static func setLingerZero(_ fd: Int32) {
        var value = linger(l_onoff: 1, l_linger: 0)
        _ = setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    }

    /// Ends the sending side; the peer reads an end of stream.
    package static func shutdownSending(_ fd: Int32) { _ = shutdown(fd, Int32(SHUT_WR)) }

    private static func setOption(_ fd: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
        var value = value
        _ = setsockopt(fd, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Reads what is there, up to `count` bytes.
    package static func receive(
        _ fd: Int32, into buffer: UnsafeMutableRawPointer, count: Int
    ) -> Transfer {
        while true {
            let n = cweir_receive(fd, buffer, count)
            if n > 0 { return .bytes(n) }
            if n == 0 { return .endOfStream }
            let error = SystemError.last("recv")
            if error.code == EAGAIN { return .wouldBlock }
            if error.code != EINTR { return .failed(error) }
        }
    }

    /// There is nothing to read, not even an end of stream.
    package static func isSilent(_ fd: Int32) -> Bool {
        var byte: UInt8 = 0
        return recv(fd, &byte, 1, Int32(MSG_PEEK)) < 0 && cweir_errno() == EAGAIN
    }

    /// Nothing more comes: the peer has ended its side, and all that it sent has been read.
    package static func isAtEnd(_ fd: Int32) -> Bool {
        var byte: UInt8 = 0
        return recv(fd, &byte, 1, Int32(MSG_PEEK)) == 0
    }

    /// Sends as much as the socket takes.
    package static func send(_ fd: Int32, _ buffer: UnsafeRawPointer, count: Int) -> Transfer {
        while true {
            let n = cweir_send(fd, buffer, count)
            if n >= 0 { return .bytes(n) }
            let error = SystemError.last("send")
            if error.code == EAGAIN { return .wouldBlock }
            if error.code != EINTR { return .failed(error) }
        }
    }

    /// Sends several pieces with one call. The process ignores SIGPIPE.
    package static func send(
        _ fd: Int32, pieces: UnsafePointer<iovec>, count: Int
    ) -> Transfer {
        while true {
            let n = cweir_writev(fd, pieces, Int32(count))
            if n >= 0 { return .bytes(n) }
            let error = SystemError.last("writev")
            if error.code == EAGAIN { return .wouldBlock }
            if error.code != EINTR { return .failed(error) }
        }
    }
}
