// Advice on an unknown key: another spelling, another place, or weir's word for it.

struct Suggestion {
    /// The key of the same section that was probably meant.
    var meant: String?
    /// Written beside the caret.
    var label: String

    /// Words that other proxies use, and what the same thing is called here.
    private static let otherWords = [
        "backend": "cluster", "backends": "clusters", "bind": "address", "buffer": "request_buffer",
        "certificates": "tls", "frontend": "listeners", "frontends": "listeners",
        "hash_key": "hash_on", "headers_add": "response_headers", "hosts": "host",
        "lb": "load_balancing",
        "lb_policy": "load_balancing", "listen": "address", "locations": "routes",
        "log": "access_log", "outlier": "outlier_detection",
        "outlier_ejection": "outlier_detection",
        "pool": "cluster", "pools": "clusters", "prefix": "path_prefix", "proxy_pass": "cluster",
        "regex": "path_regex", "respond": "direct_response", "retries": "retry",
        "retry_policy": "retry", "return": "direct_response",
        "rewrite": "prefix_rewrite", "server": "listeners", "servers": "endpoints",
        "service": "cluster", "services": "clusters", "threads": "workers", "token": "token_file",
        "upstream": "cluster", "upstreams": "clusters", "url": "address",
    ]

    /// `nil` when nothing legal comes near.
    static func on(_ key: String, in section: Section) -> Suggestion? {
        let near = EditDistance.nearest(to: key, among: section.keys.lazy.map(\.name))
        if let near, near.distance == 1 {
            return Suggestion(meant: near.word, label: "did you mean '\(near.word)'?")
        }
        let homes = Schema.sections.filter { $0[key] != nil }.map {
            $0.path.isEmpty ? "the top level" : "'\($0.path)'"
        }
        if let word = otherWords[key.lowercased()], section[word] != nil {
            return Suggestion(meant: word, label: "weir calls it '\(word)'")
        }
        if !homes.isEmpty { return Suggestion(label: "belongs under \(Text.either(homes))") }
        return near.map { Suggestion(meant: $0.word, label: "did you mean '\($0.word)'?") }
    }
}
