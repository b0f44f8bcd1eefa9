// A binary heap whose items can be moved and removed wherever they are.

/// The item with the least key is first. Items are slots of a table; slot 0 is no slot.
///
/// Everything but `first` costs O(log n). It allocates only to become larger than ever before.
struct IndexedHeap<Key: Comparable & Sendable>: Sendable {
    struct Node: Sendable {
        var key: Key
        var item: Int
    }

    private static var absent: Int { -1 }

    private var nodes: [Node] = []
    /// Where each item's node is.
    private var positions: [Int] = []

    var count: Int { nodes.count }

    var first: Node? { nodes.first }

    /// Inserts the item, or moves it to where its new key belongs.
    mutating func set(_ item: Int, to key: Key) {
        while positions.count <= item { positions.append(Self.absent) }
        var position = positions[item]
        if position == Self.absent {
            position = nodes.count
            nodes.append(Node(key: key, item: item))
            positions[item] = position
        } else {
            nodes[position].key = key
        }
        settle(position)
    }

    /// Does nothing when the item is not there.
    mutating func remove(_ item: Int) {
        guard item < positions.count, positions[item] != Self.absent else { return }
        let position = positions[item]
        positions[item] = Self.absent
        let last = nodes.removeLast()
        guard position < nodes.count else { return }
        nodes[position] = last
        positions[last.item] = position
        settle(position)
    }

    private mutating func settle(_ start: Int) {
        var position = start
        let node = nodes[position]
        while position > 0 {
            let parent = (position - 1) / 2
            guard node.key < nodes[parent].key else { break }
            place(nodes[parent], at: position)
            position = parent
        }
        while case var child = 2 * position + 1, child < nodes.count {
            if child + 1 < nodes.count, nodes[child + 1].key < nodes[child].key { child += 1 }
            guard nodes[child].key < node.key else { break }
            place(nodes[child], at: position)
            position = child
        }
        place(node, at: position)
    }

    private mutating func place(_ node: Node, at position: Int) {
        nodes[position] = node
        positions[node.item] = position
    }
}
