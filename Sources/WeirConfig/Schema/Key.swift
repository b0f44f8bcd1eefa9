// The schema's vocabulary: what a section is, what a key is, what a value may be.

/// When a changed value takes effect.
enum Reload: String, Sendable {
    /// For requests that begin after the reload.
    case live = "reload"
    /// For connections that are made after the reload.
    case newConnections = "new connections"
    case restart = "restart"
}

/// One row of the schema, whatever its value's type.
struct KeyEntry: Sendable {
    var name: String
    /// The reference's words for the type, with its unit.
    var type: String
    var bounds: String?
    var defaultText: String?
    var isRequired = false
    var reload = Reload.live
    var doc: String
    /// The key belongs to a later release and is refused.
    var isLater = false
    /// The key that is not asked for where this one stands.
    var standsFor: String?

    /// A key that a later release will accept.
    static func later(_ name: String, _ doc: String, insteadOf other: String? = nil) -> KeyEntry {
        KeyEntry(name: name, type: "", doc: doc, isLater: true, standsFor: other)
    }
}

/// A key whose value reads as a `Value`.
struct Key<Value>: Sendable {
    let entry: KeyEntry
    let kind: Kind<Value>

    var name: String { entry.name }

    init(
        _ name: String, _ kind: Kind<Value>, default defaultText: String? = nil,
        required isRequired: Bool = false, reload: Reload = .live, _ doc: String
    ) {
        self.kind = kind
        entry = KeyEntry(
            name: name, type: kind.type, bounds: kind.bounds, defaultText: defaultText,
            isRequired: isRequired, reload: reload, doc: doc)
    }
}

/// How a value is read and described.
struct Kind<Value>: Sendable {
    /// For the reference: "duration (ns us ms s m h)".
    var type: String
    /// For the reference and for out-of-range errors: "1ms to 24h".
    var bounds: String?
    /// `nil` after reporting what is wrong.
    var read: @Sendable (YAMLNode, Report) -> Value?
}

/// The keys of one mapping.
struct Section: Sendable {
    /// For messages: "unknown key 'x' in route".
    let noun: String
    /// Where it stands: "routes[].match".
    let path: String
    /// Other places where the same section stands.
    let otherPaths: [String]
    let doc: String
    /// YAML that uses it, complete enough to copy.
    let example: String
    let keys: [KeyEntry]
    private let positions: [String: Int]

    init(
        _ noun: String, at path: String, andAt otherPaths: [String] = [], _ doc: String,
        example: String = "", keys: [KeyEntry]
    ) {
        self.noun = noun
        self.path = path
        self.otherPaths = otherPaths
        self.doc = doc
        self.example = example
        self.keys = keys
        positions = Dictionary(
            keys.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { a, _ in a })
    }

    subscript(name: String) -> KeyEntry? { positions[name].map { keys[$0] } }

    /// The names of the keys that this release accepts.
    var accepted: [String] { keys.filter { !$0.isLater }.map(\.name) }
}
