// A head is its bytes and an index into them: no strings, no dictionaries.

/// Where a stretch of bytes lies, counted from the start of the head.
public struct Stretch: Equatable, Sendable {
    /// The first byte's offset.
    public var start: UInt32
    /// How many bytes.
    public var length: UInt32

    /// Names `length` bytes from `start` on.
    public init(start: UInt32, length: UInt32) {
        self.start = start
        self.length = length
    }

    /// No bytes.
    public static var empty: Stretch { Stretch(start: 0, length: 0) }
    /// There are no bytes.
    public var isEmpty: Bool { length == 0 }
    /// The offset behind the last byte.
    public var end: UInt32 { start &+ length }
}

/// Field names that weir itself has to know, in the order of `enum weir_known_field`.
public enum KnownField: UInt8, Sendable {
    case other
    case host, connection, keepAlive, proxyConnection, te, trailer, transferEncoding, upgrade
    case contentLength, contentType, expect, date, server, via
    case forwarded, xForwardedFor, xForwardedProto, xForwardedHost, xRequestID
    case userAgent, authorization, proxyAuthenticate, proxyAuthorization, cookie, setCookie
    case location, accept, cacheControl, retryAfter
    case xRequestDeadline, xWeirAttempt, xForwardedClientCert
}

/// One field of a head. Its memory is that of `struct weir_field`, which is written by C.
public struct Field: Sendable {
    /// Where the name begins, and with it the line.
    public var nameStart: UInt32
    /// Bytes of the name.
    public var nameLength: UInt16
    /// Which name it is, if weir has to know it.
    public var known: KnownField
    /// Must not be forwarded: hop-by-hop by RFC 9110 section 7.6.1 (`Transfer-Encoding` and
    /// `Upgrade` among them), named by `Connection`, or an underscore alias of a known name.
    /// `Content-Length`, `Host`, `Expect` and `Trailer` are NOT marked: who writes the head
    /// decides about them.
    public var isHopByHop: Bool
    /// Where the value begins, without blanks around it.
    public var valueStart: UInt32
    /// Bytes of the value.
    public var valueLength: UInt32

    static var none: Field {
        Field(
            nameStart: 0, nameLength: 0, known: .other, isHopByHop: false, valueStart: 0,
            valueLength: 0)
    }
}

/// Bounds on a head; one that exceeds them is refused, never cut.
package struct HeadLimits: Equatable, Sendable {
    /// Bytes of start line and fields together. 1 KiB...1 MiB.
    package var maxBytes: Int
    /// Number of fields. 1...1000.
    package var maxFields: Int
    /// Bytes of the request target.
    package var maxTargetBytes: Int

    package init(maxBytes: Int, maxFields: Int, maxTargetBytes: Int) {
        self.maxBytes = maxBytes
        self.maxFields = maxFields
        self.maxTargetBytes = maxTargetBytes
    }
}

/// The index of a head's fields; reused from head to head.
public struct FieldIndex: ~Copyable {
    /// How many fields there are.
    public private(set) var count = 0
    /// How many there is room for.
    public let capacity: Int
    private let fields: UnsafeMutablePointer<Field>

    /// Room for `capacity` fields; there is no growth.
    public init(capacity: Int) {
        self.capacity = capacity
        fields = .allocate(capacity: capacity)
    }

    deinit { fields.deallocate() }

    /// One field; the index must be below `count`.
    public subscript(_ index: Int) -> Field {
        @inline(__always) get {
            precondition(index >= 0 && index < count)
            return fields[index]
        }
        @inline(__always) set {
            precondition(index >= 0 && index < count)
            fields[index] = newValue
        }
    }

    /// Adds a field; `false` when the index is full.
    public mutating func append(_ field: Field) -> Bool {
        var filling = FieldFilling(next: fields + count, end: fields + capacity)
        guard filling.append(field) else { return false }
        count += 1
        return true
    }

    /// Starts to fill the index anew, which is empty until `fill` is told.
    @inline(__always)
    mutating func filling(atMost limit: Int) -> FieldFilling {
        count = 0
        return FieldFilling(next: fields, end: fields + min(capacity, max(0, limit)))
    }

    /// Takes over what was filled in.
    @inline(__always)
    mutating func fill(_ filling: FieldFilling) { count = filling.next - fields }

    /// Forgets all fields.
    public mutating func removeAll() { count = 0 }
}

/// Fields on their way into an index: its count in memory would be read and written each time.
struct FieldFilling {
    /// Where the next field goes.
    var next: UnsafeMutablePointer<Field>
    fileprivate let end: UnsafeMutablePointer<Field>

    /// How many more fit.
    var room: Int { end - next }

    @inline(__always)
    mutating func append(_ field: Field) -> Bool {
        guard next < end else { return false }
        next.initialize(to: field)
        next += 1
        return true
    }
}

