"""An HTTP/2 client that works on frames: it sends what it is told, and reads strictly.

What a server must never send, whatever it was sent, raises an AssertionError where it is read.
"""

import hashlib
import re
import select
import ssl
import struct
import time

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from .client import Client, Response
from .patience import patience

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL = 5, 6, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11

WINDOW, FRAME, LARGEST = 65_535, 16_384, 2**31 - 1
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: What has no meaning in HTTP/2 (RFC 9113 section 8.2.2).
OF_CONNECTIONS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
CLOSED = (ConnectionError, ssl.SSLError)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """The bytes of a frame; nothing about it is checked, and its length may be a lie."""
    length = len(payload) if length is None else length
    return struct.pack(">HBBBL", length >> 8, length & 0xFF, kind, flags, stream) + payload


def word(value):
    """Four bytes: a window's increment, an error's code."""
    return struct.pack(">L", value)


def settings_of(values):
    return b"".join(struct.pack(">HL", key, value) for key, value in dict(values).items())


def latin(pairs):
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


class Stream(Response):
    """One stream: what was answered on it, and how it ended."""

    def __init__(self, number, method, window, send_window):
        super().__init__("HTTP/2", None, [], bytearray())
        self.number = number
        self.method = method
        #: What the server may still send, and what it lets us send.
        self.window, self.send_window = window, send_window
        #: Kinds of the frames that came, as their names.
        self.frames = []
        self.has_ended = False
        self.reset = None
        self.sha = hashlib.sha256()

    @property
    def is_over(self):
        return self.has_ended or self.reset is not None

    @property
    def outcome(self):
        """What to show where a test fails."""
        return self.number, self.status, self.reason, self.reset, bytes(self.body[:200])


