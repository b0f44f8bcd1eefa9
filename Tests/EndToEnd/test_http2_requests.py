"""Requests over HTTP/2: what endpoints get of them, many at once, and beside HTTP/1.1."""

import ssl
import threading

import pytest

from harness import Client, listener, ok, patience, until
from harness.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY,
    SETTINGS,
    WITH_PRIORITY,
    Http2Client,
    frame,
    settings_of,
    word,
)


@pytest.fixture(scope="module")
def shop(authority):
    return authority.issue("DNS:shop.test")


@pytest.fixture(params=["http", "https"])
def site(request, pair, authority, shop):
    """weir before one endpoint, and a way to connect to it: plain, and over TLS."""

    def start(answer=None, limits=None, alpn=None, **options):
        tls = {"certificates": [shop.files]} | ({"alpn": alpn} if alpn else {})
        tls = tls if request.param == "https" else None
        running, behind = pair(answer, listeners=[listener(tls=tls, limits=limits)], **options)
        made = {"tls": authority.client(protocols=["h2"]), "name": "shop.test"} if tls else {}
        return running, behind, lambda **more: Http2Client(running.edge, **made, **more)

    start.scheme = request.param
    return start


METHODS = [
    ("GET", None),
    ("HEAD", None),
    ("OPTIONS", None),
    ("DELETE", None),
    ("PURGE", None),
    ("POST", b"hello"),
    ("PUT", b"hello" * 5000),
    ("POST", b""),
]


@pytest.mark.parametrize("method, body", METHODS)
def test_a_request_is_answered(site, method, body):
    _, behind, connect = site(lambda request: ok() if method != "HEAD" else ok(b""))
    with connect() as client:
        for count in range(2):
            answer = client.get(f"/a/b?c=d&{count}", method=method, body=body)
            assert (answer.status, answer.reset) == (200, None)
            assert method == "HEAD" or answer.body == b"ok\n"
    first, second = behind.requests
    assert first.raw.startswith(f"{method} /a/b?c=d&0 HTTP/1.1\r\n".encode())
    assert (second.method, second.target) == (method, "/a/b?c=d&1")
    assert first.body == second.body == (body or b"")
    assert len(behind.connections) == 1, "the endpoint's connection is kept"


def test_what_the_endpoint_is_told(site):
    _, behind, connect = site()
    with connect() as client:
        fields = [("x-a", "1"), ("accept", "*/*"), ("x-a", "2")]
        answer = client.get("/", fields, host="Shop.test:8443")
    (request,) = behind.requests
    assert request.one("host") == "Shop.test:8443"
    assert request.one("via") == "2 weir"
    assert request.one("x-forwarded-proto") == site.scheme
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert request.one("x-forwarded-host") == "Shop.test:8443"
    assert request.one("x-request-id") == answer.one("x-request-id")
    assert [field for field in request.fields if field[0] in ("x-a", "accept")] == fields
    names = {name for name, _ in request.fields}
    assert not names & {"content-length", "transfer-encoding", "upgrade", "http2-settings"}
    assert not any(line.startswith(b":") for line in request.raw.split(b"\r\n"))


