// Which requests matter more than others.

enum PrioritiesSection {
    static let classes = Key(
        "classes", .list(of: PriorityClassSection.kind, "priority classes"),
        default: "[critical, default, sheddable]",
        "Best first, at most 8. A worse class waits while a better one does, and is shed first.")
    static let defaultClass = Key(
        "default_class", .reference(to: "priority class"), default: "default",
        "The class of requests that nothing else gives one.")
    static let requestHeader = Key(
        "request_header", .orOff(.endToEndField), default: "off",
        "The field in which a request names its class. It is believed from the listener's "
            + "trusted_proxies only, and there decides before the route's and the plan's class.")

    static let section = Section(
        "priorities", at: "priorities", "Which requests matter more than others.",
        example: """
            priorities:
              classes: [critical, default, { name: sheddable, min_share: 2 }]
              default_class: default
            """,
        keys: [classes.entry, defaultClass.entry, requestHeader.entry])

    static func decode(_ node: YAMLNode, _ report: Report) -> Priorities? {
        var priorities = Priorities()
        guard let reader = SectionReader(node, section, report) else {
            report.places.unreadable.insert(.priorityClass)
            return nil
        }
        if let found = reader.read(classes) {
            priorities.classes = found
        } else if reader.has(classes) {
            report.places.unreadable.insert(.priorityClass)
        } else {
            declareDefaults(report)
        }
        checkClasses(priorities, reader, report)
        reader.read(defaultClass, into: &priorities.defaultClass)
        report.places.refer(
            to: .priorityClass, priorities.defaultClass, reader.valueRange(defaultClass))
        priorities.requestHeader = reader.read(requestHeader)?.value
        if priorities.requestHeader != nil {
            report.places.priorityHeader = reader.valueRange(requestHeader)
        }
        return priorities
    }

    /// The names that stand for something where the file declares none.
    static func declareDefaults(_ report: Report) {
        for item in Priorities().classes {
            report.places.declare(.priorityClass, item.name, SourceRange(line: 1, column: 1))
        }
    }

    private static func checkClasses(
        _ priorities: Priorities, _ reader: SectionReader, _ report: Report
    ) {
        guard let range = reader.valueRange(classes) else { return }
        let classes = priorities.classes
        if classes.count > 8 {
            report.error(
                .outOfRange, at: range, "\(classes.count) priority classes; at most 8 are allowed")
        }
        let shares = classes.reduce(0) { $0 + $1.minShare }
        if shares > 100 {
            report.error(
                .shareSum, at: range, "the classes' min_share add up to \(shares) percent",
                help: "together they can have at most 100")
        }
        if !reader.has(defaultClass), !classes.isEmpty,
            priorities.index(of: priorities.defaultClass) == nil
        {
            report.error(
                .missingKey, at: reader.startRange,
                "priorities needs the key 'default_class': no class is named "
                    + "'\(priorities.defaultClass)'",
                help: "default_class: one of \(classes.map(\.name).joined(separator: ", "))")
        }
    }
}

enum PriorityClassSection {
    static let name = Key("name", .name, required: true, "Its name in logs and metrics; unique.")
    static let minShare = Key(
        "min_share", .integer(0...100), default: "0",
        "Percentage of permits that the class gets while it waits, whatever better classes want. "
            + "With 0 it may wait in vain.")

    static let section = Section(
        "priority class", at: "priorities.classes[]",
        "A class; a name alone stands for a mapping with that name.",
        keys: [name.entry, minShare.entry])

    static let kind = Kind<Priorities.PriorityClass>(type: "name or mapping", bounds: nil) {
        node, report in
        if case .scalar = node.content {
            return Kind<String>.name.read(node, report).map {
                report.places.declare(.priorityClass, $0, node.range)
                return Priorities.PriorityClass(name: $0)
            }
        }
        guard let reader = SectionReader(node, section, report) else { return nil }
        let share = reader.read(PriorityClassSection.minShare)
        guard let name = reader.read(PriorityClassSection.name),
            let range = reader.valueRange(PriorityClassSection.name)
        else {
            return nil
        }
        report.places.declare(.priorityClass, name, range)
        return Priorities.PriorityClass(name: name, minShare: share ?? 0)
    }
}
