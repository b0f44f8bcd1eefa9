// What an admin handler is asked and what it answers.

package import WeirHTTP

/// A request to the admin listener, as its handlers see it.
package struct AdminRequest {
    package let method: Method
    /// Without the query; not decoded.
    package let path: String
    package let query: String
    package let body: [UInt8]
    /// The `Accept` field names `application/json`.
    package let acceptsJSON: Bool
    /// The request carries the token, or none is configured.
    package let isAuthorised: Bool
}

/// A handler's answer.
package struct AdminResponse {
    package var status: Int
    package var contentType: String
    package var body: [UInt8]

    package init(status: Int, contentType: String, body: [UInt8]) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    /// An answer for people.
    package static func text(_ status: Int, _ text: String) -> AdminResponse {
        AdminResponse(
            status: status, contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
    }

    /// An answer for programs.
    package static func json(_ status: Int, _ bytes: [UInt8]) -> AdminResponse {
        AdminResponse(status: status, contentType: "application/json", body: bytes)
    }
}

/// One endpoint of the admin listener. One for GET answers HEAD as well.
package struct AdminRoute {
    package let method: Method
    /// A path that ends in `/` stands for all that lie below it.
    package let path: String
    package let handler: (AdminRequest) -> AdminResponse

    package init(
        _ method: Method, _ path: String, _ handler: @escaping (AdminRequest) -> AdminResponse
    ) {
        self.method = method
        self.path = path
        self.handler = handler
    }

    func matches(_ asked: String) -> Bool {
        path.hasSuffix("/") ? asked.hasPrefix(path) && asked != path : asked == path
    }
}
