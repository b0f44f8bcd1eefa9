// Where a connection was going before the kernel's packet filter sent it here.

import Glibc

/// What `iptables -j REDIRECT` has changed, as connection tracking remembers it.
package enum OriginalDestination {
    // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST of the kernel's headers, which Glibc's module lacks.
    private static let option: Int32 = 80

    /// The address and port; `nil` where the connection was made to this very socket, or nothing is
    /// known of it.
    package static func of(_ fd: Int32) -> SocketAddress? {
        guard let here = Socket.localAddress(fd), let ip = here.ip,
            let found = ask(fd, Int32(ip.isV4 ? IPPROTO_IP : IPPROTO_IPV6))
        else { return nil }
        return found == here ? nil : found
    }

    private static func ask(_ fd: Int32, _ level: Int32) -> SocketAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(
            level == Int32(IPPROTO_IP)
                ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size)
        guard getsockopt(fd, level, option, &storage, &length) == 0 else { return nil }
        let address = SocketAddress(storage)
        return address.ip == nil ? nil : address
    }
}
