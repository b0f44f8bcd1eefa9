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
    }

    var listeners: [Named] = []
    var routes: [RoutePlace] = []
    var clusters: [Named] = []
    /// Clusters that routes name.
    var references: [Named] = []
    /// What weir will listen on.
    var bound: [Bound] = []
}
