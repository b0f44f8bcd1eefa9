// After a 101 both sides speak another protocol: bytes pass through as they come.

import WeirNet

extension Exchange {
    func beginTunnel() {
        record.isTunnel = true
        upstream?.beginTunnel()
        downstream?.beginTunnel()
    }

    func tunnelToUpstream(_ bytes: UnsafeRawBufferPointer) {
        record.requestBodyBytes &+= Int64(bytes.count)
        upstream?.gather(bytes)
        touch()
    }

    func tunnelToDownstream(_ bytes: UnsafeRawBufferPointer) {
        guard let downstream else { return }
        record.responseBodyBytes &+= Int64(bytes.count)
        downstream.sendRaw(bytes)
        touch()
    }

    /// One side has ended its sending: the other side is told, and may still answer.
    func tunnelEndFromDownstream() {
        guard let upstream else { return }
        upstream.flush()
        // Rule: the upstream's own end is taken up when it is read, after all that came before it.
        upstream.endSending()
    }

    func tunnelEndFromUpstream() {
        guard let downstream else { return }
        downstream.flush()
        if let tls = upstream?.tls, !tls.hasOrderlyEnd {
            // Anyone may have ended it: the client must not be told that it is complete.
            record.isCutOff = true
            upstream?.close()
            upstream = nil
            return attemptFailed(.reset, hasAnswered: true)
        }
        if let upstream { release(upstream) }
        finish()
    }
}
