// After a 101 both sides speak another protocol: bytes pass through as they come.

import WeirHTTP
import WeirNet

extension Exchange {
    /// An endpoint has answered with a page where a tunnel was asked for: a client of HTTP/2 would
    /// take any success for one (RFC 8441 section 5).
    @inline(__always)
    func passesForTunnel(_ status: Int) -> Bool {
        guard head.wantsUpgrade, let downstream else { return false }
        return status / 100 == 2 && downstream.isH2
    }

    func beginTunnel() {
        // It is no request in flight any more: places are free, and its end says nothing.
        settlePermit()
        settleBreakers()
        record.isTunnel = true
        upstream?.beginTunnel()
        downstream?.beginTunnel()
    }

    func tunnelToUpstream(_ bytes: UnsafeRawBufferPointer) {
        record.requestBodyBytes &+= Int64(bytes.count)
        upstream?.sendRaw(bytes)
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
        upstream?.endSending()
    }

    func tunnelEndFromUpstream() {
        guard let downstream else { return }
        downstream.flush()
        if let upstream, !upstream.hasOrderlyEnd {
            // Anyone may have ended it: the client must not be told that it is complete.
            record.isCutOff = true
            upstream.close()
            self.upstream = nil
            return attemptFailed(.reset, hasAnswered: true)
        }
        if let upstream { release(upstream) }
        finish()
    }
}
