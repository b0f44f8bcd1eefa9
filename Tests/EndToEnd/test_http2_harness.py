"""The HTTP/2 client of the harness judged by itself: against nginx and against bad servers."""

import random
import socket
import threading

import pytest
from hpack import Encoder

from harness import free_address
from harness.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Client,
    frame,
    word,
)
from harness.nginx import PROGRAM, Nginx

PAGE = random.Random(1).randbytes(3 << 20)


@pytest.fixture(scope="module")
def site():
    """The address of an nginx that speaks HTTP/2."""
    if not PROGRAM:
        pytest.skip("nginx is not installed")
    address = free_address()
    server = Nginx(f"listen {address} http2;")
    server.put("page", PAGE)
    yield address
    server.stop()


def test_answers_of_nginx(site):
    with Http2Client(site) as client:
        assert client.get("/page").body == PAGE
        assert client.get("/page", method="HEAD").frames == ["Headers"]
        streams = [client.request(path="/page") for _ in range(10)]
        assert all(client.read(stream).body == PAGE for stream in streams)
        assert client.get("/nowhere").status == 404
        assert client.ping() and not client.goaways


def test_windows_of_nginx(site):
    with Http2Client(site, {INITIAL_WINDOW_SIZE: 0}, windows=False) as client:
        stream = client.request(path="/page")
        assert client.until(lambda: stream.status == 200)
        assert client.ping() and stream.length == 0
        client.open_window(stream, 1000)
        assert client.until(lambda: stream.length == 1000)
        client.open_window(None, len(PAGE))
        client.open_window(stream, len(PAGE))
        assert client.read(stream).body == PAGE


def test_goaway_of_nginx(site):
    with Http2Client(site) as client:
        client.attack([frame(DATA, 0, 0, b"x")])
        client.expect_close(PROTOCOL_ERROR)


FINE = [(":status", "200"), ("content-length", "2")]


def head(*fields, end=False, stream=1):
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, Encoder().encode(fields or FINE))


ERRORS = {
    "no settings": [frame(PING, payload=bytes(8))],
    "a name in upper case": [head(*FINE, ("X-Mine", "1"))],
    "a field of connections": [head(*FINE, ("connection", "close"))],
    "a line end in a value": [head(*FINE, ("x-mine", "a\r\nb"))],
    "no status": [head(("content-length", "2"))],
    "the status not first": [head(("content-length", "2"), (":status", "200"))],
    "switching protocols": [head((":status", "101"))],
    "a body too short": [head(), frame(DATA, END_STREAM, 1, b"x")],
    "a body too long": [head(), frame(DATA, END_STREAM, 1, b"xyz")],
    "a body without a head": [frame(DATA, END_STREAM, 1, b"xy")],
    "more than the window": [head(), *[frame(DATA, 0, 1, bytes(16_384))] * 4],
    "a frame too large": [head(), frame(DATA, 0, 1, bytes(16_385))],
    "an answer unasked": [head(stream=3)],
    "something after the end": [head(), frame(DATA, END_STREAM, 1, b"xy"), frame(DATA, 0, 1)],
    "trailers without an end": [head(), head(("x-sum", "1"))],
    "a status in trailers": [head(), head((":status", "200"), end=True)],
    "a frame in a head": [frame(HEADERS, 0, 1, b""), frame(PING, payload=bytes(8))],
    "a promise": [frame(PUSH_PROMISE, END_HEADERS, 1, word(2))],
    "two resets": [frame(RST_STREAM, 0, 1, word(8)) * 2],
    "a last stream that grows": [frame(GOAWAY, payload=word(n) + word(0)) for n in (1, 3)],
    "a window beyond 2^31 - 1": [frame(WINDOW_UPDATE, payload=word(2**31 - 1))],
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_a_server_are_seen(name):
    first = b"" if name == "no settings" else frame(SETTINGS) + frame(SETTINGS, ACK)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                got = connection.recv(len(PREFACE), socket.MSG_WAITALL)
                connection.sendall(first + b"".join(ERRORS[name]))
                while got:
                    got = connection.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Http2Client(server.getsockname(), wait=False, windows=False)
        with client:
            client.request()
            with pytest.raises(AssertionError):
                client.until(lambda: False)
        thread.join(20)
