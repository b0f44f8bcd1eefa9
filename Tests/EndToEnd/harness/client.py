"""Raw clients: they send exactly the bytes they are given and read answers with a deadline."""

import hashlib
import select
import socket
from dataclasses import dataclass, field

from .patience import patience
from .wire import Incomplete, Wire, check_framing, values


@dataclass
class Response:
    """One answer; `digest` and `length` stand for a body that was not kept."""

    version: str
    status: int
    fields: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    chunks: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    digest: str = ""
    length: int = 0

    def all(self, name):
        return values(self.fields, name.lower())

    def one(self, name):
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None

    @property
    def reason(self):
        """weir's reason code, when weir made this answer itself."""
        return self.one("x-weir-reason")


def parse(address):
    """`host:port` as connect() wants it; a pair is left as it is."""
    if isinstance(address, tuple):
        return address
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Client(Wire):
    """One client connection."""

    def __init__(self, address, seconds=15, recording=False, receive_buffer=None, tls=None, name=None, session=None):
        """`tls` is an ssl.SSLContext, `name` the server that is asked for."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(patience(seconds))
        sock.connect(parse(address))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname=name, session=session)
        super().__init__(sock, recording)
        self.port = sock.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_until_answered(self, pieces, answers=1):
        """Sends the pieces one by one; True when all were sent.

        Stops at a close and, where one answer is expected, as soon as it begins to arrive.
        """
        for piece in pieces:
            if answers == 1 and select.select([self.sock], [], [], 0)[0]:
                return False
            try:
                self.sock.sendall(piece)
            except (ConnectionResetError, BrokenPipeError):
                return False
        return True

    def request(self, method="GET", path="/", headers=(), body=None, host="e2e.test"):
        """Sends a well-formed request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def read_head(self, where="a response"):
        """The next final head; None at the end of the stream. Interim ones are kept in it."""
        interim = []
        while True:
            line = self.start_line(where)
            if line is None:
                assert not interim, f"closed after {interim}"
                return None
            version, _, rest = line.decode("latin-1").partition(" ")
            head = Response(version, int(rest[:3]), self.fields(where))
            assert version == "HTTP/1.1", line
            if 100 <= head.status < 200 and head.status != 101:
                interim.append(head)
                continue
            head.interim = interim
            check_framing(head.fields, self.violations, where)
            return head

    def read(self, method="GET", keep=True):
        """The next whole answer; None when the stream ended instead."""
        head = self.read_head()
        if head is None:
            return None
        pieces, digest = [], hashlib.sha256()

        def sink(piece):
            head.length += len(piece)
            if keep:
                pieces.append(piece)
            else:
                digest.update(piece)

        if method == "HEAD" or head.status in (101, 204, 304):
            pass
        elif head.all("transfer-encoding"):
            head.trailers, head.chunks = self.chunked(sink, "a response body")
        elif head.all("content-length"):
            self.exactly(int(head.all("content-length")[0]), sink, "a response body")
        else:
            self.to_end(sink)
        head.body, head.digest = b"".join(pieces), digest.hexdigest()
        assert not self.violations, self.violations
        return head

    def expect_end(self):
        """Nothing more comes but the end of the stream."""
        assert not self.buffer and not self.fill(), f"unexpected bytes: {bytes(self.buffer)!r}"


def exchange(address, data, method="GET", **options):
    """Sends `data` on a new connection and reads one answer."""
    with Client(address, **options) as client:
        client.send(data)
        return client.read(method)


def get(address, path="/", headers=(), method="GET", body=None, host="e2e.test"):
    """One request on a connection of its own."""
    with Client(address) as client:
        client.request(method, path, headers, body, host)
        response = client.read(method)
        assert response is not None, "closed without an answer"
        return response


__all__ = ["Client", "Incomplete", "Response", "exchange", "get", "parse"]


def ask_hedged(running):
    """Asks two endpoints in turn, one of which leaves /slow unanswered: one attempt at it is hedged, or two."""
    with running.client() as client:
        # Hedges are a share of all requests: these earn a few.
        for path in ["/"] * 60 + ["/slow"] * 2:
            client.request(path=path)
            assert client.read().body == b"quick"
    assert 1 <= running.total("upstream_hedges_total") <= 2
