// What nghttp2 calls: each finds its session and hands on what has happened.

import CNghttp2

/// The callbacks and options of all sessions, made once.
struct H2Callbacks: @unchecked Sendable {
    let table: OpaquePointer
    let options: OpaquePointer

    /// `nil` where there is no memory.
    static let shared = H2Callbacks()

    /// Acknowledgements that wait because the peer does not read; beyond them it is cut off.
    private static let mostAcknowledgements = 100

    private init?() {
        var table: OpaquePointer?
        var options: OpaquePointer?
        guard nghttp2_session_callbacks_new(&table) == 0, let table,
            nghttp2_option_new(&options) == 0, let options
        else { return nil }
        self.table = table
        self.options = options
        // Windows open as bodies are passed on.
        nghttp2_option_set_no_auto_window_update(options, 1)
        nghttp2_option_set_no_closed_streams(options, 1)
        nghttp2_option_set_max_outbound_ack(options, Self.mostAcknowledgements)
        // What resets cost is charged to the session's budget, which knows their reasons.
        nghttp2_option_set_stream_reset_rate_limit(options, .max, .max)
        // Frames of unknown types are ignored, but counted.
        for type in UInt8(0x0A)...UInt8.max {
            nghttp2_option_set_user_recv_extension_type(options, type)
        }
        nghttp2_session_callbacks_set_unpack_extension_callback(table, unpackExtension)
        nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(table, extensionChunk)
        nghttp2_session_callbacks_set_on_begin_frame_callback(table, beginFrame)
        nghttp2_session_callbacks_set_on_begin_headers_callback(table, beginHeaders)
        nghttp2_session_callbacks_set_on_header_callback2(table, header)
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, dataChunk)
        nghttp2_session_callbacks_set_on_frame_recv_callback(table, frameReceived)
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(table, invalidFrame)
        nghttp2_session_callbacks_set_on_stream_close_callback(table, streamClose)
        nghttp2_session_callbacks_set_on_frame_not_send_callback(table, frameNotSent)
        nghttp2_session_callbacks_set_on_frame_send_callback(table, frameSent)
        nghttp2_session_callbacks_set_send_callback(table, sendBytes)
        nghttp2_session_callbacks_set_send_data_callback(table, sendData)
    }

    /// Says how much of a body there is; the bytes themselves are asked for by `sendData`.
    static let readBody: nghttp2_data_source_read_callback = {
        _, id, _, limit, flags, _, user in
        guard let flags else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
        return withSession(user, failure: Int(NGHTTP2_ERR_DEFERRED.rawValue)) { session in
            guard let attached = session.attachment(of: id) else {
                return Int(NGHTTP2_ERR_DEFERRED.rawValue)
            }
            let body = session.owner.bodyToSend(attached, atMost: limit)
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            if body.isLast {
                flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
                if body.hasTrailers,
                    session.submitTrailers(id, session.owner.trailersToSend(attached))
                {
                    flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                }
            } else if body.count == 0 {
                return Int(NGHTTP2_ERR_DEFERRED.rawValue)
            }
            return body.count
        }
    }
}

/// Calls `body` with the session that nghttp2 knows as `user`, not counted.
@inline(__always)
private func withSession<Result>(
    _ user: UnsafeMutableRawPointer?, failure: Result, _ body: (H2Session) -> Result
) -> Result {
    guard let user else { return failure }
    return Unmanaged<H2Session>.fromOpaque(user)._withUnsafeGuaranteedRef(body)
}

private let failed = NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
/// The stream is reset, the session goes on.
private let refused = NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue

extension nghttp2_frame_hd {
    fileprivate func has(_ flag: nghttp2_flag) -> Bool { flags & UInt8(flag.rawValue) != 0 }
    fileprivate func isOf(_ type: nghttp2_frame_type) -> Bool { self.type == UInt8(type.rawValue) }
}

private let beginFrame: nghttp2_on_begin_frame_callback = { _, head, user in
    guard let head else { return failed }
    return withSession(user, failure: failed) { session in
        session.count(head.pointee)
        // A head may have been given up without a word, its stream being reset.
        if !head.pointee.isOf(NGHTTP2_CONTINUATION) { session.isInHead = false }
        return 0
    }
}

