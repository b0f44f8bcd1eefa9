"""Tunnels over HTTP/2: WebSockets by extended CONNECT (RFC 8441), and no other."""

import asyncio
import os
import re
import struct
import threading

import pytest
from websockets.asyncio.server import serve

from harness import cluster, configuration, forward, ok, patience, until
from harness.http2 import CANCEL, ENABLE_CONNECT_PROTOCOL, PROTOCOL_ERROR, Http2Client

MIB = 1 << 20
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


def wanted(client, protocol="websocket", path="/chat", headers=(), **options):
    fields = client.fields("CONNECT", path, **options)
    asks = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat"), *headers]
    return [fields[0], (":protocol", protocol), *fields[1:], *asks]


def tunnel(client, **options):
    """An open tunnel."""
    stream = client.open(wanted(client, **options), end=False)
    assert client.until(lambda: stream.status or stream.reset is not None)
    assert stream.status == 200 and not stream.is_over, stream.outcome
    return stream


def echo(connection):
    request = connection.read_head()
    if request is None:
        return
    connection.note(request)
    connection.send(SWITCH)
    connection.to_end(connection.send)


def test_tunnels_are_offered(pair):
    running, _ = pair()
    with Http2Client(running.edge) as client:
        assert client.settings[ENABLE_CONNECT_PROTOCOL] == 1


def test_a_websocket_is_asked_for_as_http_1_does(pair):
    running, behind = pair(handle=echo)
    with Http2Client(running.edge) as client:
        stream = tunnel(client, host="chat.test", headers=[("origin", "https://chat.test")])
        assert stream.one("sec-websocket-protocol") == "chat"
        assert not stream.all("content-length")
        for size in (1, 100, 100_000):
            data, before = os.urandom(size), stream.length
            client.data(stream, data, end=False)
            assert client.until(lambda: stream.length == before + size)
            assert stream.body[before:] == data
    request = behind.requests[0]
    assert (request.method, request.target) == ("GET", "/chat")
    assert request.one("host") == "chat.test"
    assert request.one("connection").lower() == "upgrade"
    assert request.one("upgrade") == "websocket"
    assert re.fullmatch(r"[A-Za-z0-9+/]{21}[AQgw]==", request.one("sec-websocket-key"))
    assert request.one("sec-websocket-version") == "13"
    assert request.one("origin") == "https://chat.test"
    assert not request.all("transfer-encoding") and not request.all("content-length")


def test_the_end_of_a_stream_ends_a_tunnel_both_ways(pair):
    """Each side's end is passed on, and what comes after the client's is not lost."""

    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        got = []
        connection.to_end(got.append)
        connection.send(b"got " + b"".join(got))

    running, behind = pair(handle=handle)
    with Http2Client(running.edge) as client:
        stream = tunnel(client)
        client.data(stream, b"all", end=False)
        client.data(stream, b" of it")
        assert client.read(stream).body == b"got all of it"
        assert client.ping()
    behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the tunnel was closed")


def test_what_waits_for_a_slow_endpoint_arrives_before_the_end(pair):
    """The end of a stream is passed on behind the bytes that the endpoint has not taken yet."""
    go, sizes = threading.Event(), []

    def handle(connection):
        connection.recording = False
        connection.read_head()
        connection.send(SWITCH)
        go.wait(patience(30))
        connection.to_end(lambda piece: sizes.append(len(piece)))
        connection.send(b"got %d" % sum(sizes))

    running, _ = pair(handle=handle)
    piece, sent = os.urandom(MIB), 0
    with Http2Client(running.edge) as client:
        stream = tunnel(client)
        # Until neither side takes any more, and what weir has read waits in it.
        while fits := client.fit(stream, piece):
            sent += fits
            client.ping()
        client.data(stream)
        assert client.ping()
        go.set()
        assert client.read(stream).body == b"got %d" % sent
    assert sent > MIB


def test_an_endpoint_that_ends_a_tunnel_ends_the_stream(pair):
    running, _ = pair(handle=lambda one: (one.read_head(), one.send(SWITCH + b"bye")))
    with Http2Client(running.edge) as client:
        stream = tunnel(client)
        assert client.until(lambda: stream.is_over)
        assert stream.body == b"bye"
        assert client.ping()


@pytest.mark.parametrize("way", ["reset", "close"])
def test_a_client_that_leaves_ends_its_tunnels(pair, way):
    running, behind = pair(handle=echo)
    before = running.open_files
    with Http2Client(running.edge) as client:
        streams = [tunnel(client) for _ in range(20)]
        if way == "reset":
            for stream in streams:
                client.cancel(stream, CANCEL)
            assert client.ping()
            behind.wait(
                lambda: all(connection.is_closed.is_set() for connection in behind.connections),
                "all tunnels were closed",
            )
    until(lambda: running.open_files <= before, "all descriptors are free again")


def test_a_tunnel_and_requests_share_a_connection(pair):
    def handle(connection):
        while request := connection.read_head():
            if request.all("upgrade"):
                connection.send(SWITCH)
                connection.to_end(connection.send)
                return
            connection.send(ok(request.target.encode()))

    running, _ = pair(handle=handle)
    with Http2Client(running.edge) as client:
        stream = tunnel(client)
        for number in range(10):
            client.data(stream, b"%d" % number, end=False)
            assert client.get(f"/{number}").body == b"/%d" % number
        assert client.until(lambda: stream.length == 10)
        assert stream.body == b"0123456789"


