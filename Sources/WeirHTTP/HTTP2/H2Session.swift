// One side of an HTTP/2 connection, without the connection: frames in, events out, and back.

import CNghttp2

/// What an `H2Session` tells its owner and asks of it.
///
/// Streams are known by their number and by what the owner has attached to them; that is `nil` for
/// a stream to which nothing is attached. None of this may end the session.
package protocol H2Owner: AnyObject {
    /// The head of a request or a response has come, laid out as HTTP/1; valid during the call.
    func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool)
    /// The same of a stream that this side has opened.
    func responseArrived(_ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool)
    /// What comes next as a head are trailers, on a stream that this side has opened.
    func expectsTrailers(_ attached: H2Attachment) -> Bool
    /// A head has come that breaks weir's rules; the stream is still open.
    func headRefused(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed)
    /// A part of a body, valid during the call. It is paid for with `consume`.
    func bodyArrived(_ id: Int32, _ attached: H2Attachment?, _ bytes: UnsafeRawBufferPointer)
    /// The peer has sent all of a stream; trailers as `name: value CRLF` lines.
    func inputEnded(_ id: Int32, _ attached: H2Attachment?, trailers: [UInt8])
    /// A stream is over.
    ///
    /// - Parameters:
    ///   - code: why, as RFC 9113 section 7 numbers it; 0 where both sides have ended it.
    ///   - isPeers: the peer has reset it.
    func streamClosed(_ id: Int32, _ attached: H2Attachment?, code: UInt32, isPeers: Bool)
    /// A message has broken the rules, and its stream has been reset.
    func streamBroken(_ id: Int32, _ attached: H2Attachment?, _ problem: Malformed)
    /// The peer has answered a ping.
    func pongArrived()
    /// The peer has said what it allows this side.
    func settingsArrived()
    /// The peer opens no more streams, or takes no more.
    func goingAway()
    /// All of a stream has been sent that its peer has not ended. Where the peer has ended it, the
    /// stream closes at once.
    func outputEnded(_ id: Int32, _ attached: H2Attachment)

    /// How much of a body there is to send now.
    func bodyToSend(_ attached: H2Attachment, atMost limit: Int) -> H2Body
    /// The trailers of a body that is sent in full, as lines.
    func trailersToSend(_ attached: H2Attachment) -> [UInt8]
    /// Takes bytes to be sent; `false` where it has no room, and `send` is to be called again.
    func put(_ bytes: UnsafeRawBufferPointer) -> Bool
    /// The same for `head` and as much of a body as `bodyToSend` has promised.
    func put(_ head: UnsafeRawBufferPointer, body length: Int, of attached: H2Attachment) -> Bool
}

// Each side hears of some things only.
extension H2Owner {
    package func headArrived(_ id: Int32, _ text: UnsafeRawBufferPointer, isEnd: Bool) {}
    package func responseArrived(
        _ attached: H2Attachment, _ text: UnsafeRawBufferPointer, isEnd: Bool
    ) {}
    package func expectsTrailers(_ attached: H2Attachment) -> Bool { false }
    package func settingsArrived() {}
    package func pongArrived() {}
    package func outputEnded(_ id: Int32, _ attached: H2Attachment) {}
}

/// What an owner has attached to a stream.
package typealias H2Attachment = UnsafeMutableRawPointer

/// What there is of a body.
package struct H2Body {
    package var count: Int
    /// Nothing follows but trailers.
    package var isLast: Bool
    package var hasTrailers: Bool

    package init(count: Int, isLast: Bool, hasTrailers: Bool = false) {
        self.count = count
        self.isLast = isLast
        self.hasTrailers = hasTrailers
    }
}

