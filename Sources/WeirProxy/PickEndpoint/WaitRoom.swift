// Requests of this worker that wait for a permit, and how workers tell each other who got one.

package import WeirNet
package import WeirPolicy

/// The ways of verdicts to the workers that hold the requests.
package final class VerdictLines: Sendable {
    let mailboxes: [Mailbox<WaitVerdict>]

    package init(workers: Int) throws(SystemError) {
        var mailboxes: [Mailbox<WaitVerdict>] = []
        // A verdict carries a permit and must not get lost; there are never more of them than
        // requests that wait, which the queues bound.
        for _ in 0..<workers { mailboxes.append(try Mailbox(capacity: .max)) }
        self.mailboxes = mailboxes
    }

    /// Tells each verdict to the worker that holds the request.
    package func post(_ verdicts: [WaitVerdict]) {
        for verdict in verdicts { post(verdict) }
    }

    func post(_ verdict: WaitVerdict) {
        let worker = WaitRoom.worker(of: verdict.waiter)
        guard worker < mailboxes.count else { return }
        _ = mailboxes[worker].post(verdict)
    }
}

/// The waiting requests of one worker, by the number that the queue knows them under.
struct WaitRoom {
    // A number is the worker, a place here and how often that place was used: a verdict that comes
    // after its request has left finds nobody.
    private struct Place {
        var exchange: Borrowed<Exchange>?
        var uses: UInt32 = 0
    }

    let worker: Int
    private var places: [Place] = []
    private var free: [UInt32] = []

    init(worker: Int) { self.worker = worker }

    static func worker(of waiter: UInt64) -> Int { Int(waiter >> 56) }

    /// Gives a waiting exchange its number, which is never 0. The exchange leaves before it ends.
    mutating func enter(_ exchange: Exchange) -> UInt64 {
        if free.isEmpty {
            free.append(UInt32(places.count))
            places.append(Place())
        }
        let index = Int(free.removeLast())
        places[index].exchange = Borrowed(exchange)
        places[index].uses &+= 1
        return UInt64(worker) << 56 | UInt64(index & 0xFF_FFFF) << 32 | UInt64(places[index].uses)
    }

    /// The exchange of that number leaves; `nil` when it has left before.
    mutating func leave(_ waiter: UInt64) -> Exchange? {
        let index = Int(waiter >> 32 & 0xFF_FFFF)
        guard index < places.count, places[index].uses == UInt32(truncatingIfNeeded: waiter),
            let exchange = places[index].exchange
        else { return nil }
        places[index].exchange = nil
        free.append(UInt32(index))
        return exchange.object
    }
}