def test_a_tunnel_whose_window_is_shut_holds_the_endpoint_up(pair):
    """What a client does not take is not taken from the endpoint."""
    total = 20 * MIB
    go = threading.Event()

    def handle(connection):
        connection.read_head()
        connection.send(SWITCH)
        assert go.wait(patience(15))
        connection.send(bytes(total))

    running, _ = pair(handle=handle)
    with Http2Client(running.edge, windows=False, keep=False) as client:
        stream = tunnel(client)
        before = running.resident
        go.set()
        assert client.until(lambda: stream.window == 0)
        assert client.ping()
        assert running.resident - before < patience(10 * MIB)
        client.windows = True
        client.open_window(None, stream.length)
        client.open_window(stream, stream.length)
        assert client.read(stream).length == total


def test_an_endpoint_may_refuse_a_tunnel(pair):
    running, _ = pair(lambda request: ok(b"no", "403 Forbidden"))
    with Http2Client(running.edge) as client:
        for _ in range(2):
            answer = client.open(wanted(client), end=False)
            assert client.until(lambda: answer.is_over)
            assert (answer.status, answer.body) == (403, b"no")
        assert client.get().status == 403


def test_an_endpoint_that_does_not_switch_is_no_tunnel(pair):
    """200 says "here is a page", not "here is a tunnel": the client must not take it for one. But a page is
    a good answer, and anybody may ask for tunnels where there are none."""
    running, behind = pair(lambda request: ok(b"a page"), routes=[forward(breaker={"min_requests": 5})])
    with Http2Client(running.edge) as client:
        for _ in range(6):
            answer = client.open(wanted(client), end=False)
            assert client.until(lambda: answer.is_over)
            assert (answer.status, answer.reason) == (501, "not_implemented"), answer.outcome
        assert client.get().status == 200
    assert len(behind.requests) == 7
    assert running.total("upstream_failures_total") == 0
    lines = running.wait_log(6, lambda line: line["status"] == 501)
    assert {(line["reason"], line["ended_by"]) for line in lines} == {("not_implemented", "client")}


# What is no tunnel


def test_plain_connect_is_not_implemented(pair):
    running, behind = pair()
    with Http2Client(running.edge) as client:
        answer = client.open([(":method", "CONNECT"), (":authority", "a.test:443")], end=False)
        assert client.until(lambda: answer.has_ended)
        assert (answer.status, answer.reason) == (501, "not_implemented")
        assert client.get().status == 200
    assert len(behind.requests) == 1


def test_other_protocols_are_not_implemented(pair):
    running, behind = pair()
    with Http2Client(running.edge) as client:
        for protocol in ("connect-udp", "webtransport", "h2c"):
            answer = client.open(wanted(client, protocol=protocol), end=False)
            assert client.until(lambda: answer.has_ended)
            assert (answer.status, answer.reason) == (501, "not_implemented")
        assert client.get().status == 200
    assert len(behind.requests) == 1


MALFORMED = {
    "protocol without CONNECT": lambda fields: [(":method", "GET"), *fields[1:]],
    "protocol twice": lambda fields: [*fields[:2], (":protocol", "websocket"), *fields[2:]],
    "empty protocol": lambda fields: [fields[0], (":protocol", ""), *fields[2:]],
    "protocol with CRLF": lambda fields: [
        fields[0],
        (":protocol", "websocket\r\nx: y"),
        *fields[2:],
    ],
    "no path": lambda fields: [field for field in fields if field[0] != ":path"],
    "no scheme": lambda fields: [field for field in fields if field[0] != ":scheme"],
    "an upgrade beside it": lambda fields: [*fields, ("upgrade", "websocket")],
    "a plain tunnel with a path": lambda fields: [fields[0], *fields[2:]],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_tunnels_reach_nobody(pair, name):
    running, behind = pair(handle=echo)
    with Http2Client(running.edge) as client:
        stream = client.open(MALFORMED[name](wanted(client)), end=False)
        assert client.until(lambda: stream.is_over)
        assert stream.status in (400, 501) or stream.reset == PROTOCOL_ERROR, stream.outcome
        assert client.ping()
    assert not behind.connections


# A real endpoint


def message(text):
    """A short masked text message, as a client sends it (RFC 6455 section 5.2)."""
    key = os.urandom(4)
    return struct.pack("BB", 0x81, 0x80 | len(text)) + key + bytes(
        byte ^ key[place % 4] for place, byte in enumerate(text)
    )


def test_a_real_websocket_server_believes_it(weir):
    async def answer(socket):
        async for text in socket:
            await socket.send(text.upper())

    def talk(running):
        with Http2Client(running.edge) as client:
            stream = client.open(wanted(client), end=False)
            assert client.until(lambda: stream.status == 200), stream.outcome
            for text in (b"hello", b"again"):
                client.data(stream, message(text), end=False)
            assert client.until(lambda: stream.length == 14)
            assert stream.body == b"\x81\x05HELLO\x81\x05AGAIN"
            client.data(stream, b"\x88\x80" + bytes(4), end=False)
            assert client.until(lambda: stream.is_over)
            assert stream.body[14:16] == b"\x88\x00"

    async def main():
        async with serve(answer, "127.0.0.1", 0, subprotocols=["chat"]) as server:
            address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            settings = configuration([cluster("main", address)])
            await asyncio.to_thread(talk, await asyncio.to_thread(weir, settings))

    asyncio.run(main())