/// A session of nghttp2. Lives on its connection's thread.
package final class H2Session {
    /// What this side allows the other.
    package struct Settings {
        /// Streams that the peer may have open at once.
        package var maxStreams = 100
        /// Bytes of a stream's body that may come unasked.
        package var streamWindow = 256 << 10
        /// The same for the whole connection.
        package var connectionWindow = 1 << 20
        /// Bytes of a head.
        package var maxHeadBytes = 32 << 10

        package init() {}
    }

    /// Memory that the sessions of a worker use in turn.
    package final class Workspace {
        let text = HeadText()
        let memory = H2Memory()
        /// For the head that is sent next.
        package let fields = H2Fields()

        package init() {}
    }

    private let session: OpaquePointer
    let role: Role
    unowned(unsafe) let owner: any H2Owner
    private let workspace: Workspace
    // The workspace's, not counted: each field of a head comes this way.
    let text: Unmanaged<HeadText>
    let maxHeadBytes: Int
    private let mostQueued: Int
    package internal(set) var budget = FrameBudget()
    /// A head has begun that is not complete.
    package internal(set) var isInHead = false
    /// How many heads have begun.
    package internal(set) var headsBegun: UInt64 = 0
    /// Heads for which nghttp2 has placeholders.
    private var heads = H2Heads()
    /// The peer has been told that its table of fields stays empty.
    private var hasEmptiedTable = false
    /// A head that goes on with the next read.
    private var saved: HeadText.Saved?
    /// What has come of it is being looked at.
    private var isReceiving = false
    /// The peer has reset this stream, which is about to be closed for it.
    var resetByPeer: Int32 = 0

    /// The owner has ended the session.
    private var isTerminated = false
    /// The session has ended itself, for what the peer has sent.
    package private(set) var hasFoundFault = false

    enum Role { case server, client }

    /// A session that answers `owner`'s client; `nil` where there is no memory.
    package convenience init?(
        server owner: any H2Owner, _ settings: Settings, _ workspace: Workspace
    ) {
        self.init(.server, owner, settings, workspace, make: nghttp2_session_server_new3)
    }

    /// A session that asks `owner`'s endpoint; `nil` where there is no memory.
    package convenience init?(
        client owner: any H2Owner, _ settings: Settings, _ workspace: Workspace
    ) {
        self.init(.client, owner, settings, workspace, make: nghttp2_session_client_new3)
    }

    /// Makes a session of nghttp2, with its callbacks, user data, options and memory.
    private typealias Make = (
        UnsafeMutablePointer<OpaquePointer?>?, OpaquePointer?, UnsafeMutableRawPointer?,
        OpaquePointer?, UnsafeMutablePointer<nghttp2_mem>?
    ) -> Int32

    private init?(
        _ role: Role, _ owner: any H2Owner, _ settings: Settings, _ workspace: Workspace,
        make: Make
    ) {
        self.role = role
        self.owner = owner
        self.workspace = workspace
        text = .passUnretained(workspace.text)
        maxHeadBytes = settings.maxHeadBytes
        mostQueued = 4 * settings.maxStreams + 400
        var made: OpaquePointer?
        guard let callbacks = H2Callbacks.shared,
            make(&made, callbacks.table, nil, callbacks.options, &workspace.memory.table) == 0,
            let made
        else { return nil }
        session = made
        nghttp2_session_set_user_data(session, Unmanaged.passUnretained(self).toOpaque())
        guard announce(settings) else { return nil }
    }

    deinit {
        nghttp2_session_del(session)
        heads.clear(workspace.memory)
    }

    private func announce(_ settings: Settings) -> Bool {
        var entries = [
            Self.entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.streamWindow),
            Self.entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings.maxHeadBytes),
            // What clients say of priorities is not followed (RFC 9218 section 2.1).
            Self.entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
        ]
        if role == .server {
            entries.append(
                Self.entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.maxStreams))
            entries.append(Self.entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1))
        } else {
            entries.append(Self.entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        return nghttp2_submit_settings(session, flags, entries, entries.count) == 0
            && nghttp2_session_set_local_window_size(
                session, flags, 0, Int32(settings.connectionWindow)) == 0
    }

    private static func entry(
        _ id: nghttp2_settings_id, _ value: Int
    ) -> nghttp2_settings_entry {
        nghttp2_settings_entry(
            settings_id: Int32(id.rawValue), value: UInt32(truncatingIfNeeded: value))
    }

    // MARK: Input

    /// What is to be thought of a peer.
    package enum Verdict {
        case sound
        /// It asks for so much that it means harm.
        case flood
        /// What it sends is no HTTP/2. Faults that have an answer are `sound`: it is sent.
        case broken
    }

    /// Takes what the connection has read.
    ///
    /// - Parameter second: the time, in seconds since any moment.
    package func receive(_ bytes: UnsafeRawBufferPointer, second: Int64) -> Verdict {
        guard let start = bytes.baseAddress, !isReceiving else { return .sound }
        budget.refill(now: second)
        if let saved {
            workspace.text.restore(saved)
            self.saved = nil
        }
        isReceiving = true
        let taken = nghttp2_session_mem_recv(
            session, start.assumingMemoryBound(to: UInt8.self), bytes.count)
        isReceiving = false
        if isInHead { saved = workspace.text.save() }
        // What it does not read must not be heaped up for it, whatever becomes of its streams.
        if nghttp2_session_get_outbound_queue_size(session) > mostQueued { return .flood }
        if budget.isSpent || Self.isFlood(taken) { return .flood }
        return taken >= 0 ? .sound : .broken
    }

    private static func isFlood(_ result: Int) -> Bool {
        result == Int(NGHTTP2_ERR_FLOODED.rawValue)
            || result == Int(NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue)
    }

    /// The session is over once what it still has to send is sent.
    package var isOver: Bool {
        nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    /// Opens the connection's window by `count` bytes of a body, which have come.
    package func consumeConnection(_ count: Int) {
        if count > 0 { _ = nghttp2_session_consume_connection(session, count) }
    }

    /// Opens a stream's window by `count` bytes of its body, which have been passed on.
    package func consumeStream(_ id: Int32, _ count: Int) {
        if count > 0 { _ = nghttp2_session_consume_stream(session, id, count) }
    }

    /// Bytes of a stream's body that may come unasked from now on.
    package func setWindow(of id: Int32, _ size: Int) {
        _ = nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, Int32(clamping: size))
    }

    /// Opens the windows by `count` bytes of a stream's body, which have been passed on.
    package func consume(_ id: Int32, _ count: Int) {
        if count > 0 { _ = nghttp2_session_consume(session, id, count) }
    }

    // MARK: Streams

    /// Attaches the owner's object to a stream; it must outlive it.
    package func attach(_ object: H2Attachment?, to id: Int32) {
        _ = nghttp2_session_set_stream_user_data(session, id, object)
    }

    /// The peer has given up a stream that was not answered.
    package func countReset() { budget.spendReset() }

    /// A stream was answered.
    package func countAnswer() { budget.earnAnswer() }

    func hasPeerEnded(_ id: Int32) -> Bool {
        nghttp2_session_get_stream_remote_close(session, id) == 1
    }

    func attachment(of id: Int32) -> H2Attachment? {
        nghttp2_session_get_stream_user_data(session, id)
    }

    /// Bytes of a stream's body that the peer takes now, whatever the connection's window; the
    /// stream's may have been shut to less than nothing.
    package func window(of id: Int32) -> Int {
        max(0, Int(nghttp2_session_get_stream_remote_window_size(session, id)))
    }

    /// Bytes of all bodies together that the peer takes now.
    package var window: Int { max(0, Int(nghttp2_session_get_remote_window_size(session))) }

    /// Bytes of a body that the peer takes on a fresh stream.
    package var peersStreamWindow: Int {
        Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE))
    }

    /// All of a stream has been sent, or it is over.
    package func hasEnded(_ id: Int32) -> Bool {
        nghttp2_session_get_stream_local_close(session, id) != 0
    }

    /// This side may open streams: neither peer has said that the connection ends.
    package var takesRequests: Bool { nghttp2_session_check_request_allowed(session) != 0 }

    /// There is something to send.
    package var wantsToSend: Bool { nghttp2_session_want_write(session) != 0 }

    /// Sends the workspace's fields as the head of a response. `false` where it is too large, or
    /// there is no memory.
    package func respond(_ id: Int32, hasBody: Bool) -> Bool {
        submitHead(of: id) { head in
            guard hasBody else { return nghttp2_submit_response(session, id, head, 1, nil) == 0 }
            var provider = nghttp2_data_provider()
            provider.read_callback = H2Callbacks.readBody
            return nghttp2_submit_response(session, id, head, 1, &provider) == 0
        }
    }

    /// Sends the workspace's fields as the head of a request with `attached` attached to its
    /// stream; the stream's number, 0 where there is no memory or no number left, or the head is
    /// too large.
    package func request(_ attached: H2Attachment, hasBody: Bool) -> Int32 {
        let id = Int32(bitPattern: nghttp2_session_get_next_stream_id(session))
        guard id > 0 else { return 0 }
        let isTaken = submitHead(of: id) { head in
            guard hasBody else {
                return nghttp2_submit_request(session, nil, head, 1, nil, attached) > 0
            }
            var provider = nghttp2_data_provider()
            provider.read_callback = H2Callbacks.readBody
            return nghttp2_submit_request(session, nil, head, 1, &provider, attached) > 0
        }
        guard isTaken else { return 0 }
        // The peer may refuse each of them by a frame.
        budget.earn(frames: 1)
        return id
    }

    /// Streams that the peer lets this side have open.
    package var mostStreams: Int {
        Int(
            nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
    }

    /// The peer can be asked for tunnels (RFC 8441 section 3).
    package var takesTunnels: Bool {
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
    }

    /// Sends the workspace's fields as a head that another one follows.
    package func inform(_ id: Int32) -> Bool {
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        return submitHead(of: id) {
            nghttp2_submit_headers(session, flags, id, nil, $0, 1, nil) >= 0
        }
    }

    /// There is more of a body to send, or its end.
    package func resume(_ id: Int32) { _ = nghttp2_session_resume_data(session, id) }

    /// Ends a stream now; what was to be sent on it is dropped.
    package func reset(_ id: Int32, _ code: H2Code) {
        _ = nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code.rawValue)
    }

    func submitTrailers(_ id: Int32, _ lines: [UInt8]) -> Bool {
        let fields = workspace.fields
        fields.removeAll()
        lines.withUnsafeBytes { fields.add(lines: $0) }
        return submitHead(of: id) { nghttp2_submit_trailer(session, id, $0, 1) == 0 }
    }

    // MARK: Heads

    /// Keeps the workspace's fields for the time when nghttp2 sends the head that `body` gives it,
    /// which never leaves. Of a request, nghttp2 must know the method.
    private func submitHead(
        of id: Int32, _ body: (UnsafeMutablePointer<nghttp2_nv>) -> Bool
    ) -> Bool {
        let fields = workspace.fields
        guard heads.append(fields.block, of: id, memory: workspace.memory) else { return false }
        let name: StaticString = role == .server ? ":status" : ":method"
        let value = role == .server ? "200" : fields.method
        let flags = NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue
        // nghttp2 reads them only.
        var placeholder = nghttp2_nv(
            name: UnsafeMutablePointer(mutating: name.utf8Start),
            value: UnsafeMutablePointer(mutating: value.utf8Start),
            namelen: name.utf8CodeUnitCount, valuelen: value.utf8CodeUnitCount,
            flags: UInt8(truncatingIfNeeded: flags))
        if body(&placeholder) { return true }
        heads.removeLast(memory: workspace.memory)
        return false
    }

    /// The stream's next head has left, or will not be sent.
    func dropHead(of id: Int32) { heads.remove(of: id, memory: workspace.memory) }

    /// The stream's head has not been handed out.
    package func hasHead(of id: Int32) -> Bool { heads.has(id) }

    /// Heads wait.
    var hasHeads: Bool { !heads.isEmpty }

    /// Hands out a frame of nghttp2's, or the head in the place of a placeholder; for nghttp2, how
    /// much of the frame was taken, or why it was not.
    func put(_ frame: UnsafeRawBufferPointer) -> Int {
        let isBlocked = Int(NGHTTP2_ERR_WOULDBLOCK.rawValue)
        guard let id = H2Heads.stream(ofHead: frame) else {
            return owner.put(frame) ? frame.count : isBlocked
        }
        guard let frames = heads.frames(of: id, flags: frame[4], isFirst: !hasEmptiedTable) else {
            return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
        guard owner.put(frames) else { return isBlocked }
        hasEmptiedTable = true
        dropHead(of: id)
        return frame.count
    }

    // MARK: Output

    /// Hands out what there is to send, as far as there is room for it.
    package func send() -> Bool { nghttp2_session_send(session) == 0 }

    /// Says that the connection will end: new streams are still taken, since the peer may be about
    /// to open them. When it has heard of it, `pongArrived` is called.
    package func announceEnd() { _ = nghttp2_submit_shutdown_notice(session) }

    /// Takes no new streams, and tells the peer which was the last.
    package func refuseStreams() {
        _ = nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue),
            nghttp2_session_get_last_proc_stream_id(session), H2Code.noError.rawValue, nil, 0)
    }

    func ping() {
        _ = nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
    }

    /// The peer was told that the connection ends.
    func toldEnd(_ code: UInt32) {
        if code != 0, !isTerminated { hasFoundFault = true }
    }

    /// Ends the connection, telling the peer why.
    package func terminate(_ code: H2Code) {
        isTerminated = true
        _ = nghttp2_session_terminate_session(session, code.rawValue)
    }
}

/// Why a stream or a connection ends (RFC 9113 section 7).
package enum H2Code: UInt32, Sendable {
    case noError = 0
    case protocolError = 1
    case internalError = 2
    case refusedStream = 7
    case cancel = 8
    case enhanceYourCalm = 11
}
