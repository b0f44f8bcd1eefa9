// All open downstream connections of a worker, linked through themselves.

/// A list without allocation, so that a drain finds every connection.
final class DownstreamList {
    private(set) var count = 0
    private unowned(unsafe) var first: DownstreamConnection?

    func insert(_ connection: DownstreamConnection) {
        connection.nextInList = first
        first?.previousInList = connection
        first = connection
        count += 1
    }

    func remove(_ connection: DownstreamConnection) {
        if let previous = connection.previousInList {
            previous.nextInList = connection.nextInList
        } else {
            first = connection.nextInList
        }
        connection.nextInList?.previousInList = connection.previousInList
        connection.nextInList = nil
        connection.previousInList = nil
        count -= 1
    }

    /// Visits each connection; the one being visited may leave the list.
    func forEach(_ body: (DownstreamConnection) -> Void) {
        var connection = first
        while let current = connection {
            connection = current.nextInList
            body(current)
        }
    }
}
