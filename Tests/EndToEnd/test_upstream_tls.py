"""TLS to endpoints: who is believed, what is shown, and what a failed handshake looks like from outside."""

import hashlib
import socket
import ssl
import threading

import pytest

from harness import Authority, Client, RawUpstream, cluster, configuration, forward, listener, ok, until


@pytest.fixture(scope="module")
def proven(authority):
    """The certificate of an endpoint that has a name and an address."""
    return authority.issue("DNS:origin.test", "IP:127.0.0.1")


@pytest.fixture
def endpoint(authority, proven):
    made = []

    def start(answer=None, certificate=None, demands=False, **options):
        context = authority.server(certificate or proven, demands)
        made.append(RawUpstream(answer, tls=context, **options))
        return made[-1]

    yield start
    for each in made:
        each.stop()
    for each in made:
        assert not each.violations, each.violations


def settings(endpoint, tls, routes=None, **options):
    return configuration([cluster("main", endpoint, tls=tls, **options)], routes, [listener()])


def refusal(running):
    answer = running.get()
    return answer.status, answer.reason


def test_requests_go_through_tls(weir, endpoint, authority):
    names = []
    behind = endpoint(lambda request: ok(request.body))
    behind.tls.sni_callback = lambda sock, name, context: names.append(name)
    running = weir(settings(behind, {"ca": str(authority.certificate), "server_name": "origin.test"}))
    body = bytes(range(256)) * (20 << 10)
    with running.client(seconds=40) as client:
        for _ in range(3):
            client.request("POST", body=body)
            answer = client.read("POST", keep=False)
            assert (answer.status, answer.length) == (200, len(body))
            assert answer.digest == hashlib.sha256(body).hexdigest()
    assert names == ["origin.test"], "one connection, which is told the name"


def test_an_address_is_proven_where_no_name_is_given(weir, endpoint, authority):
    names = []
    behind = endpoint()
    behind.tls.sni_callback = lambda sock, name, context: names.append(name)
    running = weir(settings(behind, {"ca": str(authority.certificate)}))
    assert running.get().status == 200
    assert names == [None], "no address is told as a name"


def test_strangers_are_not_believed(weir, endpoint, authority, tmp_path):
    stranger = Authority(tmp_path / "stranger", "a stranger")
    behind = endpoint()
    running = weir(settings(behind, {"ca": str(stranger.certificate), "server_name": "origin.test"}))
    assert refusal(running) == (502, "upstream_connect")
    assert "no TLS handshake with an endpoint: certificate verify failed" in running.stderr
    assert running.wait_total(1, "upstream_failures_total", reason="connect") == 1
    assert not behind.requests


def test_the_systems_list_is_the_default(weir, endpoint):
    running = weir(settings(endpoint(), {"server_name": "origin.test"}))
    assert refusal(running) == (502, "upstream_connect")


def test_the_name_must_be_right(weir, endpoint, authority):
    running = weir(settings(endpoint(), {"ca": str(authority.certificate), "server_name": "other.test"}))
    assert refusal(running) == (502, "upstream_connect")
    assert "hostname mismatch" in running.stderr


def test_verification_can_be_left_out(weir, endpoint, authority, tmp_path):
    own = Authority(tmp_path / "own").issue("DNS:whoever.test")
    running = weir(settings(endpoint(certificate=own), {"verify": False}))
    assert running.get().status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_weir_proves_itself(weir, endpoint, authority, version):
    behind = endpoint(demands=True)
    behind.tls.maximum_version = version
    tls = {"ca": str(authority.certificate)}
    running = weir(settings(behind, tls))
    # In TLS 1.3 it is told only after the handshake.
    assert refusal(running) == (502, "upstream_connect")
    assert "no TLS handshake with an endpoint" in running.stderr
    running.reload(settings(behind, tls | {"certificate": authority.issue("DNS:weir.test").files}))
    until(lambda: running.get().status == 200, "the certificate is shown")


def test_sessions_are_resumed(weir, endpoint, authority):
    reused = []

    def handle(connection):
        reused.append(connection.sock.session_reused)
        connection.read()
        connection.send(ok(headers=["Connection: close"]))

    behind = endpoint(handle=handle)
    tls = {"ca": str(authority.certificate)}
    running = weir(settings(behind, tls) | {"runtime": {"workers": 1}})
    for _ in range(4):
        assert running.get().status == 200
    assert reused == [False, True, True, True]


def test_connections_under_old_settings_are_not_used(weir, endpoint, authority):
    behind = endpoint()
    tls = {"ca": str(authority.certificate)}
    running = weir(settings(behind, tls) | {"runtime": {"workers": 1}})
    assert running.get().status == 200
    running.reload(settings(behind, tls | {"server_name": "origin.test"}) | {"runtime": {"workers": 1}})

    def number():
        assert running.get().status == 200
        return behind.requests[-1].connection.number

    until(lambda: number() > 0, "a new connection is made")


