"""The PROXY protocol in both directions, and the bound on connections of one address, which counts by what it says."""

import socket
import struct
import threading

import pytest

from harness import Authority, Client, cluster, configuration, listener, ok, patience, until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="203.0.113.9", port=4711):
    return b"PROXY TCP4 %s 198.51.100.1 %d 443\r\n" % (source.encode(), port)


def v2(source="203.0.113.9", port=4711, extensions=b"\x03\x00\x04abcd"):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", port, 443) + extensions
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(body)) + body


def settings(upstream, version="any", limits=None, tls=None, **options):
    edge = listener(limits=limits, tls=tls)
    if version:
        edge["proxy_protocol"] = version
    return configuration([cluster("main", upstream, **options)], listeners=[edge])


def ask(running, header, rest=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", pieces=False):
    with Client(running.edge) as client:
        if pieces:
            for byte in header + rest:
                client.send(bytes([byte]))
        else:
            client.send(header + rest)
        return client.read()


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("header", [v1(), v2()])
def test_the_client_is_who_the_balancer_says(weir, upstream, header, pieces):
    behind = upstream()
    running = weir(settings(behind))
    assert ask(running, header, pieces=pieces).status == 200
    assert behind.wait_requests(1)[0].one("x-forwarded-for") == "203.0.113.9"
    assert running.wait_log(1)[0]["client"] == "203.0.113.9"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00"])
def test_a_balancer_speaks_for_itself(weir, upstream, header):
    behind = upstream()
    running = weir(settings(behind))
    assert ask(running, header).status == 200
    assert behind.wait_requests(1)[0].one("x-forwarded-for") == "127.0.0.1"


@pytest.mark.parametrize(
    "version, header",
    [
        ("any", b""),
        ("v1", v2()),
        ("v2", v1()),
        ("any", b"PROXY TCP4 203.0.113.9\r\n"),
        ("any", SIGNATURE + b"\x41\x11\x00\x0c" + bytes(12)),
        ("any", b"PROXY " + b"x" * 4096),
    ],
)
def test_without_the_header_there_is_no_answer(weir, upstream, version, header):
    behind = upstream()
    running = weir(settings(behind, version))
    with Client(running.edge) as client:
        client.send(header + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.to_end(lambda piece: pytest.fail(f"an answer: {piece}"))
    assert running.wait_total(1, "downstream_connections_refused_total", reason="proxy_protocol") == 1
    assert not behind.requests


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 203", SIGNATURE + b"\x21"])
def test_a_header_has_its_time(weir, upstream, sent):
    running = weir(settings(upstream(), limits={"header_timeout": "200ms"}))
    with Client(running.edge) as client:
        if sent:
            client.send(sent)
        client.to_end(lambda piece: None)
    assert ask(running, v1()).status == 200


def test_connections_that_say_nothing_hold_no_shutdown_up(weir, upstream):
    running = weir(settings(upstream()))
    with Client(running.edge) as client:
        client.send(b"PROXY ")
        until(lambda: running.total("downstream_connections_total") == 1, "it is taken")
        running.signal(15)
        assert running.wait_exit() == 0


def test_the_header_precedes_tls(weir, upstream, tmp_path):
    authority = Authority(tmp_path / "authority")
    files = authority.issue("DNS:shop.test").files
    behind = upstream()
    running = weir(settings(behind, tls={"certificates": [files]}))
    with Client(running.edge) as client:
        client.send(v2())
        client.sock = authority.client().wrap_socket(client.sock, server_hostname="shop.test")
        for _ in range(2):
            client.request()
            assert client.read().status == 200
    assert behind.wait_requests(1)[0].one("x-forwarded-for") == "203.0.113.9"


# To endpoints


def greeted(connections):
    """An endpoint that notes the header of each connection, which must come before the request."""

    def handle(connection):
        while len(connection.buffer) < 16 or not (
            b"\r\n" in connection.buffer[:107] and connection.buffer.startswith(b"PROXY")
            or connection.buffer.startswith(SIGNATURE)
        ):
            assert connection.fill()
        if connection.buffer.startswith(SIGNATURE):
            while len(connection.buffer) < 16 + struct.unpack(">H", connection.buffer[14:16])[0]:
                assert connection.fill()
            header = connection.take(16 + struct.unpack(">H", connection.buffer[14:16])[0])
        else:
            header = connection.take(connection.buffer.index(b"\n") + 1)
        connections.append(header)
        while connection.read() is not None:
            connection.send(ok())

    return handle


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_endpoint_is_told_who_the_client_is(weir, upstream, version):
    headers = []
    behind = upstream(handle=greeted(headers))
    running = weir(settings(behind, None, proxy_protocol=version))
    ports = []
    with running.client() as client:
        for _ in range(3):
            client.request()
            assert client.read().status == 200
            ports.append(client.port)
    edge = int(running.edge.rpartition(":")[2])
    if version == "v1":
        wanted = [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {edge}\r\n".encode() for port in ports]
    else:
        home = socket.inet_aton("127.0.0.1")
        wanted = [
            SIGNATURE + b"\x21\x11\x00\x0c" + home * 2 + struct.pack(">HH", port, edge) for port in ports
        ]
    assert headers == wanted, "a connection for each request"


def test_what_came_in_goes_out(weir, upstream):
    headers = []
    behind = upstream(handle=greeted(headers))
    running = weir(settings(behind, "v1", proxy_protocol="v1"))
    assert ask(running, v1("203.0.113.77", 99)).status == 200
    edge = running.edge.rpartition(":")[2]
    assert headers == [f"PROXY TCP4 203.0.113.77 127.0.0.1 99 {edge}\r\n".encode()]


def test_who_a_connection_was_for_outlives_the_setting(weir, upstream):
    """Without this, the endpoint would take the next clients for the one that it was told of."""
    released = threading.Event()

    def handle(connection):
        if connection.number == 0:
            assert connection.line("the header").startswith(b"PROXY TCP4 ")
        while connection.read() is not None:
            released.wait(patience(15))
            connection.send(ok())

    behind = upstream(handle=handle)
    running = weir(settings(behind, None, proxy_protocol="v1") | {"runtime": {"workers": 1}})
    with running.client() as client:
        client.request()
        behind.wait_requests(1)
        running.reload(settings(behind, None) | {"runtime": {"workers": 1}})
        released.set()
        assert client.read().status == 200
    assert [running.get().status for _ in range(2)] == [200, 200]
    assert [request.connection.number for request in behind.requests] == [0, 1, 1]


def test_the_header_precedes_tls_to_endpoints(weir, upstream, tmp_path):
    authority = Authority(tmp_path / "authority")
    context = authority.server(authority.issue("IP:127.0.0.1"))
    headers = []

    def handle(connection):
        # Nothing is read beyond it: what follows is TLS's.
        header = b""
        while not header.endswith(b"\n"):
            header += connection.sock.recv(1)
        headers.append(header)
        connection.sock = context.wrap_socket(connection.sock, server_side=True)
        connection.read()
        connection.send(ok())

    behind = cluster("main", upstream(handle=handle), proxy_protocol="v1", tls={"ca": str(authority.certificate)})
    running = weir(configuration([behind]))
    assert running.get().status == 200
    assert headers[0].startswith(b"PROXY TCP4 127.0.0.1 ")


def test_health_checks_say_that_weir_speaks_for_itself(weir, upstream):
    headers = []

    def handle(connection):
        connection.fill()
        headers.append(bytes(connection.buffer))
        connection.send(ok(headers=["Connection: close"]))

    check = {"path": "/healthz", "interval": "100ms"}
    running = weir(settings(upstream(handle=handle), None, proxy_protocol="v2", health_check=check))
    until(lambda: headers, "a probe comes")
    assert headers[0].startswith(SIGNATURE + b"\x21\x00\x00\x00")
    assert running.wait_total(1, "weir_endpoint_state", cluster="main", state="available") == 1


# Connections of one address


def test_an_address_has_so_many_connections(weir, upstream):
    running = weir(settings(upstream(), None, limits={"max_connections_per_ip": 3}))
    kept = [running.client() for _ in range(3)]
    for client in kept:
        client.request()
        assert client.read().status == 200
    with running.client() as refused:
        answer = refused.read()
        assert (answer.status, answer.reason) == (503, "ceiling")
        refused.expect_end()
    assert running.wait_total(1, "downstream_connections_refused_total", reason="max_connections_per_ip") == 1
    kept.pop().close()
    until(lambda: running.get().status == 200, "its place is free again")
    for client in kept:
        client.close()


def test_addresses_are_counted_by_what_the_balancer_says(weir, upstream):
    running = weir(settings(upstream(), "v1", limits={"max_connections_per_ip": 1}))
    with Client(running.edge) as one, Client(running.edge) as other:
        for client, source in ((one, "203.0.113.1"), (other, "203.0.113.2")):
            client.send(v1(source))
            client.request()
            assert client.read().status == 200
        assert ask(running, v1("203.0.113.1")).status == 503
    until(lambda: ask(running, v1("203.0.113.1")).status == 200, "its place is free again")