def test_cookies_are_joined(site):
    """Clients may send each crumb as a field of its own; HTTP/1.1 wants one."""
    _, behind, connect = site()
    with connect() as client:
        crumbs = [("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]
        assert client.get(headers=crumbs).status == 200
        assert client.get(headers=[("cookie", "one=alone")]).status == 200
    first, second = behind.requests
    assert first.one("cookie") == "a=1; b=2; c=3; d=4"
    assert second.one("cookie") == "one=alone"


def test_a_host_field_may_stand_for_the_authority_or_beside_it(site):
    _, behind, connect = site()
    with connect() as client:
        fields = [field for field in client.fields() if field[0] != ":authority"]
        assert client.read(client.open(fields + [("host", "only.test")])).status == 200
        assert client.get(host="both.test", headers=[("host", "both.test")]).status == 200
    assert [request.one("host") for request in behind.requests] == ["only.test", "both.test"]


def test_te_trailers_is_no_offence(site):
    _, behind, connect = site()
    with connect() as client:
        assert client.get(headers=[("te", "trailers")]).status == 200
    assert len(behind.requests) == 1


# Bodies and trailers


@pytest.mark.parametrize("size", [1, 16_384, 200_001])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_framed_as_it_was_announced(site, size, framing):
    _, behind, connect = site(lambda request: ok(request.body))
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    with connect() as client:
        announced = [("content-length", str(size))] if framing == "length" else []
        stream = client.request("POST", headers=announced, end=False)
        client.data(stream, body)
        assert client.read(stream).body == body
    (request,) = behind.requests
    assert request.body == body
    if framing == "length":
        assert request.one("content-length") == str(size) and not request.all("transfer-encoding")
    else:
        assert request.one("transfer-encoding") == "chunked" and not request.all("content-length")


def test_request_trailers_reach_the_endpoint(site):
    _, behind, connect = site()
    with connect() as client:
        announced = [("te", "trailers"), ("trailer", "x-sum")]
        stream = client.request("POST", "/", announced, end=False)
        client.data(stream, b"hello", end=False)
        client.trailers(stream, [("x-sum", "42"), ("x-more", "y")])
        assert client.read(stream).status == 200
    (request,) = behind.requests
    assert request.body == b"hello"
    assert request.trailers == [("x-sum", "42"), ("x-more", "y")]


def test_trailers_that_have_no_place_are_left_out(site):
    """A body with a length has no room for them in HTTP/1.1."""
    _, behind, connect = site()
    with connect() as client:
        stream = client.request("POST", headers=[("content-length", "5")], end=False)
        client.data(stream, b"hello", end=False)
        client.trailers(stream, [("x-sum", "42")])
        assert client.read(stream).status == 200
        assert client.get().status == 200
    assert [request.body for request in behind.requests] == [b"hello", b""]
    assert not behind.requests[0].all("x-sum")


def test_padding_and_priorities_are_no_part_of_a_request(pair):
    running, behind = pair(lambda request: ok(request.body))
    with Http2Client(running.edge) as client:
        stream = client.request("POST", headers=[("content-length", "5")], end=False)
        client.send(frame(DATA, PADDED, stream.number, b"\xff" + b"hel" + bytes(255)))
        client.send(frame(DATA, PADDED, stream.number, b"\x00" + b"lo"))
        client.send(frame(DATA, PADDED | END_STREAM, stream.number, b"\x03" + bytes(3)))
        assert client.read(stream).body == b"hello"
        weighed, data = client.head(client.fields(path="/weighed"))
        flags = END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY
        lead = b"\x07" + word(0x80000001) + b"\x10"
        client.send(frame(PRIORITY, 0, weighed.number, word(0) + b"\xff"))
        client.send(frame(HEADERS, flags, weighed.number, lead + data[9:] + bytes(7)))
        client.send(frame(PRIORITY, 0, 101, word(weighed.number) + b"\0"))
        assert client.read(weighed).status == 200
    assert behind.requests[1].target == "/weighed"


# Frames


@pytest.mark.parametrize("cut", [1 << 14, 9000])
def test_a_head_may_come_in_several_frames(pair, cut):
    running, behind = pair()
    big = [(f"x-{number}", f"{number}{{|}}" * 150) for number in range(40)]
    with Http2Client(running.edge) as client:
        stream, data = client.head(client.fields(headers=big), cut=cut)
        assert data[9 + int.from_bytes(data[:3], "big") + 3] == CONTINUATION
        client.send(data)
        assert client.read(stream).status == 200
        assert client.get("/next").status == 200
    assert [pair for pair in behind.requests[0].fields if pair in big] == big


def test_what_comes_in_one_write_or_byte_by_byte_is_the_same(site):
    _, _, connect = site(lambda request: ok(request.target.encode()))
    with connect(wait=False) as client:
        heads = [client.head(client.fields(path=f"/{number}")) for number in range(5)]
        client.send(b"".join(data for _, data in heads))
        for number, (stream, _) in enumerate(heads):
            assert client.read(stream).body == b"/%d" % number
        stream, data = client.head(client.fields(path="/slowly"))
        for byte in data:
            client.send(bytes([byte]))
        assert client.read(stream).body == b"/slowly"


def test_the_preface_may_come_byte_by_byte(pair):
    running, _ = pair()
    with Client(running.edge) as client:
        for byte in PREFACE + frame(SETTINGS):
            client.send(bytes([byte]))
        assert client.fill() and client.buffer[3] == SETTINGS


def test_what_is_unknown_is_passed_over(pair):
    running, _ = pair()
    with Http2Client(running.edge, settings={0x99: 7, HEADER_TABLE_SIZE: 0, 0xFFFF: 1}) as client:
        client.send(frame(0x42, 0xFF, 0, b"an extension"))
        client.send(frame(0x99, 0, 2**31 - 1, b"") + frame(0x10, 0, 0, b"\0\0\0\1u=1"))
        for number in range(20):
            answer = client.get(f"/{number}", headers=[("x-mine", f"{number}")])
            assert answer.status == 200 and answer.one("via") == "1.1 weir"
        client.send(frame(SETTINGS, payload=settings_of({0x1234: 5})))
        assert client.ping()
        assert client.get().status == 200


def test_a_client_that_says_goodbye_gets_its_answers(pair):
    go = threading.Event()
    running, behind = pair(lambda request: go.wait(patience(15)) and ok(b"late"))
    with Http2Client(running.edge) as client:
        stream = client.request()
        behind.wait_requests(1)
        client.send(frame(GOAWAY, payload=word(0) + word(0) + b"bye"))
        go.set()
        assert client.read(stream).body == b"late"


# Many at once


def test_fifty_streams_at_once_are_answered_each_on_its_own(site):
    running, _, connect = site(lambda request: ok(request.target.encode() + request.body))
    with connect() as client:
        opened = {}
        for number in range(50):
            body = b"%d" % number * (number * 100) if number % 3 == 0 else None
            opened[number] = body, client.request("POST", f"/{number}", body=body)
        for number, (body, stream) in opened.items():
            answer = client.read(stream)
            assert (answer.status, answer.body) == (200, b"/%d" % number + (body or b""))
    assert running.wait_total(1, "downstream_connections_total") == 1
    assert running.wait_total(1, "downstream_http2_connections_total") == 1
    assert running.wait_total(50, "http_requests_total", code_class="2xx") == 50


def test_a_slow_answer_holds_nobody_up(site):
    go = threading.Event()

    def answer(request):
        if request.target.startswith("/slow"):
            assert go.wait(patience(30))
        return ok(request.target.encode())

    _, behind, connect = site(answer)
    with connect() as client:
        slow = [client.request(path=f"/slow/{number}") for number in range(20)]
        behind.wait_requests(20)
        for number in range(20):
            assert client.get(f"/quick/{number}").body == b"/quick/%d" % number
        assert not any(stream.status for stream in slow)
        go.set()
        for number, stream in enumerate(slow):
            assert client.read(stream).body == b"/slow/%d" % number


def test_streams_and_connections_share_the_endpoints_connections(site):
    _, behind, connect = site()
    for _ in range(3):
        with connect() as client:
            for _ in range(10):
                assert client.get().status == 200
    assert len(behind.requests) == 30
    assert len(behind.connections) == 1


# Beside HTTP/1.1


def test_http_1_is_spoken_on_the_same_listener(site, authority):
    running, behind, connect = site()
    offers = [None] if site.scheme == "http" else [None, ["http/1.1"]]
    with connect() as client:
        for offer in offers:
            tls = authority.client(protocols=offer) if site.scheme == "https" else None
            with Client(running.edge, tls=tls, name=tls and "shop.test") as old:
                for _ in range(2):
                    old.request(path="/old")
                    assert old.read().status == 200
            assert client.get("/new").status == 200
    for request in behind.requests:
        assert request.one("via") == ("1.1 weir" if request.target == "/old" else "2 weir")


def test_tls_prefers_http_2_unless_it_is_told_otherwise(pair, authority, shop):
    both = authority.client(protocols=["http/1.1", "h2"])
    old = "http/1.1"
    for alpn, chosen in ((None, "h2"), ([old, "h2"], old), ([old], old)):
        tls = {"certificates": [shop.files]} | ({"alpn": alpn} if alpn else {})
        running, _ = pair(listeners=[listener(tls=tls)])
        with Client(running.edge, tls=both, name="shop.test") as client:
            assert client.sock.selected_alpn_protocol() == chosen, alpn
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        Client(running.edge, tls=authority.client(protocols=["h2"]), name="shop.test")


def test_an_upgrade_to_http_2_is_not_followed(pair):
    """RFC 9113 gave it up; what asks for it is answered in HTTP/1.1 or refused."""
    running, behind = pair()
    with running.client() as client:
        asks = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]
        client.request(headers=[*asks, "HTTP2-Settings: AAMAAABkAAQAoAAA"])
        answer = client.read()
    assert answer.status in (200, 400, 501)
    for request in behind.requests:
        names = {name for name, _ in request.fields}
        assert not names & {"upgrade", "http2-settings", "connection"}


# What is seen of it


def test_the_access_log_names_the_protocol(site):
    running, behind, connect = site(lambda request: ok(b"x" * 1000))
    with connect() as client:
        fields = [("user-agent", "e2e/2.0")]
        answer = client.get("/a/b?q=1", fields, method="POST", body=b"y" * 500, host="shop.test")
    (line,) = running.wait_log()
    assert line["protocol"] == "HTTP/2"
    assert (line["method"], line["host"], line["path"]) == ("POST", "shop.test", "/a/b?q=1")
    assert (line["status"], line["route"], line["endpoint"]) == (200, "main", behind.address)
    assert line["request_id"] == answer.one("x-request-id")
    assert line["client"].startswith("127.0.0.1")
    assert line["user_agent"] == "e2e/2.0"
    assert not line["reason"]
    assert line["bytes_in"] >= 500 and line["bytes_out"] >= 1000
    assert (line.get("tls") or "").startswith("TLSv1.") == (site.scheme == "https")
    assert all(value is None or value >= 0 for value in line["ms"].values())


def test_connections_are_counted(site):
    running, behind, connect = site()
    with connect() as client, connect() as other:
        for one in (client, other, client):
            assert one.get().status == 200
        assert running.wait_total(2, "downstream_http2_connections_total") == 2
        assert running.wait_total(2, "downstream_connections") == 2
        assert running.wait_total(3, "http_requests_total", code_class="2xx") == 3
    until(lambda: running.total("downstream_connections") == 0, "they are gone")
    assert running.total("http_requests_in_flight") == 0
    assert len({request.one("x-request-id") for request in behind.requests}) == 3