def test_an_endpoint_that_is_no_tls_server(weir, upstream):
    def handle(connection):
        connection.fill()
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.wait_closed()

    running = weir(settings(upstream(handle=handle), {"verify": False}))
    assert refusal(running) == (502, "upstream_connect")


def test_a_handshake_that_never_ends_is_given_up(weir, upstream):
    behind = upstream(handle=lambda connection: connection.wait_closed())
    running = weir(settings(behind, {"verify": False}, connect_timeout="200ms"))
    assert refusal(running) == (504, "upstream_connect")
    assert running.wait_total(1, "upstream_failures_total", reason="connect_timeout") == 1


def test_another_endpoint_is_tried(weir, endpoint, upstream, authority):
    def handle(connection):
        connection.fill()

    broken = upstream(handle=handle)
    good = endpoint()
    policy = {"safe": {"on": ["connect_failure"], "attempts": 1}}
    made = configuration(
        [cluster("main", broken, good, tls={"ca": str(authority.certificate)})], [forward(retry="safe")]
    )
    running = weir(made | {"retry_policies": policy})
    assert [running.get().status for _ in range(6)] == [200] * 6


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_body_that_ends_with_the_connection(weir, endpoint, authority, is_orderly):
    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if is_orderly:
            connection.sock.unwrap()

    running = weir(settings(endpoint(handle=handle), {"ca": str(authority.certificate)}))
    with running.client() as client:
        client.request()
        if is_orderly:
            assert client.read().body == b"half"
        else:
            with pytest.raises(Exception):
                client.read()
    (line,) = running.wait_log(1)
    assert line["reason"] == (None if is_orderly else "upstream_reset")


def test_health_checks_speak_tls(weir, endpoint, authority):
    probes = []

    def handle(connection):
        connection.fill()
        probes.append(bytes(connection.buffer))
        connection.send(ok(headers=["Connection: close"]))

    behind = endpoint(handle=handle)
    check = {"path": "/healthz", "interval": "100ms", "timeout": "5s", "unhealthy": 1, "healthy": 1}
    running = weir(settings(behind, {"ca": str(authority.certificate)}, health_check=check))
    until(lambda: probes, "a probe comes")
    assert probes[0].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert running.wait_total(1, "weir_endpoint_state", cluster="main", state="available") == 1
    running.reload(settings(behind, {"server_name": "wrong.test"}, health_check=check))
    until(
        lambda: running.total("weir_endpoint_state", cluster="main", state="unhealthy") == 1,
        "a probe that fails to shake hands is a failed one",
    )


def test_what_one_client_sends_touches_no_other_connection(weir, endpoint, authority):
    shop = authority.issue("DNS:shop.test")
    behind = endpoint()
    made = settings(behind, {"ca": str(authority.certificate)}, keepalive={"max_idle": 0})
    made["listeners"].append(listener("secure", tls={"certificates": [shop.files]}))
    running = weir(made | {"runtime": {"workers": 1}})
    secure = running.address("secure")
    with Client(secure, tls=authority.client(), name="shop.test") as kept:
        for _ in range(20):
            with Client(secure) as stranger:
                stranger.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\x16\x03\x03" * 300)
                stranger.to_end(lambda piece: None)
            assert running.get().status == 200
            kept.request()
            assert kept.read().status == 200
    assert "no TLS handshake" not in running.stderr


@pytest.mark.parametrize("is_orderly", [True, False])
def test_tunnels_end_as_their_endpoint_says(weir, endpoint, authority, is_orderly):
    ends = []

    def handle(connection):
        connection.read_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert connection.fill()
        connection.send(connection.take(len(connection.buffer)))
        if is_orderly:
            # The client's end comes through TLS, as an end of TLS.
            connection.sock.suppress_ragged_eofs = False
            ends.append(connection.sock.recv(10))
            connection.sock.unwrap()

    running = weir(settings(endpoint(handle=handle), {"ca": str(authority.certificate)}))
    with running.client() as client:
        client.request(headers=["Connection: upgrade", "Upgrade: echo"])
        assert client.read().status == 101
        client.send(b"hello")
        while len(client.buffer) < 5:
            assert client.fill()
        if is_orderly:
            client.sock.shutdown(socket.SHUT_WR)
        client.take(5)
        assert not client.fill()
    (line,) = running.wait_log(1)
    assert line["reason"] == (None if is_orderly else "upstream_reset")
    assert ends == ([b""] if is_orderly else [])


def test_a_hundred_at_once(weir, endpoint, authority):
    behind = endpoint()
    running = weir(settings(behind, {"ca": str(authority.certificate)}, connect_timeout="10s"))
    statuses = []

    def ask():
        statuses.append(running.get().status)

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100
