// Names and addresses across the file: unique where declared, declared where used.

enum NameChecks {
    static func run(_ report: Report) {
        let places = report.places
        refuseDuplicates("listener", places.listeners, report)
        refuseDuplicates(
            "route",
            places.routes.compactMap {
                $0.name.isEmpty ? nil : Places.Named(name: $0.name, range: $0.range)
            }, report)
        refuseDuplicates("cluster", places.clusters, report)
        refuseDuplicates(
            "priority class", places.declared[.priorityClass] ?? [], report)
        for rules in places.ruleLists { refuseDuplicates("rate limit", rules, report) }
        refuseSharedAddresses(places.bound, report)
        refuseDangling(places, report)
        refuseTenantKeys(places, report)
    }

    private static func refuseDuplicates(
        _ what: String, _ declared: [Places.Named], _ report: Report
    ) {
        var first: [String: SourceRange] = [:]
        for item in declared {
            if let range = first[item.name] {
                report.error(
                    .duplicateName, at: item.range, "a second \(what) is named '\(item.name)'",
                    related: Diagnostic.Related(range: range, label: "first named here"))
            } else {
                first[item.name] = item.range
            }
        }
    }

    private static func refuseSharedAddresses(_ bound: [Places.Bound], _ report: Report) {
        var first: [Address: Places.Bound] = [:]
        for item in bound.sorted(by: { $0.range.isBefore($1.range) }) {
            // Each bind of port 0 gets a port of its own.
            if case .ip(_, port: 0) = item.address { continue }
            guard let other = first[item.address] else {
                first[item.address] = item
                continue
            }
            report.error(
                .duplicateAddress, at: item.range, "this address is taken by \(other.owner)",
                related: Diagnostic.Related(range: other.range, label: "first used here"))
        }
    }

    private static func refuseDangling(_ places: Places, _ report: Report) {
        var names: [Places.Noun: Set<String>] = [:]
        for (noun, declared) in places.declared { names[noun] = Set(declared.map(\.name)) }
        for reference in places.references where !places.unreadable.contains(reference.noun) {
            let noun = reference.noun
            if names[noun]?.contains(reference.name) == true { continue }
            let known = (places.declared[noun] ?? []).map(\.name)
            // The nearest name costs an edit distance per name.
            let near = report.isFull ? nil : EditDistance.nearest(to: reference.name, among: known)
            report.error(
                .danglingReference, at: reference.range,
                "there is no \(noun.rawValue) \(Text.quoted(reference.name))",
                label: near.map { "did you mean '\($0.word)'?" },
                help: known.isEmpty ? "the file has no \(noun.plural)" : list(noun, known))
        }
    }

    private static func list(_ noun: Places.Noun, _ names: [String]) -> String {
        let shown = names.prefix(8).joined(separator: ", ")
        return "\(noun.plural): \(shown)\(names.count > 8 ? ", ..." : "")"
    }

    /// A key that asks for the tenant, where nobody is told apart, would hold for all at once.
    private static func refuseTenantKeys(_ places: Places, _ report: Report) {
        guard !places.hasTenants else { return }
        for range in places.tenantUses {
            report.error(
                .danglingReference, at: range, "'tenant' without a 'tenants' section",
                help: "tell tenants apart: tenants: { identify: [{ header: x-api-key }], ... }")
        }
    }
}
