// References without a count, where something else is known to keep the object alive.

/// A reference to an object that its owner keeps alive.
///
/// Whatever is loaded from a variable is retained and released around its use, 40 instructions
/// each time (`unowned(unsafe)` included): on a request's way that was a fifth of weir's work.
struct Borrowed<Object: AnyObject> {
    private let reference: Unmanaged<Object>

    @inline(__always)
    init(_ object: Object) { reference = .passUnretained(object) }

    /// What `toOpaque` of an unmanaged reference has given.
    @inline(__always)
    init(opaque: UnsafeMutableRawPointer) { reference = .fromOpaque(opaque) }

    /// The object, counted as usual: for ways that are seldom taken.
    @inline(__always)
    var object: Object { reference.takeUnretainedValue() }

    /// They refer to the same object.
    @inline(__always)
    func isSame(as other: Borrowed) -> Bool { reference.toOpaque() == other.reference.toOpaque() }

    /// Calls `body` with the object, not counted.
    @inline(__always)
    func use<Result>(_ body: (Object) -> Result) -> Result {
        reference._withUnsafeGuaranteedRef(body)
    }
}

extension Borrowed: Sendable where Object: Sendable {}
