// The file's top level.

enum RootSection {
    static let version = Key(
        "version", .integer(1...1), required: true, "The format of this file. It is 1.")
    static let admin = Key(
        "admin", .section(AdminSection.decode),
        "The admin listener: metrics, status, reload. Without it there is none.")
    static let runtime = Key(
        "runtime", .section(RuntimeSection.decode),
        "What concerns the whole process.")
    static let listeners = Key(
        "listeners",
        .list(of: .section(ListenerSection.decode), "listeners"),
        required: true, "Where weir accepts connections.")
    static let tenants = Key(
        "tenants", .section(TenantsSection.decode),
        "Who a request belongs to, and what each of them is allowed. Without it nobody is told "
            + "apart.")
    static let priorities = Key(
        "priorities", .section(PrioritiesSection.decode),
        "Which requests matter more than others.")
    static let retryPolicies = Key(
        "retry_policies", .named(.retryPolicy, RetryPolicySection.decode),
        "What is sent again after a failure, by the name that routes use.")
    static let rateLimits = Key(
        "rate_limits", RateRuleSection.rules, default: "[]",
        "How often anything may be asked for, on all routes together.")
    static let routes = Key(
        "routes", .list(of: .section(RouteSection.decode), "routes"),
        required: true, "Which requests go where. The first that matches wins.")
    static let clusters = Key(
        "clusters", .list(of: .section(ClusterSection.decode), "clusters"),
        "Named sets of interchangeable endpoints.")

    static let section = Section(
        "the configuration", at: "", "The top level of the file.",
        example: """
            version: 1
            listeners:
              - { name: edge, address: 127.0.0.1:8080 }
            routes:
              - { name: all, cluster: app }
            clusters:
              - { name: app, endpoints: [127.0.0.1:9001] }
            """,
        keys: [
            version.entry, admin.entry, runtime.entry, listeners.entry, tenants.entry,
            priorities.entry, retryPolicies.entry, rateLimits.entry, routes.entry, clusters.entry,
            .later("shared_state", "budgets shared by several instances"),
        ])

    static func decode(_ node: YAMLNode, _ report: Report) -> Configuration? {
        guard let reader = SectionReader(node, section, report) else { return nil }
        var configuration = Configuration()
        _ = reader.read(version)
        configuration.admin = reader.read(admin)
        reader.read(runtime, into: &configuration.runtime)
        reader.read(listeners, into: &configuration.listeners)
        report.places.hasTenants = reader.has(tenants)
        configuration.tenants = reader.read(tenants)
        if !reader.has(priorities) { PrioritiesSection.declareDefaults(report) }
        reader.read(priorities, into: &configuration.priorities)
        reader.read(retryPolicies, into: &configuration.retryPolicies)
        reader.read(rateLimits, into: &configuration.rateLimits)
        reader.read(routes, into: &configuration.routes)
        reader.read(clusters, into: &configuration.clusters)
        return configuration
    }
}
