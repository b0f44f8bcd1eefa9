// Advice on an unknown key: another spelling, another place, or weir's word for it.

enum Suggestion {
    /// Words that other proxies use, and what the same thing is called here.
    private static let otherWords = [
        "backend": "cluster", "backends": "clusters", "bind": "address", "buffer": "request_buffer",
        "certificates": "tls", "frontend": "listeners", "frontends": "listeners",
        "headers_add": "response_headers", "hosts": "host", "lb": "load_balancing",
        "lb_policy": "load_balancing", "listen": "address", "locations": "routes",
        "log": "access_log",
        "pool": "cluster", "pools": "clusters", "prefix": "path_prefix", "proxy_pass": "cluster",
        "regex": "path_regex", "respond": "direct_response", "return": "direct_response",
        "rewrite": "prefix_rewrite", "server": "listeners", "servers": "endpoints",
        "service": "cluster", "services": "clusters", "threads": "workers", "token": "token_file",
        "upstream": "cluster", "upstreams": "clusters", "url": "address",
    ]

    static func label(for key: String, in section: Section) -> String? {
        let near = EditDistance.nearest(to: key, among: section.keys.lazy.map(\.name))
        if let near, near.distance == 1 { return "did you mean '\(near.word)'?" }
        let homes = Schema.sections.filter { $0[key] != nil }.map {
            $0.path.isEmpty ? "the top level" : "'\($0.path)'"
        }
        if !homes.isEmpty { return "belongs under \(Text.either(homes))" }
        if let near { return "did you mean '\(near.word)'?" }
        if let word = otherWords[key.lowercased()], section[word] != nil {
            return "weir calls it '\(word)'"
        }
        return nil
    }
}
