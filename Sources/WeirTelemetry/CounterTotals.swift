// The counters of all workers added up: what the metrics and the status page show.

/// Sums over all workers at one moment.
package struct CounterTotals: Sendable {
    /// One route's sums.
    package struct Route: Sendable {
        package let name: String
        package let cells: [UInt64]
        package let buckets: [UInt64]
        /// By the registry's list of codes.
        package let refusals: [UInt64]
        /// Refusals that policies in shadow mode would have given, likewise.
        package let shadows: [UInt64]

        package subscript(_ counter: RouteCounter) -> UInt64 { cells[counter.rawValue] }
    }

    /// One cluster's sums.
    package struct Cluster: Sendable {
        package let name: String
        package let cells: [UInt64]
        /// Calls of gRPC by their statuses.
        package let calls: [UInt64]

        package subscript(_ counter: ClusterCounter) -> UInt64 { cells[counter.rawValue] }
    }

    package let routes: [Route]
    package let clusters: [Cluster]
    /// One row a worker; not added up, since an uneven spread is worth seeing.
    package let workers: [[UInt64]]
    package let refusalCodes: [StaticString]

    package init(_ registry: CounterRegistry) {
        refusalCodes = registry.refusalCodes
        let codes = registry.refusalCodes.indices
        routes = registry.routes.map { row in
            Route(
                name: row.name,
                cells: RouteCounter.allCases.map { counter in
                    row.workers.reduce(0) { $0 &+ $1.load(counter) }
                },
                buckets: (0..<Buckets.count).map { index in
                    row.workers.reduce(0) { $0 &+ $1.loadBucket(index) }
                },
                refusals: codes.map { code in
                    row.workers.reduce(0) { $0 &+ $1.loadRefusal(code) }
                },
                shadows: codes.map { code in
                    row.workers.reduce(0) { $0 &+ $1.loadShadow(code) }
                })
        }
        clusters = registry.clusters.map { row in
            Cluster(
                name: row.name,
                cells: ClusterCounter.allCases.map { counter in
                    row.workers.reduce(0) { $0 &+ $1.load(counter) }
                },
                calls: GRPCStatus.allCases.map { status in
                    row.workers.reduce(0) { $0 &+ $1.load(status) }
                })
        }
        workers = registry.workers.map { worker in
            WorkerCounter.allCases.map { worker.load($0) }
        }
    }

    /// A counter's sum over the workers.
    package func sum(_ counter: WorkerCounter) -> UInt64 {
        workers.reduce(0) { $0 &+ $1[counter.rawValue] }
    }
}

extension CounterTotals {
    /// Writes the sums as members of an object that is open, for the status page.
    package func write(to json: inout JSONWriter) {
        json.key("workers")
        json.array { json in
            for cells in workers {
                json.object { json in
                    for counter in WorkerCounter.allCases {
                        json.member(Self.key(counter), cells[counter.rawValue])
                    }
                }
            }
        }
        json.key("routes")
        json.object { json in
            for route in routes {
                json.key(route.name)
                json.object { json in
                    for counter in RouteCounter.allCases {
                        json.member(Self.key(counter), route[counter])
                    }
                    json.key("refusals")
                    json.object { json in
                        for (code, count) in zip(refusalCodes, route.refusals) where count > 0 {
                            json.member(code.description, count)
                        }
                    }
                }
            }
        }
        json.key("clusters")
        json.object { json in
            for cluster in clusters {
                json.key(cluster.name)
                json.object { json in
                    for counter in ClusterCounter.allCases {
                        json.member(Self.key(counter), cluster[counter])
                    }
                }
            }
        }
    }

    /// A counter's name in the style of the configuration: `bytesSent` becomes `bytes_sent`, and
    /// `responses2xx` becomes `responses_2xx`.
    private static func key(_ counter: some Any) -> String {
        var key = ""
        var previous: Character = "_"
        for character in "\(counter)" {
            let startsWord =
                character.isUppercase || (character.isNumber && !previous.isNumber)
            if startsWord { key.append("_") }
            key += character.lowercased()
            previous = character
        }
        return key
    }
}
