"""A machine of the test's own, whose connections the shipped script redirects to weir."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager

import pytest

from .client import Client
from .namespace import LIBC, NetworkNamespace
from .patience import SLOWDOWN, patience
from .process import REPOSITORY
from .settings import configuration, forward, listener
from .upstream import RawUpstream, ok
from .wire import Wire

SCRIPT = REPOSITORY / "configs/transparent.sh"
#: Who weir is. A sanitizer wants rights that are given up, so with one weir stays root.
WEIR_USER = "nobody" if SLOWDOWN == 1 else "root"
NOBODY, SOMEBODY = 65534, 1
WEIR_UID = NOBODY if SLOWDOWN == 1 else 0
OUT_PORT, IN_PORT = 15001, 15006
SO_ORIGINAL_DST = IP6T_SO_ORIGINAL_DST = 80
IP_FREEBIND = 15
#: Every address in these is one of each machine's own.
LOCAL = ("10.99.0.0/16", "fd00:99::/64")
A, B, NOBODY_THERE = "10.99.0.1", "10.99.0.2", "10.99.0.77"
A6, B6 = "fd00:99::1", "fd00:99::2"


def unavailable():
    """Why no machine can be made here; None where one can."""
    if os.geteuid() != 0:
        return "takes root to redirect connections"
    missing = [name for name in ("ip", "iptables", "ip6tables", "iptables-save") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else None


needs_machine = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def settings(*clusters, routes=(), runtime=None, **options):
    """Both listeners in both families, the routes given, and all the rest goes on."""
    listeners = [
        listener(f"{name}{family}", f"{host}:{port}") | {"transparent": True}
        for name, port in (("outgoing", OUT_PORT), ("incoming", IN_PORT))
        for family, host in (("", "0.0.0.0"), ("6", "[::]"))
    ]
    passing = {"name": "on", "discovery": "original_destination"} | options
    return configuration(
        [*clusters, passing],
        routes=[*routes, forward("on", "on")],
        listeners=listeners,
        runtime={"workers": 1} | (runtime or {}),
    )


def answered(response):
    return response.status, response.body.decode() if response.status == 200 else response.reason


def total_connections(running):
    return running.total("downstream_connections_total")


@contextmanager
def sockets_of(uid):
    """Sockets that this thread makes meanwhile belong to the user, as `--uid-owner` sees it."""
    before = LIBC.setfsuid(uid)
    try:
        yield
    finally:
        LIBC.setfsuid(before)


def written(address):
    """A socket's address as the access log writes it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(host, port, backlog=4096):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # An address of a local prefix need not be one of an interface.
    sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    sock.listen(backlog)
    return sock


class AnyClient(Client):
    """A client that speaks IPv6 as well."""

    def __init__(self, address, seconds=15):
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        sock.settimeout(patience(seconds))
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Wire.__init__(self, sock, recording=False)
        self.port = sock.getsockname()[1]


def here(request):
    """The address and port that a request reached."""
    return written(request.connection.sock.getsockname())


class Destination(RawUpstream):
    """An upstream on any address, or on all of them; its answers say which one was reached."""

    def __init__(self, host, port, answer=None, handle=None):
        self.answer = answer or (lambda request: ok(here(request).encode()))
        self.handle = handle or self.serve
        self.tls, self.is_local, self.is_stopped = None, False, False
        self.changed = threading.Condition()
        self.connections, self.requests, self.failures = [], [], []
        self.socket = bound(host, port)
        self.port, self.address = port, written((host, port))
        threading.Thread(target=self.accept, daemon=True).start()


class Acceptor:
    """Greets each connection with a line of its own, and then sends back what it gets."""

    def __init__(self, host, port):
        self.socket = bound(host, port)
        self.count = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def greeting(self, sock):
        raise NotImplementedError

    def accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with sock:
            try:
                sock.sendall(self.greeting(sock).encode() + b"\n")
                while piece := sock.recv(65536):
                    sock.sendall(piece)
            except OSError:
                pass

    def stop(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Echo(Acceptor):
    """Not HTTP. Its greeting is who has connected: the client itself, or somebody between."""

    def greeting(self, sock):
        return written(sock.getpeername())


class Witness(Acceptor):
    """Stands where weir would. Its greeting is where the connection was going."""

    def greeting(self, sock):
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            host = socket.inet_ntop(socket.AF_INET, raw[4:8])
        else:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, 28)
            host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
        return written((host, int.from_bytes(raw[2:4])))


