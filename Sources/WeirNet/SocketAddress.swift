// Where a socket is bound or connected to.

import Glibc

/// An IP address and port, or the path of a unix socket.
package enum SocketAddress: Hashable, Sendable {
    case ip(IPAddress, port: UInt16)
    case unix(path: String)

    /// Stands for wherever each client's connection was going; nobody connects to it.
    package static let original = SocketAddress.ip(IPAddress(v4: 0), port: 0)

    /// What connects to this address does not leave the machine.
    package var isLocal: Bool {
        switch self {
        case .ip(let address, _): address.isLoopback
        case .unix: true
        }
    }

    /// The IP address; `nil` for a unix socket.
    package var ip: IPAddress? {
        if case .ip(let address, _) = self { address } else { nil }
    }

    /// The port; 0 for a unix socket.
    package var port: UInt16 {
        if case .ip(_, let port) = self { port } else { 0 }
    }

    var family: Int32 {
        switch self {
        case .ip(let address, _): address.isV4 ? AF_INET : AF_INET6
        case .unix: AF_UNIX
        }
    }

    /// Calls `body` with the address in the kernel's form.
    func withSockAddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        var storage = sockaddr_storage()
        let length = withUnsafeMutableBytes(of: &storage) { raw -> Int in
            switch self {
            case .ip(let address, let port) where address.isV4:
                var v4 = sockaddr_in()
                v4.sin_family = sa_family_t(AF_INET)
                v4.sin_port = port.bigEndian
                v4.sin_addr.s_addr = UInt32(truncatingIfNeeded: address.low).bigEndian
                raw.storeBytes(of: v4, as: sockaddr_in.self)
                return MemoryLayout<sockaddr_in>.size
            case .ip(let address, let port):
                var v6 = sockaddr_in6()
                v6.sin6_family = sa_family_t(AF_INET6)
                v6.sin6_port = port.bigEndian
                withUnsafeMutableBytes(of: &v6.sin6_addr) {
                    $0.storeBytes(of: address.high.bigEndian, as: UInt64.self)
                    $0.storeBytes(
                        of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
                }
                raw.storeBytes(of: v6, as: sockaddr_in6.self)
                return MemoryLayout<sockaddr_in6>.size
            case .unix(let path):
                raw.storeBytes(of: sa_family_t(AF_UNIX), as: sa_family_t.self)
                // The config layer bounds the length of paths; a longer one is cut, and fails.
                let limit = MemoryLayout<sockaddr_un>.size - 3
                var offset = 2
                for byte in path.utf8.prefix(limit) {
                    raw[offset] = byte
                    offset += 1
                }
                return offset + 1
            }
        }
        return withUnsafePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(length))
            }
        }
    }

    /// Reads the kernel's form; a family that is not IP becomes an unnamed unix address.
    init(_ storage: sockaddr_storage) {
        self = withUnsafeBytes(of: storage) { raw in
            switch Int32(storage.ss_family) {
            case AF_INET:
                let v4 = raw.load(as: sockaddr_in.self)
                return .ip(
                    IPAddress(v4: UInt32(bigEndian: v4.sin_addr.s_addr)),
                    port: UInt16(bigEndian: v4.sin_port))
            case AF_INET6:
                let v6 = raw.load(as: sockaddr_in6.self)
                return .ip(IPAddress(v6.sin6_addr), port: UInt16(bigEndian: v6.sin6_port))
            default:
                return .unix(path: "")
            }
        }
    }
}

extension SocketAddress: CustomStringConvertible {
    package var description: String {
        switch self {
        case .original: "original_destination"
        case .ip(let address, let port):
            address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}
