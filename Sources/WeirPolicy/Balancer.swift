// Which endpoint gets the next attempt.


/// Picks one endpoint of a cluster.
///
/// One per worker and cluster; decisions take chance as an argument, so a seed replays them.
package struct Balancer: Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        /// In turn, smoothly by weight (nginx's smooth weighted round robin, 2012).
        case roundRobin = "round_robin"
        /// The less loaded of two drawn by weight (Mitzenmacher, 2001).
        case leastRequest = "least_request"
    }
}
