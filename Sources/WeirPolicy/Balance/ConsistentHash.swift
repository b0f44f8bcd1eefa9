// The same endpoint for the same key, as long as that endpoint may be used.

import WeirTime

/// Walks a key's endpoints in the order of its preference to the first that may take the attempt.
///
/// A key passes over endpoints that are excluded, loaded beyond their bound, or in slow start and
/// not yet ready for this key. Everything is decided by the key, the endpoints' keys and their
/// state, nothing by chance: workers and instances agree.
struct ConsistentHash: Sendable {
    enum Table: Sendable {
        case ring(HashRing)
        case maglev(Maglev)
    }

    /// The endpoint at each place, as `pick` names it.
    private let indices: [Int]
    private let weights: [Int]
    private let keys: [UInt64]
    private let table: Table
    /// The bound's factor in 16.16 fixed point; `nil` is none.
    private let factor: Int?

    init() {
        self.init(members: [], boundedLoad: nil, table: .ring(HashRing(members: [])))
    }

    init(members: [Member], boundedLoad: Double?, table: Table) {
        indices = members.map(\.index)
        weights = members.map(\.weight)
        keys = members.map(\.key)
        self.table = table
        factor = boundedLoad.map { Int(min(max($0, 1), 16) * Double(1 << 16)) }
    }

    func pick(
        _ hash: UInt64, _ load: (Int) -> Int, _ scale: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Int? {
        guard !indices.isEmpty else { return nil }
        let key = StableHash.mixed(hash)
        var bound = factor.map { Bound(factor: $0) }
        func find(isPatient: Bool) -> Int? {
            search(key) { place in
                if excluding(indices[place]) { return false }
                if isPatient && !isReady(place, for: key, scale) { return false }
                return isWithinBound(place, &bound, load, excluding)
            }
        }
        // Where slow start passes over everything that is left, it has to stand back.
        let place = find(isPatient: true) ?? find(isPatient: false)
        return place.map { indices[$0] }
    }

    /// The first acceptable place: along the table for a while, then by rendezvous.
    private func search(_ key: UInt64, _ accepts: (Int) -> Bool) -> Int? {
        // By then all places have been met, unless most of the weight is unavailable.
        let steps = 2 * indices.count + 16
        switch table {
        case .ring(let ring):
            var point = ring.point(for: key)
            for _ in 0..<steps {
                let place = ring.owner(of: point)
                if accepts(place) { return place }
                point = ring.point(after: point)
            }
        case .maglev(let maglev):
            for step in 0..<steps {
                // Each key whose endpoint is unavailable draws again, so these keys spread.
                let drawn = step == 0 ? key : StableHash.mixed(key &+ UInt64(step))
                let place = maglev.owner(for: drawn)
                if accepts(place) { return place }
            }
        }
        return rendezvous(key, accepts)
    }

    /// Of all acceptable places the one that scores most with this key (highest random weight,
    /// Thaler and Ravishankar, 1998; weights do not count here).
    private func rendezvous(_ key: UInt64, _ accepts: (Int) -> Bool) -> Int? {
        var best: Int?
        var most: UInt64 = 0
        for place in 0..<keys.count {
            let score = StableHash.mixed(key ^ keys[place])
            if best != nil && score <= most { continue }
            if accepts(place) { (best, most) = (place, score) }
        }
        return best
    }

    /// Whether an endpoint in slow start is used for this key yet. As its scale grows, keys come to
    /// it one after another and stay.
    private func isReady(_ place: Int, for key: UInt64, _ scale: (Int) -> Int) -> Bool {
        let scale = scale(indices[place])
        if scale >= Balancer.fullScale { return true }
        // Other bits than those that chose the place.
        let drawn = StableHash.mixed(key &+ keys[place].byteSwapped) >> 48
        return Int(drawn) < scale
    }

    /// Whether one attempt more stays within the bound.
    private func isWithinBound(
        _ place: Int, _ bound: inout Bound?, _ load: (Int) -> Int, _ excluding: (Int) -> Bool
    ) -> Bool {
        guard bound != nil else { return true }
        let own = Bound.clamped(load(indices[place]))
        // One attempt is always within it; so nothing is summed while a cluster is idle.
        if own == 0 { return true }
        if bound?.isMeasured == false {
            for place in 0..<indices.count where !excluding(indices[place]) {
                bound?.add(load: load(indices[place]), weight: weights[place])
            }
        }
        return bound?.allows(load: own, weight: weights[place]) ?? true
    }
}

/// How much load an endpoint may have: ceil(c × (load of all + 1) × its share of the weights).
///
/// Only endpoints that are not excluded count, so one of them is always below its bound.
private struct Bound {
    let factor: Int
    private var loads = 0
    private var weights = 0
    private(set) var isMeasured = false

    init(factor: Int) { self.factor = factor }

    static func clamped(_ load: Int) -> Int { min(max(load, 0), 1 << 30) }

    mutating func add(load: Int, weight: Int) {
        loads += Self.clamped(load)
        weights += weight
        isMeasured = true
    }

    /// An integer is below a ceiling exactly when it is below what is rounded up: no division.
    func allows(load: Int, weight: Int) -> Bool {
        UInt128(load << 16) * UInt128(weights)
            < UInt128(factor) * UInt128(loads + 1) * UInt128(weight)
    }
}