class Machine(NetworkNamespace):
    """A namespace with addresses, origins, the script's rules and weir."""

    def __init__(self):
        super().__init__("20000 60999")
        self.stopped_at_end, self.destinations = [], []
        # Where weir's user may write.
        self.folder = tempfile.mkdtemp(prefix="weir-e2e-")
        os.chmod(self.folder, 0o777)
        for prefix in LOCAL:
            self.run("ip", "route", "add", "local", prefix, "dev", "lo")

    def run(self, *command, check=True, **environment):
        with self.entered():
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    # The script

    def script(self, verb, check=True, **settings):
        return self.run(str(SCRIPT), verb, check=check, **settings)

    def up(self, outbound="80,8080", inbound="", user=WEIR_USER, **settings):
        return self.script(
            "up", WEIR_USER=user, OUTBOUND_PORTS=outbound, INBOUND_PORTS=inbound, **settings
        )

    def rules(self):
        """The rules and the chains of somebody's own, of both families."""
        return [
            f"{program} {line}"
            for program in ("iptables-save", "ip6tables-save")
            for line in self.run(program).stdout.splitlines()
            if line.startswith("-A") or line.startswith(":") and " - " in line
        ]

    # Those who take part

    def destination(self, host="0.0.0.0", port=8080, answer=None, handle=None):
        with self.entered():
            made = Destination(host, port, answer, handle)
        self.destinations.append(made)
        self.stopped_at_end.append(made)
        return made

    def acceptor(self, kind, host, port):
        with self.entered():
            made = kind(host, port)
        self.stopped_at_end.append(made)
        return made

    def weir(self, start, settings, user=WEIR_USER, **options):
        """weir, as somebody else than root; `start` is the fixture."""
        log = os.path.join(self.folder, "access.ndjson")
        runtime = settings["runtime"] | {"access_log": {"path": log}}
        if user != "root":
            runtime["user"] = user
        self.runtime = runtime
        with self.entered():
            running = start(
                settings | {"runtime": runtime},
                admin=os.path.join(self.folder, "admin.sock"),
                log=False,
                **options,
            )
        running.log_file = type(running.file)(log)
        # So that a reload can read the file.
        os.chmod(running.directory, 0o755)
        return running

    def client(self, host, port=8080, kind=AnyClient, user=SOMEBODY, **options):
        with self.entered(), sockets_of(user):
            return kind((host, port), **options)

    def get(self, address, port=8080, path="/", **options):
        """One request on a connection of its own; `host` is what its Host field says."""
        with self.client(address, port) as client:
            client.request(path=path, **options)
            response = client.read()
            assert response is not None, "closed without an answer"
            return response

    def greeted(self, host, port, user=SOMEBODY):
        """What an acceptor says, and whether this end is who it means; it must echo, too."""
        with self.client(host, port, user=user) as client:
            client.sock.sendall(b"\0\xffnot HTTP\n")
            file = client.sock.makefile("rb")
            line = file.readline().decode().strip()
            assert file.readline() == b"\0\xffnot HTTP\n"
            return line, written(client.sock.getsockname())

    def connect(self, other, host, other_host, host6, other_host6):
        """A cable to another machine."""
        end = f"/proc/{os.getpid()}/fd/{other.inside}"
        self.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", end)
        for machine, v4, v6 in ((self, host, host6), (other, other_host, other_host6)):
            machine.run("ip", "addr", "add", f"{v4}/24", "dev", "cable")
            machine.run("ip", "addr", "add", f"{v6}/64", "dev", "cable", "nodad")
            machine.run("ip", "link", "set", "cable", "up")

    def __exit__(self, *_):
        for each in self.stopped_at_end:
            each.stop()
        super().__exit__()
        if not os.environ.get("WEIR_TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        for each in self.destinations:
            assert not each.violations, each.violations
            assert not each.failures, each.failures
