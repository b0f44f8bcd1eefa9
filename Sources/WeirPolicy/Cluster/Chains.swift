// Doubly linked lists through slots of a table, so that a move from list to list allocates nothing.

/// The ends of one list. Slot 0 is no slot.
struct Chain: Sendable {
    var first = 0
    var last = 0

    var isEmpty: Bool { first == 0 }
}

/// The links of all lists of one kind: a slot is in at most one of them.
struct ChainLinks: Sendable {
    private var following = [0]
    private var preceding = [0]

    /// Makes room for one slot more.
    mutating func addSlot() {
        following.append(0)
        preceding.append(0)
    }

    func slot(before slot: Int) -> Int { preceding[slot] }

    func slot(after slot: Int) -> Int { following[slot] }

    mutating func append(_ slot: Int, to chain: inout Chain) {
        insert(slot, after: chain.last, in: &chain)
    }

    /// After slot 0 is at the front.
    mutating func insert(_ slot: Int, after prior: Int, in chain: inout Chain) {
        let later = prior == 0 ? chain.first : following[prior]
        preceding[slot] = prior
        following[slot] = later
        if prior == 0 { chain.first = slot } else { following[prior] = slot }
        if later == 0 { chain.last = slot } else { preceding[later] = slot }
    }

    mutating func remove(_ slot: Int, from chain: inout Chain) {
        let prior = preceding[slot]
        let later = following[slot]
        if prior == 0 { chain.first = later } else { following[prior] = later }
        if later == 0 { chain.last = prior } else { preceding[later] = prior }
        preceding[slot] = 0
        following[slot] = 0
    }
}
