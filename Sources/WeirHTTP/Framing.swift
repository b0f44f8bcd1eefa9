// Decides, once a head is complete, where its body ends and whether its connection goes on.

extension RequestHead {
    /// Judges a complete request (RFC 9112 sections 3.2, 6.3 and 9.3).
    @inline(__always)
    mutating func settle(
        _ notes: SectionNotes, in base: UnsafePointer<UInt8>
    ) throws(Malformed) {
        try settleHost(notes, in: base)
        framing = try notes.statedFraming(minorVersion: minorVersion)
        isPersistent = notes.isPersistent(minorVersion: minorVersion)
        acceptsTrailers = notes.acceptsTrailers
        deadline = notes.deadline
        attempt = notes.attempt
        let isModern = minorVersion == 1
        let hasBody = framing != .none
        // Who has nothing to send has nothing to wait for.
        expectsContinue = isModern && hasBody && notes.hasExpectation
        // `h2c` would open a second protocol through the tunnel, past every rule of this one.
        wantsUpgrade =
            isModern && !hasBody && notes.mayUpgrade && notes.hasUpgrade
            && !notes.offersClearHTTP2 && method != .connect
    }

    @inline(__always)
    private mutating func settleHost(
        _ notes: SectionNotes, in base: UnsafePointer<UInt8>
    ) throws(Malformed) {
        guard notes.hasHost else {
            guard minorVersion == 0 else { throw .hostMissing }
            return
        }
        let hasAuthority = !authority.isEmpty
        if notes.host.isEmpty, hasAuthority { return }
        guard let named = Authority.host(of: notes.host, in: base) else { throw .hostInvalid }
        // An absolute target beats `Host` (RFC 9112 section 3.2.2).
        if hasAuthority { return }
        authority = notes.host
        host = named
    }
}

extension ResponseHead {
    /// Judges a complete response to a request with `method` (RFC 9112 section 6.3).
    @inline(__always)
    mutating func settle(_ notes: SectionNotes, method: Method) throws(Malformed) {
        declaredLength = notes.contentLength
        let length = try notes.statedFraming(minorVersion: minorVersion)
        isPersistent = notes.isPersistent(minorVersion: minorVersion)
        if status < 200 || status == 204 {
            // No body may follow, and none is looked for; an origin that announces one would
            // have its next answer begin in the wrong place.
            guard !notes.isChunked else { throw .transferEncoding }
            guard notes.contentLength <= 0 else { throw .contentLength }
            framing = .none
        } else if status == 304 || method == .head {
            framing = .none
        } else if notes.isChunked || notes.contentLength >= 0 {
            framing = length
        } else {
            framing = .untilClose
            isPersistent = false
        }
    }
}

extension SectionNotes {
    /// The framing that the fields state; `.none` where they state none.
    @inline(__always)
    fileprivate func statedFraming(minorVersion: UInt8) throws(Malformed) -> BodyFraming {
        guard isChunked else { return contentLength > 0 ? .length(contentLength) : .none }
        guard contentLength < 0 else { throw .lengthAndEncoding }
        guard minorVersion == 1 else { throw .transferEncoding }
        return .chunked
    }

    @inline(__always)
    fileprivate func isPersistent(minorVersion: UInt8) -> Bool {
        !closes && (minorVersion == 1 || keepsAlive)
    }
}
