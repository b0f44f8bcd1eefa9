// A list that lies in its members, so that joining and leaving it allocate nothing.

/// What may be in one `LinkedList` at a time.
protocol Linked: AnyObject {
    /// What the list is of: the class itself, or the one that it is derived from.
    associatedtype Member: AnyObject
    var next: Borrowed<Member>? { get set }
    var previous: Borrowed<Member>? { get set }
}

/// A worker's connections, a connection's streams or calls, the newest first. It does not keep them
/// alive.
struct LinkedList<Member: Linked> where Member.Member == Member {
    private(set) var first: Borrowed<Member>?
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func insert(_ member: Borrowed<Member>) {
        let first = first
        member.use {
            $0.previous = nil
            $0.next = first
        }
        first?.use { $0.previous = member }
        self.first = member
        count += 1
    }

    mutating func remove(_ member: Member) {
        if let previous = member.previous {
            previous.use { $0.next = member.next }
        } else {
            first = member.next
        }
        member.next?.use { $0.previous = member.previous }
        member.next = nil
        member.previous = nil
        count -= 1
    }

    /// Visits each member, which may leave the list as it is visited.
    func forEach(_ body: (Member) -> Void) {
        _ = visit(while: {
            body($0)
            return true
        })
    }

    /// Visits one member after the other, each of which may leave the list as it is visited, until
    /// `body` is `false`; whether all have been visited.
    func visit(while body: (Member) -> Bool) -> Bool {
        var next = first
        while let member = next {
            next = member.use { $0.next }
            guard member.use(body) else { return false }
        }
        return true
    }
}
