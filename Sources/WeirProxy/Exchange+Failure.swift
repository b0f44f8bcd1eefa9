// When it goes wrong: what an exchange does about failures on either side.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry

extension Exchange {
    /// The attempt has failed; its connection is closed already.
    func upstreamFailed(_ failure: AttemptFailure, connection: H1Upstream) {
        upstream = nil
        attemptEnded(isFailure: true)
        // A kept connection may have been closed by the endpoint just as it was used: nothing has
        // been processed then, and a safe request may be sent once more, over a new connection.
        if failure == .reset, connection.isReused, !connection.hasAnswered, !isReplay,
            isRepeatable, !record.isTunnel
        {
            isReplay = true
            isUpstreamReady = false
            pool?.counters.add(.replays)
            return pickEndpoint()
        }
        fail(failure)
    }

    func upstreamMalformed() {
        upstream?.close()
        upstream = nil
        attemptEnded(isFailure: true)
        fail(.malformed)
    }

    func fail(_ failure: AttemptFailure) {
        let counters = pool?.counters
        record.endedBy = .upstream
        switch failure {
        case .connect: refuse(.upstreamConnect)
        case .connectTimeout: refuse(.upstreamConnect, status: 504)
        case .reset:
            counters?.add(.failedReset)
            // Where the end of a tunnel is not orderly, it is still its end.
            if record.isTunnel { finish() } else { refuse(.upstreamReset) }
        case .malformed:
            counters?.add(.failedProtocol)
            refuse(.upstreamProtocol)
        case .exhausted:
            counters?.add(.failedExhausted)
            record.endedBy = .weir
            refuse(.resourceExhausted)
        }
    }

    /// The request breaks the protocol's rules: where its end is cannot be known.
    func refuseMalformed(_ problem: Malformed) {
        record.endedBy = .client
        let refusal: Refusal =
            switch problem {
            case .targetTooLong, .tooManyFields, .headTooLarge, .trailerTooLarge: .headTooLarge
            case .unknownCoding, .version, .expectation: .notImplemented
            default: .badRequest
            }
        // A head that is not accepted says nothing that could be relied on.
        if phase == .decode { head.discard() }
        head.isPersistent = false
        refuse(refusal, status: problem.statusCode)
    }

    /// Ends the exchange with weir's own answer or, once a response has begun, by cutting it off.
    func refuse(_ refusal: Refusal, status: Int? = nil) {
        guard phase != .report else { return }
        // What is being read is the unwanted rest of a request that has had its answer.
        if isDiscarding { return endWithoutRest() }
        record.refuse(refusal)
        if refusal == .clientTooSlow { head.isPersistent = false }
        dropUpstream()
        guard !hasResponseBegun else {
            // Only a broken connection tells the client that this is not the response's end.
            let downstream = self.downstream
            report()
            downstream?.abort()
            return
        }
        respond(LocalReply(refusal, status: status))
    }

    private func endWithoutRest() {
        head.isPersistent = false
        finish()
    }

    /// The client reads its answer too slowly.
    func downstreamTooSlow() {
        record.endedBy = .client
        record.refuse(.clientTooSlow)
        dropUpstream()
        let downstream = self.downstream
        report()
        downstream?.abort()
    }

    /// The client is gone; its connection is closed already.
    func downstreamGone() {
        guard phase != .report else { return }
        let downstream = self.downstream
        if !record.isTunnel, !isDiscarding {
            record.endedBy = .client
            record.refuse(.clientGone)
        }
        dropUpstream()
        report()
        downstream?.abort()
    }
}
