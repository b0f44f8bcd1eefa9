// A ring of points, each owned by an endpoint: a key belongs to the next point's owner.

/// Consistent hashing with many points for each endpoint (Karger et al., 1997).
///
/// Points depend on an endpoint's key and weight alone. When an endpoint comes or goes, only the
/// keys that it gains or loses move.
struct HashRing: Sendable {
    /// In ascending order.
    private let points: [UInt64]
    /// The place of each point's owner.
    private let owners: [UInt32]
    /// The fewest points of the lightest endpoint, unless there would be too many in all. The
    /// shares of endpoints of equal weight then differ by about 8 %.
    private static let pointsPerUnit = 160
    /// The most points of all endpoints together; but each has one at least.
    static let maxPoints = 1 << 16

    init(members: [Member]) {
        let halvings = Self.halvings(members)
        var marks: [(point: UInt64, owner: Int)] = []
        for (place, member) in members.enumerated() {
            let count = max((member.weight * Self.pointsPerUnit) >> halvings, 1)
            for number in 0..<UInt64(count) {
                marks.append((StableHash.mixed(member.key &+ StableHash.mixed(number)), place))
            }
        }
        // Points that meet go by key, not by the order in which endpoints are listed.
        marks.sort {
            $0.point != $1.point
                ? $0.point < $1.point : members[$0.owner].key < members[$1.owner].key
        }
        points = marks.map(\.point)
        owners = marks.map { UInt32(truncatingIfNeeded: $0.owner) }
    }

    /// How often the number of points for each unit of weight is halved. In powers of two, lest an
    /// endpoint that comes or goes change the points of all the others.
    private static func halvings(_ members: [Member]) -> Int {
        guard let lightest = members.map(\.weight).min(), lightest > 0 else { return 0 }
        let total = members.reduce(0) { $0 + $1.weight } * pointsPerUnit
        var halvings = Int.bitWidth - 1 - lightest.leadingZeroBitCount
        while total >> halvings > maxPoints { halvings += 1 }
        return halvings
    }

    /// The first point at or after a key. There must be one member at least.
    func point(for key: UInt64) -> Int {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low == points.count ? 0 : low
    }

    func point(after point: Int) -> Int { point + 1 == points.count ? 0 : point + 1 }

    func owner(of point: Int) -> Int { Int(owners[point]) }
}