class Http2Client(Client):
    """One connection that speaks HTTP/2 from its first byte, or as TLS agreed on.

    Without `windows` nothing is given back for DATA: `open_window` does it by hand. Without `ack`
    the server's SETTINGS are not acknowledged. Without `keep` bodies are only counted and hashed.
    Without `wait`, or with a `preface` of the caller's, the server's SETTINGS may come later.
    """

    def __init__(
        self,
        address,
        settings=(),
        ack=True,
        windows=True,
        keep=True,
        wait=True,
        preface=None,
        seconds=15,
        **options,
    ):
        super().__init__(address, seconds, **options)
        self.is_tls = isinstance(self.sock, ssl.SSLSocket)
        if self.is_tls:
            assert self.sock.selected_alpn_protocol() == "h2", self.sock.selected_alpn_protocol()
        self.seconds, self.acks, self.windows, self.keep = seconds, ack, windows, keep
        self.mine = dict(settings)
        self.encoder, self.decoder = Encoder(), Decoder(1 << 20)
        self.decoder.max_allowed_table_size = self.mine.get(HEADER_TABLE_SIZE, 4096)
        self.streams, self.next_number = {}, 1
        self.window = self.send_window = WINDOW
        #: The server's settings, once they came.
        self.settings = None
        self.goaways, self.pongs, self.pings = [], [], 0
        self.block = None
        self.has_ended = False
        self.send(preface or PREFACE + frame(SETTINGS, payload=settings_of(self.mine)))
        if wait and not preface:
            assert self.until(lambda: self.settings is not None), "closed without SETTINGS"

    # Sending

    def reply(self, data):
        """Sends what a peer that has closed need not get any more."""
        try:
            self.send(data)
        except CLOSED:
            pass

    def head(self, fields, end=True, stream=None, flags=0, cut=FRAME):
        """The stream and the bytes that open it, or give it trailers, with these very fields."""
        method = dict(fields).get(":method")
        if stream is None:
            initial = (self.settings or {}).get(INITIAL_WINDOW_SIZE, WINDOW)
            mine = self.mine.get(INITIAL_WINDOW_SIZE, WINDOW)
            stream = Stream(self.next_number, method, mine, initial)
            self.streams[stream.number] = stream
            self.next_number += 2
        block = self.encoder.encode(fields)
        pieces = [block[at : at + cut] for at in range(0, len(block), cut)] or [b""]
        flags |= END_STREAM if end else 0
        data = bytearray()
        for place, piece in enumerate(pieces):
            last = END_HEADERS if place == len(pieces) - 1 else 0
            kind = CONTINUATION if place else HEADERS
            data += frame(kind, last | (0 if place else flags), stream.number, piece)
        return stream, bytes(data)

    def open(self, fields, end=True, **options):
        """Opens a stream with these very fields."""
        stream, data = self.head(fields, end, **options)
        self.send(data)
        return stream

    def fields(self, method="GET", path="/", headers=(), host="e2e.test", scheme=None):
        """Those of a well-formed request."""
        scheme = scheme or ("https" if self.is_tls else "http")
        lead = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
        return lead + list(headers)

    def request(self, method="GET", path="/", headers=(), body=None, host="e2e.test", end=True):
        """Sends a well-formed request; one with `end=False` goes on with `data`."""
        headers = list(headers)
        if body is not None:
            headers.append(("content-length", str(len(body))))
        stream = self.open(self.fields(method, path, headers, host), end=end and not body)
        if body:
            self.data(stream, body, end)
        return stream

    def data(self, stream, body=b"", end=True):
        """Sends a piece of a body as the server's windows open; True when all of it was sent."""
        view, at = memoryview(body), 0
        while True:
            room = min(stream.send_window, self.send_window, FRAME)
            size = min(len(view) - at, room) if room > 0 else 0
            if size or at == len(view):
                last = at + size == len(view)
                flags = END_STREAM if end and last else 0
                self.send(frame(DATA, flags, stream.number, bytes(view[at : at + size])))
                at += size
                stream.send_window -= size
                self.send_window -= size
                if last:
                    return True
            elif stream.is_over or self.read_frame() is None:
                return False

    def fit(self, stream, body):
        """Sends what fits the windows now; how much that was."""
        size = max(0, min(stream.send_window, self.send_window, len(body)))
        if size:
            self.data(stream, body[:size], end=False)
        return size

    def trailers(self, stream, fields):
        self.send(self.head(fields, stream=stream)[1])

    def cancel(self, stream, code=CANCEL):
        self.send(frame(RST_STREAM, 0, stream.number, word(code)))

    def open_window(self, stream, count):
        """Lets the server send so much more on a stream, or on the connection (0)."""
        if stream:
            stream.window += count
        else:
            self.window += count
        self.reply(frame(WINDOW_UPDATE, 0, stream.number if stream else 0, word(count)))

    def change(self, values):
        """Sends SETTINGS; a new window holds for the streams that there are."""
        before = self.mine.get(INITIAL_WINDOW_SIZE, WINDOW)
        self.mine |= values
        for stream in self.streams.values():
            stream.window += self.mine.get(INITIAL_WINDOW_SIZE, WINDOW) - before
        self.send(frame(SETTINGS, payload=settings_of(values)))

    def attack(self, pieces):
        """Sends the pieces, reading meanwhile, until they end or the server has enough."""
        for piece in pieces:
            while not self.is_quiet(0):
                if self.read_frame() is None or self.goaways:
                    return
            try:
                self.send(piece)
            except CLOSED:
                return

    # Reading

    def read(self, stream):
        """Reads until the stream is over, and returns it."""
        alive = self.until(lambda: stream.is_over)
        assert alive, f"closed with {self.goaways} before the end of {stream.outcome}"
        return stream

    def get(self, path="/", *arguments, method="GET", **options):
        """One whole exchange."""
        return self.read(self.request(method, path, *arguments, **options))

    def ping(self):
        """Whether the server still answers; what was sent before it has had its effect then.

        Two rounds, since an acknowledgement may overtake what is said on streams.
        """
        for _ in range(2):
            self.pings += 1
            mark = struct.pack(">4sL", b"ping", self.pings)
            self.reply(frame(PING, payload=mark))
            if not self.until(lambda: mark in self.pongs):
                return False
        return True

    def is_quiet(self, seconds):
        """Whether nothing comes for so long."""
        if self.has_ended or len(self.buffer) >= 9 or (self.is_tls and self.sock.pending()):
            return False
        return not select.select([self.sock], [], [], seconds)[0]

    def until(self, condition):
        """Reads frames until the condition holds; False when the connection ends before that."""
        deadline = time.monotonic() + patience(self.seconds)
        while not condition():
            assert time.monotonic() < deadline, "frames come, but not what is waited for"
            if self.read_frame() is None:
                return bool(condition())
        return True

    def expect_close(self, *codes):
        """Reads to the end; the last GOAWAY, if there was one, had one of these codes."""
        assert not self.until(lambda: False)
        if codes:
            assert self.goaways, "closed without GOAWAY"
            assert self.goaways[-1].error_code in codes, self.goaways

    def read_frame(self):
        """The next frame, once what it means is noted; None at the end of the connection."""
        if not self.has(9):
            return None
        got, length = Frame.parse_frame_header(memoryview(bytes(self.buffer[:9])))
        assert length <= self.mine.get(MAX_FRAME_SIZE, FRAME), f"{got} has {length} bytes"
        if not self.has(9 + length):
            return None
        self.take(9)
        got.parse_body(memoryview(self.take(length)))
        self.note(got)
        return got

    def has(self, count):
        """Reads until there are so many bytes; False when the connection ends before that."""
        while len(self.buffer) < count:
            if self.has_ended or not self.fill():
                self.has_ended = True
                return False
        return True

    def note(self, got):
        assert self.settings is not None or isinstance(got, SettingsFrame), f"{got} came first"
        assert self.block is None or isinstance(got, ContinuationFrame), f"{got} in a head"
        if isinstance(got, SettingsFrame):
            self.note_settings(got)
        elif isinstance(got, PingFrame):
            if "ACK" in got.flags:
                self.pongs.append(bytes(got.opaque_data))
            else:
                self.reply(frame(PING, ACK, payload=bytes(got.opaque_data)))
        elif isinstance(got, GoAwayFrame):
            before = self.goaways[-1].last_stream_id if self.goaways else LARGEST
            assert got.last_stream_id <= before, "GOAWAY took something back"
            self.goaways.append(got)
        elif isinstance(got, WindowUpdateFrame) and got.stream_id == 0:
            self.send_window += got.window_increment
            assert self.send_window <= LARGEST
        else:
            assert not isinstance(got, PushPromiseFrame)
            if got.stream_id in self.streams:
                self.note_stream(got, self.streams[got.stream_id])
            else:
                assert not isinstance(got, (DataFrame, HeadersFrame)), f"{got} unasked"

    def note_settings(self, got):
        if "ACK" in got.flags:
            return
        before = (self.settings or {}).get(INITIAL_WINDOW_SIZE, WINDOW)
        self.settings = (self.settings or {}) | dict(got.settings)
        for stream in self.streams.values():
            stream.send_window += self.settings.get(INITIAL_WINDOW_SIZE, WINDOW) - before
        if self.settings.get(HEADER_TABLE_SIZE, 4096) < self.encoder.header_table_size:
            self.encoder.header_table_size = self.settings[HEADER_TABLE_SIZE]
        if self.acks:
            self.reply(frame(SETTINGS, ACK))

    def note_stream(self, got, stream):
        stream.frames.append(type(got).__name__.removesuffix("Frame"))
        if isinstance(got, WindowUpdateFrame):
            stream.send_window += got.window_increment
            assert stream.send_window <= LARGEST
        elif isinstance(got, RstStreamFrame):
            assert stream.reset is None, f"reset twice: {stream.outcome}"
            stream.reset = got.error_code
        elif isinstance(got, DataFrame):
            self.note_data(got, stream)
        elif isinstance(got, (HeadersFrame, ContinuationFrame)):
            assert not stream.is_over, f"{got} after the end of {stream.outcome}"
            if isinstance(got, HeadersFrame):
                self.block, self.ends = bytearray(), "END_STREAM" in got.flags
            self.block += got.data
            if "END_HEADERS" in got.flags:
                fields = latin(self.decoder.decode(bytes(self.block), raw=True))
                self.block = None
                self.note_head(fields, self.ends, stream)

    def note_data(self, got, stream):
        assert stream.status is not None and not stream.is_over, f"{got} in {stream.outcome}"
        size = got.flow_controlled_length
        stream.window -= size
        self.window -= size
        assert stream.window >= 0 and self.window >= 0 or not size, f"{got} exceeds its window"
        stream.length += len(got.data)
        if self.keep:
            stream.body += got.data
        else:
            stream.sha.update(got.data)
        if "END_STREAM" in got.flags:
            self.note_end(stream)
        if self.windows and size:
            self.open_window(None, size)
            if not stream.has_ended:
                self.open_window(stream, size)

    def note_head(self, fields, ends, stream):
        where = f"{fields} on {stream.number}"
        pseudo = [name for name, _ in fields if name.startswith(":")]
        plain = fields[len(pseudo) :]
        assert pseudo == ([":status"] if stream.status is None else []), where
        for name, value in plain:
            assert NAME.fullmatch(name) and name not in OF_CONNECTIONS, where
            assert VALUE.fullmatch(value), where
        if stream.status is not None:
            assert ends, f"trailers without an end: {where}"
            stream.trailers = plain
        elif fields[0][1].startswith("1"):
            assert not ends and fields[0][1] != "101", where
            stream.interim.append(Response("HTTP/2", int(fields[0][1]), plain))
        else:
            assert re.fullmatch("[2-5][0-9][0-9]", fields[0][1]), where
            stream.status, stream.fields = int(fields[0][1]), plain
        if ends:
            self.note_end(stream)

    def note_end(self, stream):
        stream.has_ended = True
        stream.digest = stream.sha.hexdigest()
        length = stream.one("content-length")
        if length and stream.method != "HEAD" and stream.status != 304:
            assert int(length) == stream.length, f"content-length {length}: {stream.outcome}"
