"""WebSockets through weir: clients of either version, and what endpoints of HTTP/2 do with them."""

import base64
import os

from .client import Client
from .http2 import Http2Client

#: What every client here asks for beside the tunnel itself.
ASKED = [
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "chat, superchat"),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ("origin", "https://chat.test"),
]


class Old:
    """A tunnel of a client of HTTP/1.1; `answer` is what was said to it."""

    consent, via = 101, "1.1 weir"

    def __init__(self, address, **options):
        self.client = Client(address, **options)
        self.key = base64.b64encode(os.urandom(16)).decode()

    def ask(self, path="/chat", protocol="websocket", early=b""):
        own = [("Connection", "keep-alive, Upgrade"), ("Upgrade", protocol)]
        fields = [*own, ("Sec-WebSocket-Key", self.key), *ASKED]
        lines = [f"GET {path} HTTP/1.1", "Host: e2e.test", *(": ".join(pair) for pair in fields)]
        self.client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + early)
        self.answer = self.client.read()
        return self.answer

    def get(self, path="/"):
        """An exchange on the same connection, where there is no tunnel."""
        self.client.request(path=path)
        return self.client.read()

    def send(self, data):
        self.client.send(data)

    def take(self, count):
        pieces = []
        self.client.exactly(count, pieces.append, "a tunnel")
        return b"".join(pieces)

    def end(self):
        self.client.shutdown()

    def rest(self):
        """What comes until the tunnel's end."""
        pieces = []
        self.client.to_end(pieces.append)
        return b"".join(pieces)

    def leave(self):
        self.client.reset()

    def close(self):
        self.client.close()


class New:
    """The same of HTTP/2."""

    consent, via = 200, "2 weir"

    def __init__(self, address, **options):
        self.client = Http2Client(address, **options)
        self.taken = 0

    def ask(self, path="/chat", protocol="websocket"):
        fields = self.client.fields("CONNECT", path, ASKED)
        lead = [fields[0], (":protocol", protocol)]
        self.stream = self.answer = self.client.open(lead + fields[1:], end=False)
        self.client.until(lambda: self.stream.status == 200 or self.stream.is_over)
        return self.answer

    def get(self, path="/"):
        return self.client.get(path)

    def send(self, data):
        self.client.data(self.stream, data, end=False)

    def take(self, count):
        have = self.taken
        assert self.client.until(lambda: self.stream.length >= have + count)
        self.taken += count
        return bytes(self.stream.body[have : self.taken])

    def end(self):
        self.client.data(self.stream)

    def rest(self):
        self.client.until(lambda: self.stream.is_over)
        return bytes(self.stream.body[self.taken :])

    def leave(self):
        self.client.cancel(self.stream)
        assert self.client.ping()

    def close(self):
        self.client.close()


# Endpoints


def consent(call, fields=(), **options):
    call.head([(":status", "200"), ("sec-websocket-protocol", "chat"), *fields], **options)


def pieces(call):
    """What comes through a tunnel, until it ends."""
    at, connection = 0, call.connection

    def has_more():
        is_over = call.has_ended or call.reset_code is not None or connection.is_over
        return len(call.body) > at or is_over

    while True:
        connection.owner.wait(has_more, "more comes through the tunnel", 50)
        if not (piece := bytes(call.body[at:])):
            return
        at += len(piece)
        yield piece


def echo(call):
    """Sends everything back, and ends when the client does; what is no tunnel is answered."""
    if call.method != "CONNECT":
        return call.respond(body=call.path.encode())
    consent(call)
    for piece in pieces(call):
        call.data(piece, end=False)
    call.data()
