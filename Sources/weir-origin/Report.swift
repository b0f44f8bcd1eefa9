// The bodies that tell what was received.

import WeirHTTP

extension Request {
    /// For people.
    func text(from origin: Origin) -> String {
        var text = "origin: \(origin.name)\nport: \(origin.port)\n\(method) \(target)\n"
        for field in fields { text += "\(field.name): \(field.value)\n" }
        return text
    }

    /// For programs.
    func json(from origin: Origin) -> String {
        let list = fields.map { "[\(Self.quoted($0.name)),\(Self.quoted($0.value))]" }
        return """
            {"origin":"\(origin.name)","port":\(origin.port),"method":\(Self.quoted(method)),\
            "target":\(Self.quoted(target)),"version":"1.\(isHTTP11 ? 1 : 0)",\
            "headers":[\(list.joined(separator: ","))],"body_length":\(bodyLength),\
            "body_fnv1a":"\(bodyChecksum.text)","trailers":\(Self.quoted(trailers))}

            """
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 32:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
