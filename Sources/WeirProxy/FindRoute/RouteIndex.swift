// The hash table behind the route table: built once, read without a retain or an allocation.

import WeirHTTP

/// Maps hosts to groups, and (group, kind, path) to the routes that name them.
final class RouteIndex: @unchecked Sendable {
    enum PathKind: UInt8 { case prefix, exact, host, hostSuffix }

    /// What a group of routes, those for one host, consists of.
    struct GroupShape {
        var firstRule = Int.max
        /// "Any", or the empty prefix, which is the same, is among the paths.
        var hasAny = false
        /// Paths other than "any" are among them.
        var hasPaths = false
        var hasPatterns = false
    }

    private struct Slot {
        var hash: UInt64
        var group: Int32
        var kind: PathKind
        /// Where the key lies in `keys`.
        var keyStart: Int32
        var keyLength: Int32
        /// Where the routes lie in `lists`; a host's group in `listStart`.
        var listStart: Int32
        /// 0 marks a free slot.
        var listCount: Int32
    }

    static let anyHost: Int32 = 0
    static let seed: UInt64 = 0xCBF2_9CE4_8422_2325

    /// FNV-1a: short keys, one pass, a value for each prefix on the way.
    @inline(__always)
    static func mix(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x100_0000_01B3
    }

    let count: Int
    let plans: [RoutePlan]
    let hasHosts: Bool
    private let planPointers: UnsafeMutablePointer<Borrowed<RoutePlan>>
    private let conditions: [RouteRule.Conditions]
    private let hasConditions: UnsafeMutablePointer<Bool>
    private let shapes: UnsafeMutablePointer<GroupShape>
    private let groupCount: Int
    private let groupPatterns: [[(Int, Pattern)]]
    private let slots: UnsafeMutablePointer<Slot>
    private let mask: Int
    private let keys: UnsafeMutableRawPointer
    private let lists: UnsafeMutablePointer<Int32>

    init(_ rules: [RouteRule]) {
        var builder = RouteIndexBuilder()
        for (number, rule) in rules.enumerated() { builder.add(rule, number: number) }
        count = rules.count
        plans = rules.map(\.plan)
        conditions = rules.map(\.conditions)
        hasHosts = builder.groups.count > 1
        groupPatterns = builder.patterns
        groupCount = builder.groups.count

        planPointers = .allocate(capacity: max(1, count))
        hasConditions = .allocate(capacity: max(1, count))
        for (number, rule) in rules.enumerated() {
            (planPointers + number).initialize(to: Borrowed(rule.plan))
            (hasConditions + number).initialize(to: !rule.conditions.isEmpty)
        }
        shapes = .allocate(capacity: groupCount)
        for (group, shape) in builder.shapes.enumerated() {
            (shapes + group).initialize(to: shape)
        }

        // At most half full, so that a probe for an absent key ends soon.
        let size = Self.powerOfTwo(atLeast: 2 * builder.entries.count + 2)
        mask = size - 1
        slots = .allocate(capacity: size)
        slots.initialize(
            repeating: Slot(
                hash: 0, group: 0, kind: .prefix, keyStart: 0, keyLength: 0, listStart: 0,
                listCount: 0),
            count: size)
        keys = .allocate(byteCount: max(1, builder.keyBytes), alignment: 1)
        lists = .allocate(capacity: max(1, builder.listCount))
        var keyEnd = 0
        var listEnd = 0
        for (key, rules) in builder.entries {
            let start = keyEnd
            for byte in key.bytes {
                keys.storeBytes(of: byte, toByteOffset: keyEnd, as: UInt8.self)
                keyEnd += 1
            }
            var slot = Slot(
                hash: Self.finish(key.hash, key.group, key.kind), group: key.group, kind: key.kind,
                keyStart: Int32(start), keyLength: Int32(key.bytes.count),
                listStart: Int32(listEnd), listCount: Int32(rules.count))
            if key.kind == .host || key.kind == .hostSuffix {
                slot.listStart = Int32(rules[0])
            } else {
                for rule in rules {
                    lists[listEnd] = Int32(rule)
                    listEnd += 1
                }
            }
            insert(slot)
        }
    }

    deinit {
        planPointers.deallocate()
        hasConditions.deallocate()
        shapes.deallocate()
        slots.deallocate()
        keys.deallocate()
        lists.deallocate()
    }

    private static func powerOfTwo(atLeast n: Int) -> Int {
        var size = 4
        while size < n { size *= 2 }
        return size
    }

    @inline(__always)
    private static func finish(_ hash: UInt64, _ group: Int32, _ kind: PathKind) -> UInt64 {
        var h = hash ^ (UInt64(UInt32(bitPattern: group)) << 8 | UInt64(kind.rawValue))
        h = (h ^ (h >> 32)) &* 0x9E37_79B9_7F4A_7C15
        return h ^ (h >> 29)
    }

    private func insert(_ slot: Slot) {
        var position = Int(truncatingIfNeeded: slot.hash) & mask
        while slots[position].listCount != 0 { position = (position + 1) & mask }
        slots[position] = slot
    }