extension H2Session {
    /// Charges a frame that brings nothing.
    fileprivate func count(_ head: nghttp2_frame_hd) {
        // What this one brings is known once it has come.
        if head.isOf(NGHTTP2_DATA) { return }
        if head.isOf(NGHTTP2_WINDOW_UPDATE) { return budget.spendWindow() }
        // An answer to this side's own.
        if head.has(NGHTTP2_FLAG_ACK), head.isOf(NGHTTP2_PING) || head.isOf(NGHTTP2_SETTINGS) {
            return budget.spend(frames: 1)
        }
        // Each is acknowledged, and one of settings may move all windows.
        budget.spend(
            frames: head.isOf(NGHTTP2_SETTINGS) ? 10 : head.isOf(NGHTTP2_PING) ? 2 : 1)
    }
}

private let unpackExtension: nghttp2_unpack_extension_callback = { _, _, _, _ in
    NGHTTP2_ERR_CANCEL.rawValue
}

private let extensionChunk: nghttp2_on_extension_chunk_recv_callback = { _, _, _, _, _ in 0 }

private let beginHeaders: nghttp2_on_begin_headers_callback = { _, frame, user in
    guard let frame else { return failed }
    return withSession(user, failure: failed) { session in
        // Who is about to be cut off is not served any more.
        guard !session.budget.isSpent else { return refused }
        let kind = session.kind(of: frame.pointee.headers.cat, frame.pointee.hd.stream_id)
        session.isInHead = true
        session.headsBegun &+= 1
        session.text._withUnsafeGuaranteedRef { $0.begin(kind, limit: session.maxHeadBytes) }
        return 0
    }
}

private let header: nghttp2_on_header_callback2 = { _, frame, name, value, _, user in
    guard let frame, let name, let value else { return failed }
    return withSession(user, failure: failed) { session in
        let name = nghttp2_rcbuf_get_buf(name)
        let value = nghttp2_rcbuf_get_buf(value)
        let isHopeless = session.text._withUnsafeGuaranteedRef {
            $0.take(
                UnsafeRawBufferPointer(start: name.base, count: name.len),
                UnsafeRawBufferPointer(start: value.base, count: value.len))
            return $0.isHopeless
        }
        if isHopeless { session.giveUpHead(frame.pointee.hd.stream_id) }
        return !isHopeless ? 0 : session.role == .server ? failed : refused
    }
}

private let dataChunk: nghttp2_on_data_chunk_recv_callback = {
    _, _, id, bytes, count, user in
    withSession(user, failure: failed) { session in
        session.owner.bodyArrived(
            id, session.attachment(of: id), UnsafeRawBufferPointer(start: bytes, count: count))
        return 0
    }
}

private let frameReceived: nghttp2_on_frame_recv_callback = { _, frame, user in
    guard let frame else { return failed }
    return withSession(user, failure: failed) { session in
        session.take(frame)
        return 0
    }
}

extension H2Session {
    fileprivate func take(_ frame: UnsafePointer<nghttp2_frame>) {
        let head = frame.pointee.hd
        let id = head.stream_id
        if head.isOf(NGHTTP2_HEADERS) {
            isInHead = false
            takeHead(id, isEnd: head.has(NGHTTP2_FLAG_END_STREAM))
        } else if head.isOf(NGHTTP2_DATA) {
            if head.has(NGHTTP2_FLAG_END_STREAM) {
                owner.inputEnded(id, attachment(of: id), trailers: [])
            } else if head.length <= frame.pointee.data.padlen {
                budget.spend(frames: 1)
            }
        } else if head.isOf(NGHTTP2_RST_STREAM) {
            resetByPeer = id
        } else if head.isOf(NGHTTP2_PING) {
            if head.has(NGHTTP2_FLAG_ACK) { owner.pongArrived() }
        } else if head.isOf(NGHTTP2_GOAWAY) {
            owner.goingAway()
        } else if head.isOf(NGHTTP2_SETTINGS), !head.has(NGHTTP2_FLAG_ACK) {
            owner.settingsArrived()
        }
    }

    fileprivate func kind(of cat: nghttp2_headers_category, _ id: Int32) -> HeadText.Kind {
        guard role == .client else { return cat == NGHTTP2_HCAT_HEADERS ? .trailers : .request }
        // What follows an interim response has the same category as trailers.
        guard cat == NGHTTP2_HCAT_HEADERS, let attached = attachment(of: id) else {
            return .response
        }
        return owner.expectsTrailers(attached) ? .trailers : .response
    }

