// The endpoints of all clusters, with what is known of them, across every reload.

import WeirConfig
import WeirNet
import WeirProxy

/// Endpoint states by identity: cluster name and address.
final class EndpointDirectory {
    private struct Key: Hashable {
        var cluster: String
        var address: SocketAddress
    }

    private var states: [Key: EndpointState] = [:]

    /// The state of an endpoint, made when it is new.
    func state(cluster: String, address: SocketAddress) -> EndpointState {
        let key = Key(cluster: cluster, address: address)
        if let state = states[key] { return state }
        let state = EndpointState()
        states[key] = state
        return state
    }

    /// Forgets endpoints that are neither named nor busy.
    func keepOnly(_ named: [(cluster: String, addresses: [SocketAddress])]) {
        var kept: Set<Key> = []
        for (cluster, addresses) in named {
            for address in addresses { kept.insert(Key(cluster: cluster, address: address)) }
        }
        states = states.filter { kept.contains($0.key) || $0.value.requestsInFlight > 0 }
    }
}