    // MARK: Reading

    func plan(_ number: Int) -> Borrowed<RoutePlan> {
        precondition(number >= 0 && number < count)
        return planPointers[number]
    }

    func shape(_ group: Int32) -> GroupShape { shapes[Int(group)] }

    func patterns(_ group: Int32) -> [(Int, Pattern)] { groupPatterns[Int(group)] }

    /// The group of routes for a host, or for a suffix of one.
    func hostGroup(_ hash: UInt64, _ host: UnsafeRawBufferPointer, isSuffix: Bool) -> Int32? {
        let kind = isSuffix ? PathKind.hostSuffix : .host
        guard let slot = probe(hash, 0, kind, host, ignoringCase: true) else { return nil }
        return slots[slot].listStart
    }

    /// The routes of a group that name this path, in the order of the file.
    func list(
        _ hash: UInt64, _ group: Int32, _ kind: PathKind, _ path: UnsafeRawBufferPointer
    ) -> UnsafeBufferPointer<Int32>? {
        guard let slot = probe(hash, group, kind, path, ignoringCase: false) else { return nil }
        return UnsafeBufferPointer(
            start: lists + Int(slots[slot].listStart), count: Int(slots[slot].listCount))
    }

    private func probe(
        _ hash: UInt64, _ group: Int32, _ kind: PathKind, _ key: UnsafeRawBufferPointer,
        ignoringCase: Bool
    ) -> Int? {
        let full = Self.finish(hash, group, kind)
        var position = Int(truncatingIfNeeded: full) & mask
        while slots[position].listCount != 0 {
            let slot = slots + position
            if slot.pointee.hash == full, slot.pointee.group == group, slot.pointee.kind == kind {
                let stored = UnsafeRawBufferPointer(
                    start: keys + Int(slot.pointee.keyStart), count: Int(slot.pointee.keyLength))
                // The hash is not secret, so only equal bytes are a match.
                if ignoringCase
                    ? Bytes.areEqual(key, ignoringCase: stored) : Bytes.areEqual(key, stored)
                {
                    return position
                }
            }
            position = (position + 1) & mask
        }
        return nil
    }

    func conditionsHold(
        _ number: Int, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        by listener: UnsafeRawBufferPointer
    ) -> Bool {
        !hasConditions[number] || conditions[number].hold(head, message, by: listener)
    }
}

/// Collects keys and the routes behind them.
private struct RouteIndexBuilder {
    struct Key: Hashable {
        var group: Int32
        var kind: RouteIndex.PathKind
        var bytes: [UInt8]

        /// Hosts are hashed from their end, since suffixes share it.
        var hash: UInt64 {
            let isHost = kind == .host || kind == .hostSuffix
            var hash = RouteIndex.seed
            if isHost {
                for byte in bytes.reversed() { hash = RouteIndex.mix(hash, byte) }
            } else {
                for byte in bytes { hash = RouteIndex.mix(hash, byte) }
            }
            return hash
        }
    }

    var entries: [Key: [Int]] = [:]
    var groups: [Key?: Int32] = [nil: RouteIndex.anyHost]
    var shapes = [RouteIndex.GroupShape()]
    var patterns: [[(Int, Pattern)]] = [[]]
    var keyBytes: Int { entries.keys.reduce(0) { $0 + $1.bytes.count } }
    var listCount: Int { entries.values.reduce(0) { $0 + $1.count } }

    mutating func add(_ rule: RouteRule, number: Int) {
        var ids: [Int32] = []
        for host in rule.exactHosts { ids.append(group(.host, host)) }
        for suffix in rule.hostSuffixes { ids.append(group(.hostSuffix, suffix)) }
        if ids.isEmpty { ids = [RouteIndex.anyHost] }
        for id in ids {
            let index = Int(id)
            shapes[index].firstRule = min(shapes[index].firstRule, number)
            switch rule.path {
            case .any:
                shapes[index].hasAny = true
                entries[Key(group: id, kind: .prefix, bytes: []), default: []].append(number)
            case .prefix(let path):
                if path.isEmpty { shapes[index].hasAny = true }
                shapes[index].hasPaths = true
                entries[Key(group: id, kind: .prefix, bytes: Array(path.utf8)), default: []]
                    .append(number)
            case .exact(let path):
                shapes[index].hasPaths = true
                entries[Key(group: id, kind: .exact, bytes: Array(path.utf8)), default: []]
                    .append(number)
            case .regex(let pattern):
                shapes[index].hasPatterns = true
                patterns[index].append((number, pattern))
            }
        }
    }

    private mutating func group(_ kind: RouteIndex.PathKind, _ host: String) -> Int32 {
        let key = Key(group: 0, kind: kind, bytes: Array(host.utf8))
        if let known = groups[key] { return known }
        let id = Int32(shapes.count)
        groups[key] = id
        shapes.append(RouteIndex.GroupShape())
        patterns.append([])
        entries[key] = [Int(id)]
        return id
    }
}
