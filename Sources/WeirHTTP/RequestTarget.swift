// Takes a request target apart, and refuses a path that servers read in different ways.

import CWeir

extension LineCursor {
    /// Finds path, query and authority in the target (RFC 9112 section 3.2).
    @inline(__always)
    func readTarget(into head: inout RequestHead) throws(Malformed) {
        let start = Int(head.target.start)
        let end = Int(head.target.end)
        if base[start] == UInt8(ascii: "/"), head.method != .connect {
            head.targetForm = .origin
            try readPath(from: start, to: end, into: &head)
        } else {
            try readRareTarget(from: start, to: end, into: &head)
        }
    }

    /// The three forms that clients hardly ever send to a reverse proxy.
    @inline(never)
    private func readRareTarget(
        from start: Int, to end: Int, into head: inout RequestHead
    ) throws(Malformed) {
        if head.method == .connect {
            head.targetForm = .authority
            let host = try readAuthority(from: start, to: end, into: &head)
            guard host.length < head.target.length else { throw .target }
        } else if end - start == 1, base[start] == UInt8(ascii: "*") {
            guard head.method == .options else { throw .target }
            head.targetForm = .asterisk
        } else {
            let target = base.bytes(of: head.target)
            let schemeLength: Int
            if FieldValue.hasPrefix(target, "http://") {
                schemeLength = 7
            } else if FieldValue.hasPrefix(target, "https://") {
                schemeLength = 8
            } else {
                throw .target
            }
            head.targetForm = .absolute
            var authorityEnd = start + schemeLength
            while authorityEnd < end, base[authorityEnd] != UInt8(ascii: "/"),
                base[authorityEnd] != UInt8(ascii: "?")
            {
                authorityEnd += 1
            }
            _ = try readAuthority(from: start + schemeLength, to: authorityEnd, into: &head)
            try readPath(from: authorityEnd, to: end, into: &head)
        }
    }

    private func readAuthority(
        from start: Int, to end: Int, into head: inout RequestHead
    ) throws(Malformed) -> Stretch {
        head.authority = stretch(start, end)
        guard let host = Authority.host(of: head.authority, in: base) else { throw .target }
        head.host = host
        return host
    }

    @inline(__always)
    private func readPath(
        from start: Int, to end: Int, into head: inout RequestHead
    ) throws(Malformed) {
        let pathEnd = weir_find_query(base, start, end)
        head.path = stretch(start, pathEnd)
        head.query = pathEnd < end ? stretch(pathEnd &+ 1, end) : .empty
        head.hasOddPath = weir_is_odd_path(base, start, pathEnd)
        if head.hasOddPath {
            guard isUnambiguousPath(from: start, to: pathEnd) else { throw .target }
        }
    }

    /// Whether a server that decodes the path once finds the resource that a route was chosen by.
    ///
    /// Refused: dot segments in any spelling, backslashes, NUL, broken percent-encoding. `%2f`
    /// and `%5c` may occur, but end a segment like their plain forms do, and so does `;`: servers
    /// cut parameters off (`/..;/` is `/../` to Tomcat).
    @inline(never)
    private func isUnambiguousPath(from start: Int, to end: Int) -> Bool {
        var segment = Segment.empty
        var at = start
        while at < end {
            var byte = base[at]
            guard byte != UInt8(ascii: "\\") else { return false }
            at += 1
            if byte == UInt8(ascii: "%") {
                guard end - at >= 2, let high = Self.hexDigit(base[at]),
                    let low = Self.hexDigit(base[at + 1])
                else { return false }
                byte = high << 4 | low
                guard byte != 0 else { return false }
                at += 2
            }
            switch byte {
            case UInt8(ascii: "/"), UInt8(ascii: "\\"):
                if segment.isDots { return false }
                segment = .empty
            case UInt8(ascii: ";"):
                if segment.isDots { return false }
                segment = .named
            case UInt8(ascii: "."):
                segment = segment.afterDot
            default:
                segment = .named
            }
        }
        return !segment.isDots
    }

    /// What is known of a path segment so far.
    private enum Segment {
        case empty, dot, dotDot, named

        var isDots: Bool { self == .dot || self == .dotDot }
        var afterDot: Segment {
            switch self {
            case .empty: .dot
            case .dot: .dotDot
            case .dotDot, .named: .named
            }
        }
    }

    static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
