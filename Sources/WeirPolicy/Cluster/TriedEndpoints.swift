// Where a request's attempts have been, so that the next one goes elsewhere.

/// The endpoints that a request's attempts went to: the last four are remembered.
public struct TriedEndpoints: Sendable {
    // Endpoints' numbers begin with 1.
    @usableFromInline var last: UInt32 = 0
    @usableFromInline var second: UInt32 = 0
    @usableFromInline var third: UInt32 = 0
    @usableFromInline var fourth: UInt32 = 0

    /// None so far.
    @inlinable public init() {}

    /// No attempt has been made.
    @inlinable public var isEmpty: Bool { last == 0 }

    /// Adds an endpoint by its `EndpointGovernor.id`; the fifth before it is forgotten.
    @inlinable public mutating func insert(_ id: UInt32) {
        (fourth, third, second, last) = (third, second, last, id)
    }

    /// Whether the endpoint of that `id` is one of them.
    @inlinable public func contains(_ id: UInt32) -> Bool {
        last == id || second == id || third == id || fourth == id
    }
}
