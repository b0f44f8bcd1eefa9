// First match wins, at a cost that hardly depends on the number of routes.

package import WeirHTTP

/// The routes of one worker, compiled.
///
/// Hosts and paths are looked up in one hash table, by the host or one of its suffixes and by each
/// prefix of the path that ends at a segment's border; what remains are the few routes that share
/// a key, in the order of the file, and the regular expressions.
package struct RouteTable: Sendable {
    private let index: RouteIndex

    /// Compiles routes, given in the order of the file.
    package init(_ rules: [RouteRule]) { index = RouteIndex(rules) }

    /// All routes, in the order of the file.
    package var routes: [RoutePlan] { index.plans }

    /// The first route that matches, in the order of the file.
    ///
    /// - Parameters:
    ///   - host: without port, in any case.
    ///   - path: normalised; `*` for the asterisk form.
    ///   - message: the bytes that `head` indexes.
    ///   - listener: the name of the listener that the request came by.
    package func find(
        host: UnsafeRawBufferPointer, path: UnsafeRawBufferPointer,
        head: borrowing RequestHead, message: UnsafeRawBufferPointer,
        listener: UnsafeRawBufferPointer
    ) -> RoutePlan? {
        borrow(host: host, path: path, head: head, message: message, listener: listener)?.object
    }

    /// As `find`; the route is not counted, and lives as long as the table.
    func borrow(
        host: UnsafeRawBufferPointer, path: UnsafeRawBufferPointer,
        head: borrowing RequestHead, message: UnsafeRawBufferPointer,
        listener: UnsafeRawBufferPointer
    ) -> Borrowed<RoutePlan>? {
        var search = RouteSearch(
            path: path, message: message, listener: listener, best: index.count)
        search.visitGroups(index, of: host, head)
        return search.best < index.count ? index.plan(search.best) : nil
    }
}

/// One look-up on its way through the table; the index is a parameter, so as not to be counted.
private struct RouteSearch {
    let path: UnsafeRawBufferPointer
    let message: UnsafeRawBufferPointer
    let listener: UnsafeRawBufferPointer
    /// The lowest number of a route that matches so far.
    var best: Int

    /// Visits the routes for this host, for each of its suffixes and for any host.
    mutating func visitGroups(
        _ index: RouteIndex, of host: UnsafeRawBufferPointer, _ head: borrowing RequestHead
    ) {
        if index.hasHosts {
            var hash = RouteIndex.seed
            var position = host.count
            while position > 0 {
                position -= 1
                let byte = Bytes.lowercased(host[position])
                hash = RouteIndex.mix(hash, byte)
                // A suffix begins with its dot and leaves at least one byte before it.
                if byte == UInt8(ascii: "."), position > 0 {
                    let suffix = host.part(position, host.count - position)
                    if let group = index.hostGroup(hash, suffix, isSuffix: true) {
                        visitPaths(index, group, head)
                    }
                }
            }
            if let group = index.hostGroup(hash, host, isSuffix: false) {
                visitPaths(index, group, head)
            }
        }
        visitPaths(index, RouteIndex.anyHost, head)
    }

    private mutating func visitPaths(
        _ index: RouteIndex, _ group: Int32, _ head: borrowing RequestHead
    ) {
        let shape = index.shape(group)
        guard shape.firstRule < best else { return }
        if shape.hasAny { visit(index, RouteIndex.seed, group, .prefix, 0, head) }
        if shape.hasPaths, best > shape.firstRule {
            var hash = RouteIndex.seed
            for position in 0..<path.count {
                let byte = path[position]
                if byte == UInt8(ascii: "/") {
                    if position > 0 { visit(index, hash, group, .prefix, position, head) }
                    hash = RouteIndex.mix(hash, byte)
                    visit(index, hash, group, .prefix, position + 1, head)
                    // The group has no earlier route.
                    if best == shape.firstRule { return }
                } else {
                    hash = RouteIndex.mix(hash, byte)
                }
            }
            if path.count > 0 {
                if path[path.count - 1] != UInt8(ascii: "/") {
                    visit(index, hash, group, .prefix, path.count, head)
                }
                visit(index, hash, group, .exact, path.count, head)
            }
        }
        if shape.hasPatterns, best > shape.firstRule { visitPatterns(index, group, head) }
    }

    private mutating func visit(
        _ index: RouteIndex, _ hash: UInt64, _ group: Int32, _ kind: RouteIndex.PathKind,
        _ length: Int, _ head: borrowing RequestHead
    ) {
        guard let list = index.list(hash, group, kind, path.part(0, length)) else { return }
        for rule in list {
            let number = Int(rule)
            if number >= best { return }
            if index.conditionsHold(number, head, message, by: listener) {
                best = number
                return
            }
        }
    }

    private mutating func visitPatterns(
        _ index: RouteIndex, _ group: Int32, _ head: borrowing RequestHead
    ) {
        for (rule, pattern) in index.patterns(group) {
            if rule >= best { return }
            if pattern.matches(path), index.conditionsHold(rule, head, message, by: listener) {
                best = rule
                return
            }
        }
    }
}
