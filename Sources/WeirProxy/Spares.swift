// A stack of objects that wait to be used again.

/// Keeps its objects. An array would do, but asks at each step whether it is the only owner of its
/// memory, and counts the objects that it moves.
struct Spares<Object: AnyObject>: ~Copyable {
    private var memory: UnsafeMutablePointer<Unmanaged<Object>>
    private var capacity: Int
    private(set) var count = 0

    init(capacity: Int = 4) {
        self.capacity = max(1, capacity)
        memory = .allocate(capacity: self.capacity)
    }

    deinit {
        for index in 0..<count { memory[index].release() }
        memory.deallocate()
    }

    var isEmpty: Bool { count == 0 }

    mutating func push(_ object: Object) { push(Unmanaged.passRetained(object)) }

    /// Takes over a reference that is counted already.
    mutating func push(counted reference: Unmanaged<Object>) { push(reference) }

    /// What was pushed last, or `nil`.
    mutating func pop() -> Object? {
        guard count > 0 else { return nil }
        count &-= 1
        return memory[count].takeRetainedValue()
    }

    /// Removes them all, calling `body` with each in the order in which they came.
    mutating func drain(_ body: (Object) -> Void) {
        drain(while: {
            body($0)
            return true
        })
    }

    /// Removes one after the other, in the order in which they came, until `body` is `false`.
    mutating func drain(while body: (Object) -> Bool) {
        var removed = 0
        var goesOn = true
        while goesOn, removed < count {
            goesOn = memory[removed]._withUnsafeGuaranteedRef(body)
            memory[removed].release()
            removed += 1
        }
        for index in removed..<count { memory[index - removed] = memory[index] }
        count -= removed
    }

    /// What was pushed last, still counted for whoever asks, or `nil`.
    mutating func popCounted() -> Unmanaged<Object>? {
        guard count > 0 else { return nil }
        count &-= 1
        return memory[count]
    }

    /// Removes the object, if it is here; looks at the last ones first.
    mutating func remove(_ object: Object) -> Bool {
        var index = count
        while index > 0 {
            index -= 1
            guard memory[index].toOpaque() == Unmanaged.passUnretained(object).toOpaque() else {
                continue
            }
            memory[index].release()
            for later in index + 1..<count { memory[later - 1] = memory[later] }
            count -= 1
            return true
        }
        return false
    }

    /// Removes them all.
    mutating func removeAll() -> [Object] {
        let all = (0..<count).map { memory[$0].takeRetainedValue() }
        count = 0
        return all
    }

    /// Calls `body` with each and moves it to `other`, which takes up to `most`; the rest goes.
    mutating func move(to other: inout Spares, atMost most: Int, _ body: (Object) -> Void) {
        let moving = count
        for index in 0..<moving {
            memory[index]._withUnsafeGuaranteedRef(body)
            if other.count < most { other.push(memory[index]) } else { memory[index].release() }
        }
        count = 0
    }

    private mutating func push(_ reference: Unmanaged<Object>) {
        if count == capacity { grow() }
        memory[count] = reference
        count &+= 1
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Unmanaged<Object>>.allocate(capacity: 2 * capacity)
        larger.update(from: memory, count: count)
        memory.deallocate()
        memory = larger
        capacity *= 2
    }
}
