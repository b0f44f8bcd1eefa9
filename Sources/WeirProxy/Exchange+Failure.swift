// When it goes wrong: what an exchange does about failures on either side.

import WeirHTTP
import WeirNet
import WeirPolicy
import WeirTelemetry
import WeirTime

extension Exchange {
    /// The attempt has failed; its connection is closed already.
    func upstreamFailed(_ failure: AttemptFailure, connection: Upstream) {
        // Where a kept connection was closed just as it was used, nothing has been processed, and a
        // safe request may be sent once more, over a new connection.
        let isStale = failure == .reset && connection.isStale && isRepeatable
        if rival != nil {
            // The other attempt is in the place of what could be sent once more.
            let isReplaceable = isStale || failure == .refused || failure == .unsent
            if !isReplaceable { pool?.counters.count(failure) }
            return endOneOfTwo(connection, isReplaceable ? .unsent : failure.outcome)
        }
        upstream = nil
        if connection.isEndVouched { record.isCutOff = true }
        if isStale || isUntouched(failure), !isReplay, !record.isTunnel {
            outcome = .unsent
            settlePermit(keeping: .ofRetries)
            isReplay = true
            needsFreshConnection = isStale
            isUpstreamReady = false
            pool?.counters.add(.replays)
            return pickEndpoint()
        }
        attemptFailed(failure, hasAnswered: connection.hasAnswered)
    }

    /// What has not been looked at may be sent again once, whatever it asks for; rather elsewhere
    /// where there was too much for the endpoint.
    private func isUntouched(_ failure: AttemptFailure) -> Bool {
        guard failure == .refused || failure == .unsent, !isBodyLost, !hasResponseBegun else {
            return false
        }
        if failure == .refused, let pool { tried.insert(pool.id) }
        return true
    }

    func upstreamMalformed() {
        upstream?.close()
        upstream = nil
        attemptFailed(.malformed, hasAnswered: true)
    }

    /// An attempt has ended in failure: another one follows, or the exchange ends.
    func attemptFailed(_ failure: AttemptFailure, hasAnswered: Bool = false) {
        let condition: RetryConditions
        switch failure {
        case .connect, .connectTimeout: condition = .connectFailure
        case .refused, .unsent: condition = .refusedStream
        case .reset: condition = hasAnswered ? [] : .resetBeforeResponse
        case .malformed, .exhausted: condition = []
        }
        outcome = failure.outcome
        settlePermit()
        let isUnprocessed =
            outcome == .connectFailure || failure == .refused || failure == .unsent
        if retries(after: condition, isUnprocessed: isUnprocessed) {
            return pool?.counters.count(failure) ?? ()
        }
        fail(failure)
    }

    private func fail(_ failure: AttemptFailure) {
        pool?.counters.count(failure)
        record.endedBy = failure == .exhausted ? .weir : .upstream
        switch failure {
        case .connect: refuse(.upstreamConnect)
        case .connectTimeout: refuse(.upstreamConnect, status: 504)
        // Where the end of a tunnel is not orderly, it is still its end.
        case .refused, .unsent: refuse(.upstreamReset)
        case .reset:
            if record.isTunnel, !record.isCutOff { finish() } else { refuse(.upstreamReset) }
        case .malformed: refuse(.upstreamProtocol)
        case .exhausted: refuse(.resourceExhausted)
        }
    }

    /// No answer in the time that the attempt, the route or the client gives.
    func attemptTimedOut() {
        if hasResponseBegun {
            // Where the client may still speak, as in a call of gRPC, it is not the endpoint alone
            // that is silent.
            let isEndpoints = isRequestComplete || upstream?.isBehind ?? false
            if isEndpoints { pool?.counters.add(.failedTimeout) }
            outcome = isEndpoints ? .timeout : .cancelled
            record.endedBy = isEndpoints ? .upstream : .weir
            return refuse(.upstreamTimeout)
        }
        pool?.counters.add(.failedTimeout)
        // A client in a hurry says nothing about the endpoint.
        let isClientsDeadline = ticket.deadline <= now
        outcome = isClientsDeadline ? .cancelled : .timeout
        if let upstream {
            self.upstream = nil
            upstream.giveUp(isClients: isClientsDeadline)
        }
        settlePermit()
        if now < dueAt {
            if rival != nil { return promoteRival(outcome) }
            if retries(after: .perTryTimeout, isUnprocessed: false) { return }
        }
        if !isClientsDeadline { record.endedBy = .upstream }
        refuse(isClientsDeadline ? .deadline : .upstreamTimeout)
    }