/// How a body's end is found.
package enum BodyFraming: Equatable, Sendable {
    case none
    /// Exactly this many bytes follow; more than zero.
    case length(Int64)
    case chunked
    /// Until the connection closes (responses only).
    case untilClose
}

/// Request methods that weir itself tells apart.
public enum Method: UInt8, Sendable {
    case get, head, post, put, delete, connect, options, trace, patch, other

    /// The method of that name, in the case in which it is sent; `other` for names of no method
    /// here.
    public init(named name: String) {
        switch name {
        case "GET": self = .get
        case "HEAD": self = .head
        case "POST": self = .post
        case "PUT": self = .put
        case "DELETE": self = .delete
        case "CONNECT": self = .connect
        case "OPTIONS": self = .options
        case "TRACE": self = .trace
        case "PATCH": self = .patch
        default: self = .other
        }
    }

    /// This method in a set of methods.
    @inlinable public var bit: UInt32 { 1 << UInt32(rawValue) }

    /// A repeated request has no effect beyond the first's (RFC 9110 section 9.2.1).
    public var isSafe: Bool {
        switch self {
        case .get, .head, .options, .trace: true
        default: false
        }
    }

    /// Where a request has no body, it should say so (RFC 9110 section 8.6).
    @inlinable public var usuallyHasBody: Bool {
        switch self {
        case .post, .put, .patch: true
        default: false
        }
    }
}

/// The four forms of a request target (RFC 9112 section 3.2).
package enum TargetForm: UInt8, Sendable { case origin, absolute, authority, asterisk }

/// A parsed request head. Offsets count from its first byte, so it stays valid when the bytes are
/// copied.
package struct RequestHead: ~Copyable {
    /// Bytes from the start line to the empty line, both included.
    package var length = 0
    package var method = Method.other
    package var methodName = Stretch.empty
    package var target = Stretch.empty
    package var targetForm = TargetForm.origin
    /// The path within the target; empty when an absolute target has none (it means `/`).
    package var path = Stretch.empty
    /// The path has a "%", a "." or a backslash.
    package var hasOddPath = false
    /// What follows `?`; empty also when there is none.
    package var query = Stretch.empty
    /// From an absolute target, else from `Host`; as sent, with its port.
    package var authority = Stretch.empty
    /// The authority without its port and brackets kept for IPv6.
    package var host = Stretch.empty
    /// 0 or 1: HTTP/1.x.
    package var minorVersion: UInt8 = 1
    package var framing = BodyFraming.none
    /// The client lets the connection be used again.
    package var isPersistent = true
    package var expectsContinue = false
    /// `Connection: upgrade` with an `Upgrade` field.
    package var wantsUpgrade = false
    /// `TE: trailers` was among the fields.
    package var acceptsTrailers = false
    /// The value of `X-Request-Deadline`, and of `X-Weir-Attempt`; empty when absent.
    package var deadline = Stretch.empty
    package var attempt = Stretch.empty
    package var fields: FieldIndex

    package init(maxFields: Int) { fields = FieldIndex(capacity: maxFields) }

    /// The target has a `?`, be it with nothing behind it.
    package var hasQuery: Bool { query.start > 0 }
}

/// A parsed response head.
package struct ResponseHead: ~Copyable {
    package var length = 0
    package var status = 0
    package var reason = Stretch.empty
    package var minorVersion: UInt8 = 1
    package var framing = BodyFraming.none
    /// The endpoint lets the connection be used again.
    package var isPersistent = true
    /// What `Content-Length` said, also where no body follows (HEAD, 304); -1 when absent.
    package var declaredLength: Int64 = -1
    package var fields: FieldIndex

    package init(maxFields: Int) { fields = FieldIndex(capacity: maxFields) }

    /// 1xx but not 101: another head follows.
    package var isInterim: Bool { status >= 100 && status < 200 && status != 101 }
}

/// What is wrong with a message, and the status that says so to a client.
package enum Malformed: UInt8, CaseIterable, Error, Sendable {
    case startLine, method, target, targetTooLong, version
    case fieldName, fieldValue, lineEnding, whitespace, foldedLine
    case tooManyFields, headTooLarge
    case hostMissing, hostInvalid, hostRepeated
    case contentLength, transferEncoding, lengthAndEncoding, unknownCoding
    case connectionField, expectation, upgrade, unknownProtocol
    case chunkSize, chunkEnd, trailer, trailerTooLarge
    case status

    /// The status to answer a malformed request with.
    package var statusCode: Int {
        switch self {
        case .targetTooLong: 414
        case .tooManyFields, .headTooLarge, .trailerTooLarge: 431
        case .unknownCoding, .unknownProtocol: 501
        case .version: 505
        case .expectation: 417
        default: 400
        }
    }
}

/// How far a parser came.
package enum ParseStep: Equatable, Sendable {
    /// A whole head; its length is in the head.
    case complete
    case needsMore
    case malformed(Malformed)
}
