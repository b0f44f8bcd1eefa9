"""An endpoint that speaks HTTP/2, frame by frame: it notes what reaches it, and may misbehave.

What weir must never send, whatever its clients sent, is kept as a violation.
"""

import select
import socket
import ssl
import threading

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from .http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    MAX_CONCURRENT_STREAMS,
    NAME,
    NO_ERROR,
    OF_CONNECTIONS,
    PING,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    VALUE,
    WINDOW,
    WINDOW_UPDATE,
    frame,
    latin,
    settings_of,
    word,
)
from .patience import Watched
from .upstream import HOP_BY_HOP
from .wire import Wire, values

PSEUDO = [":method", ":scheme", ":authority", ":path"]


class Gone(OSError):
    """What was being answered is over."""


class Call:
    """One request, and what is answered to it."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.fields, self.trailers = [], []
        self.body = bytearray()
        self.length = 0
        #: Kinds of the frames that came, as their names.
        self.frames = []
        self.has_ended = self.is_answered = False
        #: The code that weir has reset it with.
        self.reset_code = None
        #: Bytes of the body that weir has taken so far.
        self.sent = 0
        self.window = connection.initial_window
        self.room = connection.mine.get(INITIAL_WINDOW_SIZE, WINDOW)

    def all(self, name):
        return values(self.fields, name.lower())

    def one(self, name):
        """The only value of `name`, or None; twice is an error."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None

    method = property(lambda self: self.one(":method"))
    scheme = property(lambda self: self.one(":scheme"))
    authority = property(lambda self: self.one(":authority"))
    path = property(lambda self: self.one(":path"))
    #: weir asks it for itself: no client is behind it.
    is_probe = property(lambda self: self.all("user-agent") == ["weir-health-check"])

    @property
    def is_open(self):
        return self.reset_code is None and not (self.has_ended and self.is_answered)

    def wait(self, condition, what):
        return self.connection.owner.wait(condition, what)

    def wait_end(self):
        """Waits until the whole request has come; raises Gone when weir gives it up."""

        def is_over():
            return self.has_ended or self.reset_code is not None or self.connection.is_over

        self.wait(is_over, f"{self.number} ends")
        if not self.has_ended:
            raise Gone("given up")

    def wait_reset(self):
        """The code that weir resets the stream with."""
        self.wait(lambda: self.reset_code is not None, f"{self.number} is reset")
        return self.reset_code

    # Answering

    def head(self, fields, end=False, cut=FRAME):
        """Sends these very fields."""
        with self.connection.lock:
            block = self.connection.encoder.encode(fields)
            pieces = [block[at : at + cut] for at in range(0, len(block), cut)] or [b""]
            data = bytearray()
            for place, piece in enumerate(pieces):
                flags = END_HEADERS if place == len(pieces) - 1 else 0
                flags |= END_STREAM if end and not place else 0
                data += frame(CONTINUATION if place else HEADERS, flags, self.number, piece)
            if end:
                self.is_answered = True
            self.connection.send(bytes(data))

    def interim(self, status, fields=()):
        self.head([(":status", str(status)), *fields])

    def data(self, body=b"", end=True):
        """Sends a piece of a body as weir's windows open; raises Gone when they never will."""
        view, at, connection = memoryview(body), 0, self.connection
        while True:
            with connection.owner.changed:
                if self.reset_code is not None or connection.is_over:
                    raise Gone("reset")
                size = max(0, min(self.window, connection.window, FRAME, len(view) - at))
                if not size and at < len(view):
                    connection.owner.changed.wait(0.05)
                    continue
                self.window -= size
                connection.window -= size
            last = at + size == len(view)
            if end and last:
                self.is_answered = True
            flags = END_STREAM if end and last else 0
            connection.send(frame(DATA, flags, self.number, bytes(view[at : at + size])))
            at += size
            self.sent += size
            if last:
                return

    def respond(self, status=200, body=b"ok\n", fields=(), length=True, trailers=None):
        """A whole answer; without a body its head ends the stream, unless trailers do."""
        made = [(":status", str(status)), *fields]
        if length and body is not None:
            made.append(("content-length", str(len(body))))
        self.head(made, end=not body and not trailers)
        if body:
            self.data(body, end=not trailers)
        if trailers:
            self.head(trailers, end=True)

    def reset(self, code):
        self.is_answered = self.has_ended = True
        self.connection.send(frame(RST_STREAM, 0, self.number, word(code)))