    /// What an answer's status says about the endpoint, and whether another attempt takes its
    /// place: `true` when this answer is not for the client.
    func judge(_ answer: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var status = answer
        if isAnswerOfGRPC(bytes) {
            guard let said = statusOfCall(bytes) else {
                record.call = .open(isBounded: proxy.responseHead.declaredLength >= 0)
                outcome = .cancelled
                matched?.use { permit?.begun(tempo: $0.rules.tempo, now: now) }
                return false
            }
            status = said
        }
        guard status >= 500 || status == 429 else {
            outcome = .success
            matched?.use { permit?.answered(.success, tempo: $0.rules.tempo, now: now) }
            return false
        }
        let hint = retryAfter(in: bytes)
        outcome = AttemptOutcome(status: status, retryAfter: hint)
        permit?.answered(outcome, now: now)
        guard let upstream else { return false }
        let judged = outcome
        guard retries(afterStatus: status, retryAfter: hint) else { return false }
        // Retried: the connection goes with the answer that nobody reads.
        record.call = .none
        self.upstream = nil
        outcome = judged
        settlePermit(keeping: .ofRetries)
        upstream.close()
        return true
    }

    /// How long the endpoint wants to be left alone, as the head of its answer says.
    func retryAfter(in bytes: UnsafeRawBufferPointer) -> Interval? {
        proxy.responseHead.retryAfterSeconds(in: bytes).map { .seconds($0) }
    }

    /// The request breaks the protocol's rules: where its end is cannot be known.
    func refuseMalformed(_ problem: Malformed) {
        record.endedBy = .client
        let refusal: Refusal =
            switch problem {
            case .targetTooLong, .tooManyFields, .headTooLarge, .trailerTooLarge: .headTooLarge
            case .unknownCoding, .unknownProtocol, .version, .expectation: .notImplemented
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
        stopWaiting()
        record.refuse(refusal)
        if refusal == .clientTooSlow { head.isPersistent = false }
        dropUpstream()
        guard !hasResponseBegun else {
            if cutCallOff(refusal) { return finish() }
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
        guard phase != .report else { return }
        record.endedBy = .client
        record.refuse(.clientTooSlow)
        dropUpstream()
        let downstream = self.downstream
        report()
        downstream?.abort()
    }

    /// Nothing of an answer has been sent, and whoever keeps its connection open would get one.
    var awaitsAnswer: Bool { phase != .report && !hasResponseBegun && head.isPersistent }

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

extension AttemptOutcome {
    /// What an answer's status says about its endpoint.
    init(status: Int, retryAfter: Interval?) {
        if let retryAfter, status == 429 || status == 503 {
            self = .busy(retryAfter: retryAfter)
        } else {
            self = status < 500 ? .success : .serverError(status: status)
        }
    }
}

extension AttemptFailure {
    /// What the failure says about the endpoint.
    var outcome: AttemptOutcome {
        switch self {
        case .connect, .connectTimeout: .connectFailure
        case .refused, .reset: .reset
        case .malformed: .malformed
        case .unsent, .exhausted: .unsent
        }
    }
}

extension ClusterCounters {
    /// Counts a failed attempt.
    fileprivate func count(_ failure: AttemptFailure) {
        switch failure {
        case .connect: add(.connectFailures)
        case .connectTimeout: add(.connectTimeouts)
        case .refused, .unsent, .reset: add(.failedReset)
        case .malformed: add(.failedProtocol)
        case .exhausted: add(.failedExhausted)
        }
    }
}
