"""A recording upstream: a thread a connection, answers by script, keeps every byte that reached it."""

import re
import socket
import threading
from dataclasses import dataclass, field

from .patience import Watched, patience
from .wire import TOKEN, Incomplete, Wire, check_framing, values

REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.1\Z")
HOP_BY_HOP = {"keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"}


def ok(body=b"ok\n", status="200 OK", headers=(), **fields):
    """The bytes of a plain answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Request:
    """One request as it reached the upstream."""

    method: str
    target: str
    fields: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    raw: bytes = b""
    connection: "Connection" = None

    def all(self, name):
        return values(self.fields, name.lower())

    def one(self, name):
        """The only value of `name`, or None; twice is an error."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None


class Connection(Wire):
    """One connection that weir opened."""

    def __init__(self, sock, owner, number):
        super().__init__(sock)
        self.owner = owner
        self.number = number
        self.requests = []
        self.is_closed = threading.Event()

    def read_head(self):
        """The next request without its body, or None at the end of the stream."""
        before = len(self.record) - len(self.buffer)
        line = self.start_line("a request line")
        if line is None:
            return None
        fields = self.fields("a request")
        match = REQUEST_LINE.match(line)
        if not match:
            self.violations.append(f"ill-formed request line: {line!r}")
            raise Incomplete("a request line", line)
        request = Request(match[1].decode(), match[2].decode(), fields, connection=self)
        request.raw = bytes(self.record[before : len(self.record) - len(self.buffer)])
        self.judge(request)
        return request

    def read_body(self, request, sink=None):
        """Reads the body into the request, or feeds it to `sink`."""
        before = len(self.record) - len(self.buffer)
        pieces = []
        feed = sink or pieces.append
        if request.all("transfer-encoding"):
            request.trailers, _ = self.chunked(feed, "a request body")
        else:
            self.exactly(int((request.all("content-length") or ["0"])[0]), feed, "a request body")
        request.body = b"".join(pieces)
        request.raw += bytes(self.record[before : len(self.record) - len(self.buffer)])
        return request

    def read(self):
        """The next whole request, noted in the upstream's list; None at the end of the stream."""
        request = self.read_head()
        if request is None:
            return None
        self.note(self.read_body(request))
        return request

    def note(self, request):
        self.requests.append(request)
        with self.owner.changed:
            self.owner.requests.append(request)
            self.owner.changed.notify_all()

    def send(self, data):
        self.sock.sendall(data)

    def wait_closed(self, seconds=15):
        """Reads on until weir closes; True when it did."""
        self.sock.settimeout(patience(seconds))
        try:
            while self.fill():
                pass
        except (TimeoutError, OSError):
            return False
        return True

    def judge(self, request):
        """What every request that weir sends must be, whatever the client sent."""
        where = f"{request.method} {request.target}"
        check_framing(request.fields, self.violations, where)
        names = [name for name, _ in request.fields]
        if names.count("host") != 1:
            self.violations.append(f"{names.count('host')} Host fields in {where}")
        for name in HOP_BY_HOP & set(names):
            self.violations.append(f"hop-by-hop field {name} in {where}")
        if request.all("upgrade") and "upgrade" not in ",".join(request.all("connection")).lower():
            self.violations.append(f"Upgrade without Connection: upgrade in {where}")
        if any(value.strip().lower() != "trailers" for value in request.all("te")):
            self.violations.append(f"TE in {where}: {request.all('te')}")
        if request.all("user-agent") == ["weir-health-check"]:
            return  # weir's own, not passed on for anybody
        if not ", ".join(request.all("via")).endswith(("2 weir", "1.1 weir", "1.0 weir")):
            self.violations.append(f"Via in {where}: {request.all('via')}")
        for name in ("x-request-id", "x-forwarded-proto"):
            if names.count(name) != 1:
                self.violations.append(f"{names.count(name)} {name} fields in {where}")
        if "x-forwarded-for" not in names:
            self.violations.append(f"no X-Forwarded-For in {where}")


class RawUpstream(Watched):
    """Listens on a port of its own; `answer` maps a request to bytes, `handle` replaces all of it.

    An answer of None closes the connection after the request was read. `tls` is an ssl.SSLContext,
    `path` that of a unix socket to listen on instead of a port.
    """

    def __init__(self, answer=None, handle=None, port=0, backlog=1024, tls=None, path=None):
        self.answer = answer or (lambda request: ok())
        self.handle = handle or self.serve
        self.tls = tls
        self.changed = threading.Condition()
        self.connections = []
        self.requests = []
        self.failures = []
        self.is_local = path is not None
        self.socket = socket.socket(socket.AF_UNIX if self.is_local else socket.AF_INET)
        if self.is_local:
            self.socket.bind(str(path))
            self.address = f"unix:{path}"
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("127.0.0.1", port))
            self.port = self.socket.getsockname()[1]
            self.address = f"127.0.0.1:{self.port}"
        self.socket.listen(backlog)
        self.is_stopped = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.is_stopped:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            if self.is_stopped:
                sock.close()
                return
            if not self.is_local:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                connection = Connection(sock, self, len(self.connections))
                self.connections.append(connection)
                self.changed.notify_all()
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        try:
            if self.tls:
                connection.sock = self.tls.wrap_socket(connection.sock, server_side=True)
            self.handle(connection)
        except (Incomplete, OSError):
            pass
        except Exception as error:  # a broken script must fail the test, not hang it
            self.failures.append(error)
        finally:
            connection.sock.close()
            connection.is_closed.set()
            with self.changed:
                self.changed.notify_all()

    def serve(self, connection):
        while (request := connection.read()) is not None:
            data = self.answer(request)
            if data is None:
                return
            connection.send(data)

    @property
    def bytes_received(self):
        return sum(connection.received for connection in self.connections)

    def stop(self):
        """Closes the listener and every connection, as a killed server would."""
        self.is_stopped = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for connection in list(self.connections):
            connection.cut()
