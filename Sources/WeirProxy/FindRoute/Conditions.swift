// The conditions on listeners, methods, headers and query parameters, checked one by one.

import WeirHTTP

extension RouteRule.Conditions {
    /// All conditions hold for the request whose head indexes `message`, and which came by
    /// `listener`.
    func hold(
        _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer,
        by listener: UnsafeRawBufferPointer
    ) -> Bool {
        if !listeners.isEmpty {
            let isHere = listeners.contains { Bytes.areEqual(listener, $0.bytes) }
            guard isHere else { return false }
        }
        if !methods.isEmpty {
            let name = message[head.methodName]
            guard methods.contains(where: { Bytes.areEqual(name, $0.bytes) }) else { return false }
        }
        for rule in headers where !headerHolds(rule, head, message) { return false }
        for rule in query where !queryHolds(rule, message[head.query]) { return false }
        return true
    }

    /// Any field of that name passes the test.
    private func headerHolds(
        _ rule: ValueRule, _ head: borrowing RequestHead, _ message: UnsafeRawBufferPointer
    ) -> Bool {
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            guard
                Bytes.areEqual(message[nameOf: field], ignoringCase: rule.name.bytes),
                rule.holds(message[valueOf: field])
            else { continue }
            return !rule.isInverted
        }
        return rule.isInverted
    }

    /// Any parameter of that name passes the test; names and values are compared as sent.
    private func queryHolds(_ rule: ValueRule, _ query: UnsafeRawBufferPointer) -> Bool {
        var start = 0
        while start < query.count {
            var end = start
            var equals = -1
            while end < query.count, query[end] != UInt8(ascii: "&") {
                if equals < 0, query[end] == UInt8(ascii: "=") { equals = end }
                end += 1
            }
            let nameEnd = equals < 0 ? end : equals
            let valueStart = equals < 0 ? end : equals + 1
            if Bytes.areEqual(query.part(start, nameEnd - start), rule.name.bytes),
                rule.holds(query.part(valueStart, end - valueStart))
            {
                return !rule.isInverted
            }
            start = end + 1
        }
        return rule.isInverted
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes of a stretch.
    @inline(__always)
    subscript(_ stretch: Stretch) -> UnsafeRawBufferPointer {
        part(Int(stretch.start), Int(stretch.length))
    }

    @inline(__always)
    subscript(nameOf field: Field) -> UnsafeRawBufferPointer {
        part(Int(field.nameStart), Int(field.nameLength))
    }

    @inline(__always)
    subscript(valueOf field: Field) -> UnsafeRawBufferPointer {
        part(Int(field.valueStart), Int(field.valueLength))
    }
}
