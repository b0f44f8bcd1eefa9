"""Records at bad moments: broken ones, changes of keys, and ends that nobody reads."""

import ctypes
import socket
import ssl

import pytest

from harness import Client, cluster, configuration, forward, listener, ok, patience, until

#: A record that no key opens.
BROKEN = b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.fixture(scope="module")
def shop(authority):
    return authority.issue("DNS:shop.test", "IP:127.0.0.1")


def settings(upstream, shop, limits=None, address=None, **tls):
    edge = {"address": address} if address else {}
    tls = {"certificates": [shop.files]} | tls
    return configuration([cluster("main", upstream)], listeners=[listener(tls=tls, limits=limits, **edge)])


class Memory:
    """A side of TLS that says itself when its records go out."""

    def __init__(self, sock, context, **options):
        self.sock = sock
        self.coming, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.coming, self.going, **options)
        self.run(self.session.do_handshake)

    def run(self, step):
        """Takes the step, with as much of the other side's as it needs."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                piece = self.sock.recv(65536)
                assert piece, "the connection has ended"
                self.coming.write(piece)

    def flush(self, more=b""):
        self.sock.sendall(self.going.read() + more)


@pytest.mark.parametrize("versions", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_is_known_however_its_first_records_come(weir, upstream, authority, shop, versions):
    """What was broken behind the request made the handshake look unfinished, and its client unknown."""
    behind = upstream()
    running = weir(settings(behind, shop, client_ca=str(authority.certificate)))
    context = authority.client(authority.issue("DNS:billing.test"), versions=(versions, versions))
    with socket.create_connection(("127.0.0.1", int(running.edge.rpartition(":")[2]))) as sock:
        sock.settimeout(patience(15))
        client = Memory(sock, context, server_hostname="shop.test")
        client.session.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.flush(BROKEN)
        told = behind.wait_requests(1)[0].one("x-forwarded-client-cert")
    assert told and told.endswith(";DNS=billing.test")
    assert running.wait_total(1, "downstream_tls_handshakes_total", result="full") == 1


def test_a_request_is_not_sent_again_where_its_answer_is_broken(weir, upstream, authority, shop):
    """That is no connection that was not made, whatever its state: the endpoint has the request."""
    seen = []

    def handle(connection):
        server = Memory(connection.sock, authority.server(shop), server_side=True)
        server.flush()
        request = b""
        while not request.endswith(b"once"):
            request += server.run(lambda: server.session.read(65536))
        seen.append(request)
        server.flush(BROKEN)
        connection.wait_closed()

    behind = [upstream(handle=handle) for _ in range(2)]
    made = configuration(
        [cluster("main", *behind, tls={"ca": str(authority.certificate)})], [forward(retry="again")]
    )
    made["retry_policies"] = {"again": {"on": ["connect_failure"], "attempts": 3}}
    running = weir(made)
    answer = running.get(method="POST", body=b"once")
    assert (answer.status, answer.reason) == (502, "upstream_reset")
    assert len(seen) == 1


class Changing:
    """A client of OpenSSL's own, which can change its keys."""

    REQUESTED = 1

    def __init__(self, address):
        self.lib = lib = ctypes.CDLL("libssl.so.3")
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        self.session = ctypes.c_void_p(lib.SSL_new(self.context))
        self.sock = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        lib.SSL_set_fd(self.session, self.sock.fileno())
        assert lib.SSL_connect(self.session) == 1

    def write(self, data):
        return self.lib.SSL_write(self.session, data, len(data)) == len(data)

    def read(self):
        buffer = ctypes.create_string_buffer(65536)
        count = self.lib.SSL_read(self.session, buffer, len(buffer))
        return buffer.raw[: max(count, 0)]

    def change_keys(self):
        self.lib.SSL_key_update(self.session, self.REQUESTED)
        return self.lib.SSL_do_handshake(self.session) == 1

    def close(self):
        self.lib.SSL_free(self.session)
        self.lib.SSL_CTX_free(self.context)
        self.sock.close()


@pytest.fixture
def changing(weir, upstream, shop):
    # Whoever is cut off here was not too slow.
    running = weir(settings(upstream(), shop, limits={"body_timeout": "10m"}))
    client = Changing(running.edge)
    client.sock.settimeout(None)
    yield running, client
    client.close()


def test_keys_may_change(changing):
    running, client = changing
    for _ in range(20):
        assert client.change_keys()
        assert client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 OK" in client.read()


def test_keys_that_change_without_end_end_the_connection(changing):
    """A few bytes of a body in between make no difference: a change costs as much as a kilobyte."""
    running, client = changing
    assert client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        if not all(client.change_keys() for _ in range(10)) or not client.write(b"1\r\nx\r\n"):
            break
    until(lambda: running.total("downstream_connections") == 0, "the client is cut off")


def test_an_end_that_nobody_reads_is_waited_for_no_longer_than_an_answer(weir, upstream, authority, shop, tmp_path):
    """An answer that just fits leaves no room for the alert behind it."""
    path = tmp_path / "edge.sock"
    running = weir(
        settings(
            upstream(lambda request: ok(bytes(int(request.target[1:])))),
            shop,
            limits={"send_timeout": "300ms", "max_connections_per_ip": 200},
            address=f"unix:{path}",
        )
    )
    clients = []
    for size in range(190_000, 260_000, 1000):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(patience(15))
        sock.connect(str(path))
        client = Memory(sock, authority.client(), server_hostname="shop.test")
        client.session.write(f"GET /{size} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        client.flush()
        clients.append(sock)
    running.wait_total(len(clients), "http_requests_total")
    until(lambda: running.total("downstream_connections") == 0, "all are gone")
    for sock in clients:
        sock.close()
