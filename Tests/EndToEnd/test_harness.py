"""The harness judged by itself: its client against its upstream, and both around nginx as a proxy."""

import hashlib
import threading

import pytest

from harness import Client, Incomplete, RawUpstream, exchange, get, ok, patience, until
from harness.nginx import PROGRAM, Nginx
from harness.process import LABEL, SAMPLE
from malformed_requests import CASES
from malformed_responses import CASES as ANSWERS


@pytest.fixture
def recorder():
    """An upstream without the finaliser that wants a proxy's fields."""
    made = []

    def start(answer=None, **options):
        made.append(RawUpstream(answer, **options))
        return made[-1]

    yield start
    for upstream in made:
        upstream.stop()


def test_every_byte_is_recorded(recorder):
    behind = recorder()
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    assert exchange(behind.address, data).body == b"ok\n"
    (request,) = behind.requests
    assert request.raw == data == bytes(behind.connections[0].record)
    assert (request.body, request.trailers) == (b"abc", [("x", "y")])
    assert behind.bytes_received == len(data)


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF"),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "bare CR"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "ill-formed field"),
        (b"GET / HTTP/1.1\r\nX: \0\r\n\r\n", "ill-formed field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "2 Host"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "both",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 1\r\n\r\n", "hop-by-hop"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Via"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
            "chunk size",
        ),
    ],
)
def test_upstream_notes_what_weir_must_never_send(recorder, data, complaint):
    behind = recorder()
    with Client(behind.address) as client:
        client.send(data)
        client.shutdown()
        client.to_end(lambda piece: None)
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the upstream is done")
    assert any(complaint in text for text in behind.violations), behind.violations


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_client_notices_what_is_not_whole(recorder, data):
    behind = recorder(handle=lambda connection: (connection.read(), connection.send(data)))
    with pytest.raises(Incomplete):
        get(behind.address)


def test_client_refuses_ambiguous_answers(recorder):
    behind = recorder(
        lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    with pytest.raises(AssertionError):
        get(behind.address)


def test_upstream_can_stop_and_start_on_its_port(recorder):
    behind = recorder()
    assert get(behind.address).status == 200
    with Client(behind.address) as kept:
        behind.stop()
        assert kept.read() is None
    again = until(lambda: started(recorder, behind.port), "the port is free")
    assert get(again.address).status == 200


def started(recorder, port):
    try:
        return recorder(port=port)
    except OSError:
        return None


def test_tables_are_large_and_their_names_unique():
    for table, least in ((CASES, 170), (ANSWERS, 50)):
        assert len(table) >= least
        assert len({case.name for case in table}) == len(table)


def test_samples_are_parsed():
    match = SAMPLE.match('a_total{code="2xx",x="a\\"b,}"} 3')
    assert (match[1], LABEL.findall(match[2]), match[3]) == (
        "a_total",
        [("code", "2xx"), ("x", 'a\\"b,}')],
        "3",
    )
    assert not SAMPLE.match("a total 3") and not SAMPLE.match("a{b=c} x")


@pytest.mark.skipif(not PROGRAM, reason="nginx is not installed")
def test_client_and_upstream_around_nginx(recorder):
    """A known proxy between the two: bodies both ways arrive whole, in every framing."""
    body = bytes(range(256)) * 10_000
    behind = recorder(lambda request: ok(hashlib.sha256(request.body).hexdigest().encode() + request.body))
    proxy = Nginx(
        f"location / {{ proxy_http_version 1.1; proxy_set_header Connection ''; proxy_request_buffering off;"
        f" proxy_buffering off; proxy_pass http://{behind.address}; }}"
    )
    try:
        results = []

        def one():
            with Client(proxy.address) as client:
                for _ in range(3):
                    client.request("POST", body=body)
                    results.append(client.read().body == hashlib.sha256(body).hexdigest().encode() + body)

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 12
        assert all(request.body == body for request in behind.requests)
    finally:
        proxy.stop()


def test_what_a_cut_connection_of_tls_still_reads_is_deciphered(recorder, authority):
    sent = threading.Event()

    def handle(connection):
        sent.wait(patience(15))
        connection.cut()
        connection.to_end(lambda piece: None)

    behind = recorder(handle=handle, tls=authority.server(authority.issue("DNS:a.test")))
    with Client(behind.address, tls=authority.client(), name="a.test") as client:
        client.send(b"hello")
        sent.set()
        behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the upstream is done")
    assert bytes(behind.connections[0].record) == b"hello"
