"""WebSockets to endpoints of HTTP/2 (RFC 8441), from clients of either version."""

import base64
import hashlib
import os
import random
import threading

import pytest

from harness import cluster, configuration, forward, patience, until
from harness.http2 import (
    CANCEL,
    ENABLE_CONNECT_PROTOCOL,
    NO_ERROR,
    REFUSED_STREAM,
    WINDOW,
)
from harness.tunnels import ASKED, New, Old, consent, echo, pieces

MIB = 1 << 20
MEGABYTES = random.Random(1).randbytes(16 * MIB)
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture(params=[Old, New], ids=["http1", "http2"])
def speak(request):
    """A way to have a tunnel, by either version."""
    made = []

    def start(running, **options):
        made.append(request.param(running.edge, **options))
        return made[-1]

    def tunnel(running, path="/chat", **options):
        """One that is open."""
        tunnel = start(running, **options)
        answer = tunnel.ask(path)
        assert answer.status == tunnel.consent, (answer.status, answer.reason)
        return tunnel

    start.is_old, start.tunnel = request.param is Old, tunnel
    yield start
    for tunnel in made:
        tunnel.close()


def settings(*behind, route=None, runtime=None, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    runtime = {"workers": 1} | (runtime or {})
    return configuration(clusters, [forward(**(route or {}))], runtime=runtime)


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint of HTTP/2 that takes tunnels."""

    def start(answer=echo, behind=None, **options):
        offer = {"settings": {ENABLE_CONNECT_PROTOCOL: 1}, "early": True}
        behind = http2_upstream(answer, **(offer | (behind or {})))
        return weir(settings(behind, **options)), behind

    return start


# The beginning


def test_what_the_endpoint_is_asked(site, speak):
    running, behind = site()
    tunnel = speak.tunnel(running, "/chat?room=1")
    (call,) = behind.requests
    assert (call.method, call.one(":protocol")) == ("CONNECT", "websocket")
    assert (call.scheme, call.authority, call.path) == ("http", "e2e.test", "/chat?room=1")
    assert [field for field in call.fields if field in ASKED] == ASKED
    assert call.one("via") == tunnel.via
    names = {name for name, _ in call.fields}
    assert not names & {"sec-websocket-key", "upgrade", "connection", "host", "content-length"}
    assert call.frames[0] == "Headers" and not call.has_ended
    tunnel.send(b"x")
    assert tunnel.take(1) == b"x" and not call.has_ended


@pytest.mark.parametrize("status", [200, 204, 299])
def test_consent_is_a_101_for_clients_of_http_1(site, status):
    # The accept field is of HTTP/1's handshake: nobody has shown this endpoint a key.
    own = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("sec-websocket-accept", "bogus")]
    fields = [(":status", str(status)), ("sec-websocket-protocol", "chat"), *own]
    running, _ = site(lambda call: call.head(fields))
    tunnel = Old(running.edge)
    answer = tunnel.ask()
    accept = base64.b64encode(hashlib.sha1((tunnel.key + MAGIC).encode()).digest()).decode()
    assert answer.status == 101
    assert answer.one("connection").lower() == "upgrade"
    assert answer.one("upgrade") == "websocket"
    assert answer.one("sec-websocket-accept") == accept
    assert answer.one("sec-websocket-protocol") == "chat"
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert not answer.all("content-length") and not answer.all("transfer-encoding")
    tunnel.close()


def test_a_consents_length_means_nothing(site, speak):
    """What follows it is no body (RFC 9110 section 9.3.6)."""
    running, _ = site(lambda call: (consent(call, [("content-length", "5")]), call.data(b"x" * 9)))
    tunnel = speak.tunnel(running)
    assert not tunnel.answer.all("content-length")
    assert tunnel.rest() == b"x" * 9


def test_the_accept_field_of_the_standards_example(site):
    running, _ = site()
    tunnel = Old(running.edge)
    tunnel.key = KEY.partition(" ")[2]
    assert tunnel.ask().one("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    tunnel.close()


def test_consent_stays_one_for_clients_of_http_2(site):
    running, _ = site(lambda call: consent(call, [("set-cookie", "a=1"), ("x-more", "y")]))
    tunnel = New(running.edge)
    answer = tunnel.ask()
    assert (answer.status, answer.has_ended) == (200, False)
    assert answer.one("sec-websocket-protocol") == "chat"
    assert (answer.one("set-cookie"), answer.one("x-more")) == ("a=1", "y")
    for name in ("upgrade", "connection", "sec-websocket-accept", "content-length"):
        assert not answer.all(name)
    tunnel.close()


def test_hints_may_come_before_the_consent(site, speak):
    def answer(call):
        call.interim(103, [("link", "</a.css>; rel=preload")])
        echo(call)

    running, _ = site(answer)
    tunnel = speak.tunnel(running)
    assert [interim.status for interim in tunnel.answer.interim] == [103]
    tunnel.send(b"x")
    assert tunnel.take(1) == b"x"


def test_bytes_come_with_the_request_and_with_the_consent(site):
    def answer(call):
        consent(call)
        call.data(b"first", end=False)
        for piece in pieces(call):
            call.data(piece, end=False)

    running, _ = site(answer)
    tunnel = Old(running.edge)
    assert tunnel.ask(early=b"early").status == 101
    assert tunnel.take(10) == b"firstearly"
    tunnel.close()


@pytest.mark.parametrize("word", ["websocket", "WebSocket", "WEBSOCKET"])
def test_the_protocols_name_is_of_any_case_in_http_1(site, word):
    running, behind = site()
    tunnel = Old(running.edge)
    assert tunnel.ask(protocol=word).status == 101
    assert behind.requests[0].one(":protocol") == "websocket"
    tunnel.close()


def test_the_endpoint_may_speak_tls(site, speak, authority):
    context = authority.server(authority.issue("DNS:origin.test", "IP:127.0.0.1"))
    running, behind = site(behind={"tls": context}, tls={"ca": str(authority.certificate)})
    tunnel = speak.tunnel(running)
    for size in (1, 100_000):
        data = os.urandom(size)
        tunnel.send(data)
        assert tunnel.take(size) == data
    assert behind.requests[0].scheme == "https"


def test_a_tunnel_that_was_not_looked_at_is_asked_for_again(site, speak):
    def answer(call):
        return call.reset(REFUSED_STREAM) if call is behind.requests[0] else echo(call)

    running, behind = site(answer)
    tunnel = speak.tunnel(running)
    tunnel.send(b"x")
    assert tunnel.take(1) == b"x"
    assert len(behind.requests) == 2


# What is no tunnel


@pytest.mark.parametrize("value", [None, 0])
def test_an_endpoint_that_takes_no_tunnels_is_not_asked(site, speak, value):
    offer = {} if value is None else {ENABLE_CONNECT_PROTOCOL: value}
    running, behind = site(behind={"settings": offer})
    client = speak(running)
    for _ in range(2):
        answer = client.ask()
        assert (answer.status, answer.reason) == (501, "not_implemented")
        assert client.get("/page").body == b"/page", "the client's connection goes on"
    assert [call.path for call in behind.requests] == ["/page"] * 2
    assert len(behind.connections) == 1
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")


@pytest.mark.parametrize("protocol", ["chat/1", "websocket, chat/1", "websockets", "websocket/13"])
def test_other_protocols_are_not_implemented(site, protocol):
    running, behind = site()
    client = Old(running.edge)
    for _ in range(2):
        answer = client.ask(protocol=protocol)
        assert (answer.status, answer.reason) == (501, "not_implemented")
    assert client.get().status == 200
    assert [call.method for call in behind.requests] == ["GET"]
    client.close()


UPGRADE = ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
NO_HANDSHAKES = {
    "no key": ("GET", []),
    "an empty key": ("GET", ["Sec-WebSocket-Key:"]),
    "a short key": ("GET", ["Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="]),
    "a long key": ("GET", ["Sec-WebSocket-Key: " + "eA==" * 1000]),
    "another method": ("POST", [KEY]),
}


@pytest.mark.parametrize("case", NO_HANDSHAKES)
def test_what_is_no_handshake_reaches_nobody(site, case):
    """It can not be one of RFC 6455 section 4.2.1, so there is nothing to ask for."""
    method, fields = NO_HANDSHAKES[case]
    running, behind = site()
    with running.client() as client:
        client.request(method, headers=UPGRADE + fields)
        assert client.read().status in (400, 501)
    assert not behind.requests
    assert running.get().status == 200


def test_a_length_of_nothing_is_not_the_tunnels(site):
    """It would say that nothing comes through it."""
    running, behind = site()
    with running.client() as client:
        client.request(headers=[*UPGRADE, KEY, "Content-Length: 0"])
        assert client.read().status == 101
        client.send(b"x")
        client.exactly(1, lambda piece: None, "the tunnel")
    assert not behind.requests[0].all("content-length")


REFUSALS = [
    (403, [], b"no"),
    (401, [("www-authenticate", "Basic")], b"who?" * 20_000),
    (302, [("location", "/elsewhere")], b""),
    (500, [], b"broken"),
]


@pytest.mark.parametrize("status, fields, body", REFUSALS)
def test_an_endpoint_may_refuse(site, speak, status, fields, body):
    def answer(call):
        if call.method == "CONNECT":
            return call.respond(status, body, fields)
        call.respond()

    running, behind = site(answer)
    client = speak(running)
    for _ in range(2):
        answer = client.ask()
        assert (answer.status, bytes(answer.body), answer.reason) == (status, body, None)
        assert [field for field in answer.fields if field in fields] == fields
        assert not answer.all("sec-websocket-accept") and not answer.all("upgrade")
        assert client.get().status == 200, "the client's connection goes on"
    for call in behind.requests[::2]:
        behind.wait(lambda: not call.is_open, "the stream is over")
        assert call.reset_code in (None, NO_ERROR, CANCEL)
    assert len(behind.connections) == 1


# Bytes both ways


def test_bytes_go_both_ways_as_they_come(site, speak):
    running, behind = site()
    tunnel = speak.tunnel(running)
    for size in (1, 2, 100, 16_384, 100_000):
        data = os.urandom(size)
        tunnel.send(data)
        assert tunnel.take(size) == data
    assert behind.requests[0].length == 116_487


def test_megabytes_go_both_ways_at_once(site, speak):
    """Either side sends all of its own while it reads the other's."""

    def answer(call):
        consent(call)
        call.data(back, end=False)
        for _ in pieces(call):
            pass
        call.data()

    back = MEGABYTES[::-1]
    running, behind = site(answer)
    tunnel = speak.tunnel(running, seconds=50)
    (call,) = behind.requests

    def send():
        tunnel.send(MEGABYTES)
        tunnel.end()

    if speak.is_old:
        threading.Thread(target=send, daemon=True).start()
    else:
        # It reads whenever its window is shut.
        send()
    assert tunnel.rest() == back
    assert call.body == MEGABYTES
    behind.wait(lambda: not call.is_open, "the stream is over", 30)


def test_megabytes_come_back(site, speak):
    running, behind = site()
    tunnel = speak.tunnel(running, seconds=50)

    def send():
        tunnel.send(MEGABYTES)
        tunnel.end()

    if speak.is_old:
        threading.Thread(target=send, daemon=True).start()
    else:
        send()
    assert tunnel.rest() == MEGABYTES
    assert behind.requests[0].body == MEGABYTES and behind.requests[0].has_ended


def test_a_client_that_pauses_holds_up_its_endpoint_and_nobody_else(site, speak):
    """What it does not take is not taken from the endpoint, whose connection others use."""

    def answer(call):
        if call.path != "/large":
            return echo(call)
        consent(call)
        call.data(MEGABYTES)

    running, behind = site(answer, route={"idle_timeout": "60s"})
    before = running.resident
    options = {"receive_buffer": 64 << 10} if speak.is_old else {"windows": False}
    slow = speak.tunnel(running, "/large", seconds=50, **options)
    (call,) = behind.requests
    behind.wait(lambda: call.sent >= WINDOW, "it has begun")
    quick = speak.tunnel(running)
    for number in range(50):
        quick.send(b"%d" % number * 1000)
        assert quick.take(len(b"%d" % number * 1000)) == b"%d" % number * 1000
    assert call.sent < len(MEGABYTES)
    assert running.resident - before < patience(10 * MIB)
    if not speak.is_old:
        slow.client.until(lambda: slow.stream.window == 0)
        slow.client.windows = True
        slow.client.open_window(None, slow.stream.length)
        slow.client.open_window(slow.stream, slow.stream.length)
    assert slow.rest() == MEGABYTES
    assert len(behind.connections) == 1


def test_an_endpoint_that_pauses_holds_up_its_client(site, speak):
    def answer(call):
        return consent(call) if call.method == "CONNECT" else call.respond()

    running, behind = site(answer, {"windows": False}, route={"idle_timeout": "60s"})
    before = running.resident
    tunnel = speak.tunnel(running, seconds=50)
    (call,) = behind.requests
    data = MEGABYTES[: 5 * MIB]
    thread = threading.Thread(target=lambda: (tunnel.send(data), tunnel.end()), daemon=True)
    thread.start()
    behind.wait(lambda: call.length == WINDOW, "the window is full")
    assert running.get("/other").status == 200, "others go on"
    assert running.resident - before < patience(10 * MIB)
    assert call.length == WINDOW
    while call.length < len(data):
        want = min(call.length + 500_000, len(data))
        call.connection.open_window(None, 500_000)
        call.connection.open_window(call, 500_000)
        behind.wait(lambda: call.length == want, "it comes as the window opens")
    call.wait_end()
    thread.join(patience(30))
    assert call.body == data


# More of one connection


def test_tunnels_and_requests_share_a_connection(site, speak):
    running, behind = site()
    tunnels = [speak.tunnel(running) for _ in range(20)]
    for turn in range(5):
        for number, tunnel in enumerate(tunnels):
            tunnel.send(b"%d.%d;" % (turn, number))
        assert running.get(f"/{turn}").body == b"/%d" % turn
    for number, tunnel in enumerate(tunnels):
        wanted = b"".join(b"%d.%d;" % (turn, number) for turn in range(5))
        assert tunnel.take(len(wanted)) == wanted
    assert len(behind.connections) == 1
