// Where names were declared and used, for checks that need the whole file.

/// Filled in by the sections, in the order of the file.
final class Places {
    struct Named {
        var name: String
        var range: SourceRange
    }

    struct Bound {
        var owner: String
        var address: Address
        var range: SourceRange
    }

    struct RoutePlace {
        var name: String
        /// The route's name, or its first character when it has none.
        var range: SourceRange
        var timeout: SourceRange?
        var retry: SourceRange?
    }

    /// What names stand for.
    enum Noun: String, CaseIterable {
        case listener
        case cluster
        case retryPolicy = "retry policy"
        case plan
        case priorityClass = "priority class"

        var plural: String {
            switch self {
            case .listener: "listeners"
            case .cluster: "clusters"
            case .retryPolicy: "retry policies"
            case .plan: "plans"
            case .priorityClass: "priority classes"
            }
        }
    }

    /// A name that must be declared somewhere.
    struct Reference {
        var noun: Noun
        var name: String
        var range: SourceRange
    }

    var routes: [RoutePlace] = []
    private(set) var declared: [Noun: [Named]] = [:]
    /// What could not be read: which names there are is not known.
    var unreadable: Set<Noun> = []
    private(set) var references: [Reference] = []
    /// What weir will listen on.
    var bound: [Bound] = []
    /// There is a `tenants` section, legal or not.
    var hasTenants = false
    /// Keys that ask for the tenant.
    var tenantUses: [SourceRange] = []
    var priorityHeader: SourceRange?
    /// A tenant is told by its certificate.
    var clientCertificate: SourceRange?
    /// By cluster: the first zone that one of its endpoints has.
    var zones: [Named] = []

    /// The rules of each list of rate limits that have names.
    private(set) var ruleLists: [[Named]] = []
    /// Those of the list that is being read.
    var rules: [Named] = []

    func endRules() {
        if rules.count > 1 { ruleLists.append(rules) }
        rules = []
    }

    var listeners: [Named] { declared[.listener] ?? [] }
    var clusters: [Named] { declared[.cluster] ?? [] }

    func declare(_ noun: Noun, _ name: String, _ range: SourceRange) {
        declared[noun, default: []].append(Named(name: name, range: range))
    }

    func refer(to noun: Noun, _ name: String?, _ range: SourceRange?) {
        guard let name, let range else { return }
        references.append(Reference(noun: noun, name: name, range: range))
    }
}
