// What a request is keyed on where a cluster's endpoints are picked by hash.

import WeirHTTP
import WeirNet
import WeirPolicy

/// The part of a request that decides which endpoint it goes to.
package enum HashSource: Sendable {
    /// A header's first value; the name is lower case.
    case header(Text)
    case cookie(Text)
    case query(Text)
    case path
    case clientAddress
    case tenant
}

extension Exchange {
    /// The request's hash, the same in every worker and every instance; `nil` where the request
    /// does not have what it is keyed on.
    func hash(on source: HashSource) -> UInt64? {
        switch source {
        case .header(let name): return headerValue(name).map(Self.hash)
        case .cookie(let name): return cookieValue(name).map(Self.hash)
        case .query(let name): return queryValue(name).map(Self.hash)
        case .path: return Self.hash(message.path(head))
        case .clientAddress:
            guard let address = clientAddress else { return nil }
            return withUnsafeBytes(of: (address.high, address.low)) { Self.hash($0) }
        case .tenant:
            let key = message.bytes[record.tenant]
            if !key.isEmpty { return Self.hash(key) }
            return record.isTenantAddress ? hash(on: .clientAddress) : nil
        }
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = StableHash()
        hash.add(bytes)
        return hash.value
    }

    /// The first cookie of that name, as sent.
    private func cookieValue(_ name: Text) -> UnsafeRawBufferPointer? {
        for index in 0..<head.fields.count where head.fields[index].known == .cookie {
            let line = message.bytes[valueOf: head.fields[index]]
            var start = 0
            while start < line.count {
                while start < line.count, line[start] == 0x20 { start += 1 }
                var end = start
                while end < line.count, line[end] != UInt8(ascii: ";") { end += 1 }
                let pair = line.part(start, end - start)
                if pair.count > name.count, pair[name.count] == UInt8(ascii: "="),
                    Bytes.hasPrefix(pair, name.bytes)
                {
                    return pair.part(name.count + 1, pair.count - name.count - 1)
                }
                start = end + 1
            }
        }
        return nil
    }
}