    /// Ends a head that goes on and on: a few bytes may stand for fields of kilobytes, so that its
    /// rest would cost as much as hundreds of requests. Without it, the peers' tables of fields are
    /// not the same any more, and a client's connection ends with it. An endpoint's goes on, since
    /// other clients' calls are on it.
    fileprivate func giveUpHead(_ id: Int32) {
        isInHead = false
        if role == .server { budget.exhaust() } else { budget.spend(frames: 700) }
        owner.streamBroken(id, attachment(of: id), .headTooLarge)
    }

    private func takeHead(_ id: Int32, isEnd: Bool) {
        let isTrailer = text._withUnsafeGuaranteedRef { $0.isTrailer }
        switch text._withUnsafeGuaranteedRef({ $0.finish(isEnd: isEnd) }) {
        case .failure(let problem):
            owner.headRefused(id, attachment(of: id), problem)
        case .success(let bytes) where isTrailer:
            guard let trailers = HeadText.trailers(bytes) else {
                return owner.headRefused(id, attachment(of: id), .trailer)
            }
            owner.inputEnded(id, attachment(of: id), trailers: trailers)
        case .success(let bytes) where role == .client:
            budget.earn(frames: 5)
            if let attached = attachment(of: id) {
                owner.responseArrived(attached, bytes, isEnd: isEnd)
            }
        case .success(let bytes):
            budget.earn(frames: 5)
            owner.headArrived(id, bytes, isEnd: isEnd)
        }
    }
}

private let invalidFrame: nghttp2_on_invalid_frame_recv_callback = { _, frame, error, user in
    guard let frame else { return failed }
    // A client that has not heard of the limit yet is no wrongdoer.
    if error == NGHTTP2_ERR_REFUSED_STREAM.rawValue { return 0 }
    return withSession(user, failure: failed) { session in
        let id = frame.pointee.hd.stream_id
        if frame.pointee.hd.isOf(NGHTTP2_HEADERS) { session.isInHead = false }
        session.budget.spend(frames: 10)
        if id != 0 { session.owner.streamBroken(id, session.attachment(of: id), .startLine) }
        return 0
    }
}

private let streamClose: nghttp2_on_stream_close_callback = { _, id, code, user in
    withSession(user, failure: failed) { session in
        let isPeers = session.resetByPeer == id
        if isPeers { session.resetByPeer = 0 }
        // Its head may have been on its way.
        session.owner.streamClosed(id, session.attachment(of: id), code: code, isPeers: isPeers)
        return 0
    }
}

private let frameNotSent: nghttp2_on_frame_not_send_callback = { _, frame, _, user in
    guard let frame else { return failed }
    return withSession(user, failure: failed) { session in
        let head = frame.pointee.hd
        if head.isOf(NGHTTP2_HEADERS) { session.dropHead(of: head.stream_id) }
        return 0
    }
}

private let frameSent: nghttp2_on_frame_send_callback = { _, frame, user in
    guard let frame else { return failed }
    return withSession(user, failure: failed) { session in
        let head = frame.pointee.hd
        if head.isOf(NGHTTP2_DATA) {
            session.budget.earn(frames: 4)
            session.budget.earn(bytes: head.length)
        }
        // Only now: a ping overtakes what waits.
        if head.isOf(NGHTTP2_GOAWAY) {
            if frame.pointee.goaway.last_stream_id == .max { session.ping() }
            session.toldEnd(frame.pointee.goaway.error_code)
        }
        if head.has(NGHTTP2_FLAG_END_STREAM),
            head.isOf(NGHTTP2_DATA) || head.isOf(NGHTTP2_HEADERS),
            !session.hasPeerEnded(head.stream_id),
            let attached = session.attachment(of: head.stream_id)
        {
            session.owner.outputEnded(head.stream_id, attached)
        }
        return 0
    }
}

private let sendBytes: nghttp2_send_callback = { _, bytes, count, _, user in
    withSession(user, failure: Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)) { session in
        session.put(UnsafeRawBufferPointer(start: bytes, count: count))
    }
}

private let sendData: nghttp2_send_data_callback = { _, frame, head, length, _, user in
    guard let frame, let head else { return failed }
    return withSession(user, failure: failed) { session in
        guard let attached = session.attachment(of: frame.pointee.hd.stream_id) else {
            return refused
        }
        // A frame's head has nine bytes; this side pads nothing.
        return session.owner.put(
            UnsafeRawBufferPointer(start: head, count: 9), body: length, of: attached)
            ? 0 : NGHTTP2_ERR_WOULDBLOCK.rawValue
    }
}
