// Which requests matter more than others.

/// The `priorities` section.
package struct Priorities: Equatable, Sendable {
    /// Best first: 1...8.
    package var classes = ["critical", "default", "sheddable"].map { PriorityClass(name: $0) }
    package var defaultClass = "default"
    /// The request field that names a class, believed from trusted proxies only; lower case.
    package var requestHeader: String?

    package init() {}

    package struct PriorityClass: Equatable, Sendable {
        package var name: String
        /// Percentage of permits that the class gets while it waits, whatever better ones want:
        /// 0...100. 0 is strict.
        package var minShare = 0

        package init(name: String, minShare: Int = 0) {
            self.name = name
            self.minShare = minShare
        }
    }

    /// The place of a class, 0 being the best.
    package func index(of name: String) -> Int? { classes.firstIndex { $0.name == name } }
}