class Http2Connection(Wire):
    """One connection that weir opened."""

    def __init__(self, sock, owner, number):
        super().__init__(sock, recording=False)
        self.owner, self.number = owner, number
        self.mine = dict(owner.settings)
        self.lock = threading.RLock()
        self.encoder, self.decoder = Encoder(), Decoder(1 << 20)
        self.calls = {}
        self.window = self.initial_window = self.room = WINDOW
        self.settings = None
        self.acks, self.pongs, self.goaways = 0, [], []
        self.is_over = False
        self.block = None

    # Sending

    def send(self, data):
        with self.lock:
            self.sock.sendall(data)

    def goaway(self, last=None, code=NO_ERROR):
        """No calls beyond `last`, by default the latest."""
        last = max(self.calls, default=0) if last is None else last
        self.send(frame(GOAWAY, payload=word(last) + word(code)))

    def open_window(self, call, count):
        """Lets weir send so much more of a call, or of all of them (None)."""
        if call:
            call.room += count
        else:
            self.room += count
        self.send(frame(WINDOW_UPDATE, 0, call.number if call else 0, word(count)))

    def wait_closed(self):
        self.owner.wait(lambda: self.is_over, f"connection {self.number} is closed")

    # Reading

    def fill(self):
        if not self.owner.tls:
            return super().fill()
        # One of TLS may not be read and written to at the same time.
        if not self.sock.pending():
            select.select([self.sock], [], [])
        with self.lock:
            return super().fill()

    def has(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                return False
        return True

    def serve(self):
        if self.owner.is_mute:
            return self.has(1 << 60)
        self.send(frame(SETTINGS, payload=settings_of(self.mine)))
        if not self.has(len(PREFACE)):
            return
        if (got := self.take(len(PREFACE))) != PREFACE:
            self.violations.append(f"no preface: {got!r}")
            return
        while self.has(9):
            got, length = Frame.parse_frame_header(memoryview(bytes(self.buffer[:9])))
            if length > FRAME:
                self.violations.append(f"{got} has {length} bytes")
            if not self.has(9 + length):
                return
            self.take(9)
            got.parse_body(memoryview(self.take(length)))
            with self.owner.changed:
                self.note(got)
                self.owner.changed.notify_all()

    def check(self, holds, what):
        if not holds:
            self.violations.append(what)

    def note(self, got):
        self.check(self.settings is not None or isinstance(got, SettingsFrame), f"{got} first")
        self.check(self.block is None or isinstance(got, ContinuationFrame), f"{got} in a head")
        if isinstance(got, SettingsFrame):
            self.note_settings(got)
        elif isinstance(got, PingFrame):
            if "ACK" in got.flags:
                self.pongs.append(bytes(got.opaque_data))
            else:
                self.send(frame(PING, ACK, payload=bytes(got.opaque_data)))
        elif isinstance(got, GoAwayFrame):
            self.goaways.append(got)
        elif isinstance(got, WindowUpdateFrame) and got.stream_id == 0:
            self.window += got.window_increment
            self.check(self.window <= LARGEST, "the connection's window overflows")
        elif isinstance(got, (HeadersFrame, ContinuationFrame)):
            self.note_head(got)
        elif got.stream_id in self.calls:
            self.note_call(got, self.calls[got.stream_id])
        else:
            self.check(isinstance(got, PriorityFrame), f"{got} on no stream")

    def note_settings(self, got):
        if "ACK" in got.flags:
            self.acks += 1
            return
        self.settings = (self.settings or {}) | dict(got.settings)
        initial = self.settings.get(INITIAL_WINDOW_SIZE, WINDOW)
        for call in self.calls.values():
            call.window += initial - self.initial_window
        self.initial_window = initial
        self.check(self.settings.get(2, 0) == 0, "weir lets itself be pushed to")
        self.send(frame(SETTINGS, ACK))

    def note_call(self, got, call):
        call.frames.append(type(got).__name__.removesuffix("Frame"))
        if isinstance(got, WindowUpdateFrame):
            call.window += got.window_increment
        elif isinstance(got, RstStreamFrame):
            self.check(call.reset_code is None, f"{call.number} is reset twice")
            call.reset_code = got.error_code
        elif isinstance(got, DataFrame):
            self.note_data(got, call)

    def note_data(self, got, call):
        where = f"{got} of {call.method} {call.path}"
        if call.is_open or call.reset_code is not None:
            self.check(not call.has_ended and call.reset_code is None, f"after its end: {where}")
        size = got.flow_controlled_length
        call.room -= size
        self.room -= size
        self.check(not size or (call.room >= 0 and self.room >= 0), f"over a window: {where}")
        call.length += len(got.data)
        if self.owner.keep:
            call.body += got.data
        if "END_STREAM" in got.flags:
            self.end(call)
        if self.owner.windows and size:
            self.open_window(None, size)
            if not call.has_ended:
                self.open_window(call, size)

    def note_head(self, got):
        if isinstance(got, HeadersFrame):
            self.block, self.ends = bytearray(), "END_STREAM" in got.flags
        self.block += got.data
        if "END_HEADERS" not in got.flags:
            return
        fields = latin(self.decoder.decode(bytes(self.block), raw=True))
        self.block = None
        call, number = self.calls.get(got.stream_id), got.stream_id
        if call:
            call.frames.append("Headers")
            self.check(self.ends, f"trailers without an end: {fields}")
            self.check(not any(name.startswith(":") for name, _ in fields), f"{fields}")
            call.trailers = fields
            return self.end(call)
        self.check(number % 2 and number > max(self.calls, default=0), f"stream {number}")
        most = self.mine.get(MAX_CONCURRENT_STREAMS, LARGEST)
        is_full = sum(call.is_open for call in self.calls.values()) >= most
        self.check(not is_full or not self.acks, f"more than {most} streams")
        call = self.calls[number] = Call(self, number)
        call.fields, call.frames = fields, ["Headers"]
        self.judge(call)
        if is_full:
            self.owner.refused += 1
            return call.reset(REFUSED_STREAM)
        self.owner.requests.append(call)
        if self.owner.early or self.ends:
            self.owner.begin(call)
        if self.ends:
            call.has_ended = True

    def end(self, call):
        if not call.has_ended:
            call.has_ended = True
            length = call.one("content-length")
            self.check(length is None or int(length) == call.length, f"{length}: {call.length}")
            if not self.owner.early:
                self.owner.begin(call)

    def judge(self, call):
        """What every request that weir sends must be, whatever the client sent."""
        where = f"in {call.fields}"
        pseudo = [name for name, _ in call.fields if name.startswith(":")]
        wanted = [*PSEUDO, ":protocol"] if call.method == "CONNECT" else PSEUDO
        self.check(sorted(pseudo) == sorted(wanted), f"pseudo fields {where}")
        self.check(pseudo == [name for name, _ in call.fields[: len(pseudo)]], f"order {where}")
        names = [name for name, _ in call.fields[len(pseudo) :]]
        for name, value in call.fields[len(pseudo) :]:
            self.check(NAME.fullmatch(name) and VALUE.fullmatch(value), f"{name!r} {where}")
        for name in (OF_CONNECTIONS | HOP_BY_HOP | {"host", "http2-settings"}) & set(names):
            self.violations.append(f"{name} {where}")
        self.check(set(call.all("te")) <= {"trailers"}, f"te {where}")
        self.check(names.count("content-length") <= 1, f"content-length {where}")
        if call.is_probe:
            return
        vias = ("2 weir", "1.1 weir", "1.0 weir")
        self.check(", ".join(call.all("via")).endswith(vias), f"via {where}")
        for name in ("x-request-id", "x-forwarded-proto", "x-forwarded-for"):
            self.check(names.count(name) == 1, f"{names.count(name)} {name} {where}")


class Http2Upstream(Watched):
    """Listens on a port of its own; `answer` answers a call, on a thread of its own.

    It is called when the request is complete or, with `early`, when its head is. Without `windows`
    nothing is given back for bodies: `open_window` does it by hand. Without `keep` they are only
    counted. `tls` is an ssl.SSLContext. A `is_mute` one says nothing at all.
    """

    role = "the endpoint"

    def __init__(
        self,
        answer=None,
        settings=(),
        early=False,
        windows=True,
        keep=True,
        tls=None,
        port=0,
        is_mute=False,
    ):
        self.answer = answer or (lambda call: call.respond())
        self.settings, self.early, self.windows = dict(settings), early, windows
        self.keep, self.tls, self.is_mute = keep, tls, is_mute
        if tls:
            tls.set_alpn_protocols(["h2"])
        self.changed = threading.Condition(threading.RLock())
        self.connections, self.requests, self.failures, self.refused = [], [], [], 0
        self.is_stopped = False
        self.socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.is_stopped:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                connection = Http2Connection(sock, self, len(self.connections))
                self.connections.append(connection)
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        try:
            if self.tls:
                connection.sock = self.tls.wrap_socket(connection.sock, server_side=True)
            connection.serve()
        except OSError:
            pass
        except Exception as error:  # a broken script must fail the test, not hang it
            self.failures.append(error)
        finally:
            connection.is_over = True
            connection.sock.close()
            with self.changed:
                self.changed.notify_all()

    def begin(self, call):
        threading.Thread(target=self.work, args=(call,), daemon=True).start()

    def work(self, call):
        try:
            self.answer(call)
        except (OSError, ssl.SSLError):
            pass
        except Exception as error:
            self.failures.append(error)

    def stop(self):
        self.is_stopped = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for connection in list(self.connections):
            connection.cut()
