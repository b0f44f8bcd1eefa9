// JSON for people and programs that ask seldom: the status page, the process log.

/// Writes JSON text piece by piece; commas and escapes are its business.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    /// Writes an object whose members `body` writes.
    package mutating func object(_ body: (inout JSONWriter) -> Void) {
        enclose(UInt8(ascii: "{"), UInt8(ascii: "}"), body)
    }

    /// Writes an array whose elements `body` writes.
    package mutating func array(_ body: (inout JSONWriter) -> Void) {
        enclose(UInt8(ascii: "["), UInt8(ascii: "]"), body)
    }

    /// Writes a member's name; its value must follow.
    package mutating func key(_ name: String) {
        string(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func string(_ value: String) {
        separate()
        var value = value
        value.withUTF8 { utf8 in
            let text = [UInt8](unsafeUninitializedCapacity: JSONBytes.room(for: utf8.count)) {
                buffer, count in
                guard let start = buffer.baseAddress else { return }
                var out = JSONBytes(next: start)
                out.string(utf8)
                count = out.next - start
            }
            bytes += text
        }
    }

    package mutating func number(_ value: Int64) { literal(String(value)) }

    package mutating func number(_ value: UInt64) { literal(String(value)) }

    /// Writes a number; JSON has none for infinities, which become `null`.
    package mutating func number(_ value: Double) {
        literal(value.isFinite ? "\(value)" : "null")
    }

    package mutating func boolean(_ value: Bool) { literal(value ? "true" : "false") }

    package mutating func null() { literal("null") }

    /// A value that is JSON already.
    package mutating func json(_ text: String) { literal(text) }

    // MARK: Members

    package mutating func member(_ name: String, _ value: String) {
        key(name)
        string(value)
    }

    package mutating func member(_ name: String, _ value: Int) {
        key(name)
        number(Int64(value))
    }

    package mutating func member(_ name: String, _ value: UInt64) {
        key(name)
        number(value)
    }

    package mutating func member(_ name: String, _ value: Bool) {
        key(name)
        boolean(value)
    }

    // MARK: Pieces

    private mutating func enclose(
        _ open: UInt8, _ close: UInt8, _ body: (inout JSONWriter) -> Void
    ) {
        separate()
        bytes.append(open)
        needsComma = false
        body(&self)
        bytes.append(close)
        needsComma = true
    }

    private mutating func literal(_ text: String) {
        separate()
        bytes += text.utf8
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }
}
