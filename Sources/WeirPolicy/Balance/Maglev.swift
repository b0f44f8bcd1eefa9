// A table of slots, filled by endpoints in turn: a key belongs to its slot's owner.

/// Maglev's consistent hashing (Eisenbud et al., 2016), by weight as Envoy does it.
///
/// Each endpoint goes through all slots in an order of its own and takes the next free one on its
/// turn. So shares are almost exact, and most slots keep their owner when an endpoint comes or
/// goes. The size never changes with the number of endpoints: that would move every key.
struct Maglev: Sendable {
    /// A prime, so that every step but 0 visits all slots.
    static let size = 65_537

    /// The place of each slot's owner.
    private let slots: [UInt16]

    /// One endpoint while the table is filled.
    private struct Filler {
        let place: UInt16
        let weight: Int
        let step: Int
        var slot: Int
        /// In units of the heaviest weight: the turns it has had.
        var taken: Int
    }

    init(members: [Member]) {
        let places = members.indices.prefix(Int(UInt16.max))
        // In the order of keys, lest the order of the list decide who takes a contested slot.
        var fillers = places.sorted { members[$0].key < members[$1].key }.map { place in
            let key = members[place].key
            let step = StableHash.mixed(~key) % UInt64(Self.size - 1) + 1
            return Filler(
                place: UInt16(truncatingIfNeeded: place), weight: members[place].weight,
                step: Int(step), slot: Int(key % UInt64(Self.size)), taken: 0)
        }
        slots = Self.filled(by: &fillers)
    }

    private static func filled(by fillers: inout [Filler]) -> [UInt16] {
        guard let heaviest = fillers.map(\.weight).max(), heaviest > 0 else { return [] }
        let free = UInt16.max
        var slots = [UInt16](repeating: free, count: size)
        slots.withUnsafeMutableBufferPointer { slots in
            fillers.withUnsafeMutableBufferPointer { fillers in
                var left = size
                var round = 0
                while true {
                    round += 1
                    for index in fillers.indices {
                        // The heaviest takes a slot a round, others in proportion but one at least.
                        if round * fillers[index].weight < fillers[index].taken { continue }
                        fillers[index].taken += heaviest
                        var slot = fillers[index].slot
                        while slots[slot] != free {
                            slot += fillers[index].step
                            if slot >= size { slot -= size }
                        }
                        slots[slot] = fillers[index].place
                        fillers[index].slot = slot
                        left -= 1
                        if left == 0 { return }
                    }
                }
            }
        }
        return slots
    }

    /// The owner of a key's slot. There must be one member at least.
    func owner(for key: UInt64) -> Int {
        Int(slots[Int(key.multipliedFullWidth(by: UInt64(slots.count)).high)])
    }
}
