"""Windows of HTTP/2: back-pressure both ways, what it costs in memory, and clients that stall."""

import hashlib
import random
import socket
import threading

import pytest

from harness import Incomplete, cluster, configuration, forward, listener, ok, patience, until
from harness.http2 import (
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    NO_ERROR,
    PADDED,
    WINDOW,
    Http2Client,
    frame,
)

MIB = 1 << 20
#: Short timers, but long enough that a slow build still gets ordinary requests through.
SHORT = f"{int(patience(700))}ms"


def blob(size, seed=1):
    return random.Random(seed).randbytes(size)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def sender(block, count, progress=None, framing="length"):
    """A handler that answers every request with so many blocks."""

    def handle(connection):
        connection.recording = False
        while connection.read():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * count))
            for number in range(count):
                connection.send(block)
                if progress is not None:
                    progress.append(number)

    return handle


def opened(client, stream, count):
    client.open_window(stream, count)
    client.open_window(None, count)


# Down


def test_a_shut_window_lets_only_the_head_through(pair):
    body = blob(100_000)
    running, _ = pair(lambda request: ok(body))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}, windows=False) as client:
        stream = client.request()
        assert client.until(lambda: stream.status == 200)
        assert client.ping()
        assert stream.length == 0
        for count in (1, 2, 100, 16_383, 16_384, 16_385):
            before = stream.length
            opened(client, stream, count)
            assert client.until(lambda: stream.length == before + count)
            assert client.ping()
            assert stream.length == before + count, "what the window lets through and no more"
        opened(client, stream, 100_000)
        assert client.read(stream).body == body


def test_an_empty_body_needs_no_window(pair):
    running, _ = pair(lambda request: ok(b""))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}, windows=False) as client:
        for _ in range(3):
            assert client.get().status == 200


def test_5_mb_through_a_window_that_opens_in_dribs(pair):
    body = blob(5 * MIB)
    running, _ = pair(lambda request: ok(body))
    dribs = random.Random(2)
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}, windows=False) as client:
        stream = client.request()
        given = 0
        client.open_window(None, len(body))
        while given < len(body):
            count = dribs.choice((1, 100, 5000, 16_384, 30_000, 65_535))
            client.open_window(stream, count)
            given = min(given + count, len(body))
            assert client.until(lambda: stream.length == given)
        assert client.read(stream).body == body


def test_the_windows_of_stream_and_connection_both_hold(pair):
    body = blob(200_000)
    running, _ = pair(lambda request: ok(body))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: LARGEST}, windows=False) as client:
        streams = [client.request() for _ in range(3)]
        assert client.until(lambda: client.window == 0)
        assert client.ping()
        assert sum(stream.length for stream in streams) == WINDOW
        client.open_window(None, 3 * len(body))
        for stream in streams:
            assert client.read(stream).body == body


def test_settings_change_the_windows_of_open_streams(pair):
    """Up, and down below nothing: then the debt is paid first (RFC 9113 section 6.9.2)."""
    body = blob(100_000)
    running, _ = pair(lambda request: ok(body))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 1000}, windows=False) as client:
        client.open_window(None, 10 * len(body))
        stream = client.request()
        assert client.until(lambda: stream.length == 1000)
        client.change({INITIAL_WINDOW_SIZE: 5000})
        assert client.until(lambda: stream.length == 5000)
        client.change({INITIAL_WINDOW_SIZE: 2000})
        client.open_window(stream, 2500)
        assert client.ping()
        assert stream.length == 5000, "500 bytes are owed"
        client.open_window(stream, 600)
        assert client.until(lambda: stream.length == 5100)
        client.change({INITIAL_WINDOW_SIZE: len(body)})
        assert client.until(lambda: stream.has_ended)
        assert stream.body == body


@pytest.mark.parametrize("body", [1000, MIB])
def test_a_stream_that_is_not_read_does_not_stall_another(pair, body):
    data = blob(body)
    running, _ = pair(lambda request: ok(data))
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}, windows=False) as client:
        client.open_window(None, 20 * MIB)
        stuck = [client.request(path=f"/stuck/{number}") for number in range(20)]
        assert client.until(lambda: all(stream.status for stream in stuck))
        for _ in range(5):
            stream = client.request(path="/read")
            client.open_window(stream, len(data))
            assert client.read(stream).body == data
        assert not any(stream.length for stream in stuck)
        for stream in stuck[:3]:
            client.open_window(stream, len(data))
            assert client.read(stream).body == data


@pytest.mark.slow
def test_100_mb_down_at_flat_memory(pair):
    block = blob(MIB)
    running, _ = pair(handle=sender(block, 100))
    before = running.resident
    with Http2Client(running.edge, keep=False, seconds=60) as client:
        answer = client.get()
        grown = running.resident - before
    assert (answer.length, answer.digest) == (100 * MIB, sha(block * 100))
    assert grown < patience(32 * MIB)


def test_a_client_that_stops_reading_stops_the_endpoint(pair):
    sent = []
    running, behind = pair(handle=sender(blob(MIB), 100, sent))
    before = running.resident
    with Http2Client(running.edge, windows=False, keep=False) as client:
        stream = client.request()
        assert client.until(lambda: stream.length == WINDOW)
        assert client.is_quiet(1), "nothing comes beyond the window"
        assert len(sent) < 60, "the kernel's buffers and weir's hold the rest back"
        assert running.resident - before < patience(32 * MIB)
        client.cancel(stream)
        behind.wait(lambda: behind.connections[0].is_closed.is_set(), "the endpoint is let go")
        assert client.ping()


def test_300_shut_windows_cost_little_and_all_of_it_comes_back(pair):
    """Each stream asks for 1 MB and takes none of it; the endpoint's data stay at the endpoint."""
    body = blob(MIB)
    running, behind = pair(handle=sender(body, 1), runtime={"workers": 2})
    # What the buffers of the kernel take of each answer shall be little.
    behind.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
    assert running.get().body == body
    before, descriptors = running.resident, running.open_files
    clients = [Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}) for _ in range(4)]
    try:
        streams = [(client, client.request()) for client in clients for _ in range(75)]
        for client, stream in streams:
            assert client.until(lambda: stream.status == 200)
        for client in clients:
            assert client.ping()
        assert not any(stream.length for _, stream in streams)
        assert running.resident - before < patience(20 * MIB)
        taken = running.total("upstream_bytes_received_total") - MIB
        assert taken < 20 * MIB, f"{taken} bytes were read from the endpoint"
        assert running.get().body == body, "others are served"
    finally:
        for client in clients:
            client.close()
    until(lambda: running.total("http_requests_in_flight") == 0, "no request is left")
    until(lambda: running.open_files <= descriptors + 1, "the descriptors are free again")
    assert running.get().body == body


# Up


def reader(go=None, receive_buffer=None):
    """A handler that reads a body once it may, and answers with its digest."""

    def handle(connection):
        connection.recording = False
        if receive_buffer:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        while (request := connection.read_head()) is not None:
            assert go is None or go.wait(patience(60))
            digest = hashlib.sha256()
            connection.read_body(request, digest.update)
            connection.send(ok(digest.hexdigest().encode()))

    return handle


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_5_mb_up_to_an_endpoint_that_reads_little_by_little(pair, framing):
    running, _ = pair(handle=reader(receive_buffer=65_536))
    body = blob(5 * MIB)
    before = running.resident
    announced = [("content-length", str(len(body)))] if framing == "length" else []
    with Http2Client(running.edge, seconds=30) as client:
        stream = client.request("POST", "/", announced, end=False)
        assert client.data(stream, body)
        assert client.read(stream).body.decode() == sha(body)
        assert running.resident - before < patience(32 * MIB)


@pytest.mark.slow
def test_100_mb_up_at_flat_memory_and_held_back_by_the_endpoint(pair):
    """The endpoint does not read at first: the windows stay shut, and weir keeps little."""
    go, block, total = threading.Event(), blob(MIB, 3), 100
    running, _ = pair(handle=reader(go))
    before, digest = running.resident, hashlib.sha256()
    with Http2Client(running.edge, seconds=60) as client:
        stream = client.request("POST", "/", [("content-length", str(total * MIB))], end=False)
        sent = 0
        while sent < 60 * MIB:
            sent += client.fit(stream, block[sent % MIB :])
            if min(stream.send_window, client.send_window) <= 0:
                if client.is_quiet(1):
                    break
                client.read_frame()
        assert sent < 60 * MIB, "the kernel's buffers and weir's hold the rest back"
        assert running.resident - before < patience(32 * MIB)
        go.set()
        assert client.data(stream, block[sent % MIB :] if sent % MIB else b"", end=False)
        for _ in range(total - -(-sent // MIB)):
            assert client.data(stream, block, end=False)
        client.data(stream)
        answer = client.read(stream)
        assert running.resident - before < patience(32 * MIB)
    for _ in range(total):
        digest.update(block)
    assert answer.body.decode() == digest.hexdigest()


def test_padding_does_not_eat_the_windows(pair):
    running, _ = pair(lambda request: ok(sha(request.body).encode()))
    body = blob(1000)
    with Http2Client(running.edge) as client:
        stream = client.request("POST", end=False)
        for byte in body:
            padded = b"\xff" + bytes([byte]) + bytes(255)
            assert client.until(
                lambda: min(stream.send_window, client.send_window) >= len(padded)
            ), "the windows are given back"
            client.send(frame(DATA, PADDED, stream.number, padded))
            stream.send_window -= len(padded)
            client.send_window -= len(padded)
        client.data(stream)
        assert client.read(stream).body.decode() == sha(body)


def test_bodies_that_nobody_reads_give_the_window_of_the_connection_back(pair):
    running, _ = pair(routes=[forward(match={"path_prefix": "/up"})])
    body = blob(WINDOW)
    with Http2Client(running.edge) as client:
        for number in range(20):
            stream = client.request("POST", "/nowhere", end=False)
            client.data(stream, body)
            answer = client.read(stream)
            assert answer.status == 404 or answer.reset == NO_ERROR
            # Half-way cancelled ones, too.
            other = client.request("POST", "/up", [("content-length", "100000")], end=False)
            client.data(other, body[:5000], end=False)
            client.cancel(other)
        whole = client.get("/up", method="POST", body=blob(300_000))
        assert whole.status == 200


def test_a_client_that_ignores_the_windows_is_stopped(pair):
    """Much more is sent than any window let through; it is not kept, and it is an error."""
    go = threading.Event()
    running, _ = pair(handle=reader(go))
    before = running.resident
    with Http2Client(running.edge) as client:
        stream = client.request("POST", "/", [("content-length", str(64 * MIB))], end=False)
        client.attack(frame(DATA, 0, stream.number, bytes(16_384)) * 16 for _ in range(256))
        client.until(lambda: stream.reset is not None or client.goaways)
        code = client.goaways[-1].error_code if client.goaways else stream.reset
        assert code == FLOW_CONTROL_ERROR
        assert running.resident - before < patience(32 * MIB)
    go.set()
    with Http2Client(running.edge) as client:
        assert client.get(method="POST", body=b"x").status == 200


# Time


def test_a_window_that_stays_shut_resets_the_stream(pair):
    listeners = [listener(limits={"send_timeout": SHORT, "send_min_rate": "1KiB/s"})]
    body = blob(8 * MIB)
    running, _ = pair(lambda request: ok(body), listeners=listeners)
    with Http2Client(running.edge, windows=False) as client:
        stalled = client.request(path="/stalled")
        assert client.until(lambda: stalled.reset is not None)
        assert stalled.status == 200 and stalled.reset == ENHANCE_YOUR_CALM
        client.windows = True
        client.open_window(None, stalled.length)
        answer = client.get("/read")
        assert answer.body == body, "the connection goes on"
    (line,) = running.wait_log(1, lambda line: line["path"] == "/stalled")
    assert line["reason"] == "client_too_slow"
    assert running.wait_total(1, "weir_refusals_total", reason="client_too_slow") == 1
    until(lambda: running.total("http_requests_in_flight") == 0, "nothing is left")


def test_a_connection_whose_window_stays_shut_frees_the_endpoints(pair):
    listeners = [listener(limits={"send_timeout": SHORT, "send_min_rate": "1KiB/s"})]
    running, behind = pair(handle=sender(blob(MIB), 20), listeners=listeners)
    with Http2Client(running.edge, {INITIAL_WINDOW_SIZE: LARGEST}, windows=False) as client:
        streams = [client.request() for _ in range(10)]
        client.until(lambda: all(stream.is_over for stream in streams))
        assert not any(stream.has_ended for stream in streams)
    lines = running.wait_log(10)
    assert {line["reason"] for line in lines} == {"client_too_slow"}
    assert all(connection.is_closed.wait(patience(15)) for connection in behind.connections)


def test_a_body_that_stalls_costs_the_endpoint_nothing(pair):
    listeners = [listener(limits={"body_timeout": SHORT, "body_min_rate": "1KiB/s"})]
    running, behind = pair(listeners=listeners)
    with Http2Client(running.edge) as client:
        announced = [("content-length", "100000")]
        streams = [client.request("POST", "/stalled", announced, end=False) for _ in range(20)]
        for number, stream in enumerate(streams):
            client.data(stream, b"x" * number, end=False)
        assert client.get("/quick").status == 200
        assert client.until(lambda: all(stream.is_over for stream in streams))
        for stream in streams:
            assert stream.status == 408 or stream.reset is not None, stream.outcome
        assert client.get("/quick").status == 200
    assert {request.target for request in behind.requests} == {"/quick"}
    assert len(behind.connections) == 1
    assert running.wait_total(20, "weir_refusals_total", reason="client_too_slow") == 20


def test_a_body_that_stalls_half_way_ends_the_attempt(weir, upstream):
    cut = threading.Event()

    def handle(connection):
        request = connection.read_head()
        try:
            connection.read_body(request, lambda piece: None)
        except Incomplete:
            cut.set()

    listeners = [listener(limits={"body_timeout": SHORT, "body_min_rate": "1KiB/s"})]
    running = weir(configuration([cluster("main", upstream(handle=handle))], listeners=listeners))
    with Http2Client(running.edge) as client:
        stream = client.request("POST", "/", [("content-length", "1000000")], end=False)
        client.data(stream, b"x" * 60_000, end=False)
        assert client.until(lambda: stream.is_over)
        assert stream.status in (None, 408)
        assert cut.wait(patience(15)), "the endpoint is free"
        assert client.ping()


class Piecemeal(Http2Client):
    """Opens both windows for each 4 KiB, as some clients do that read through a small buffer."""

    def open_window(self, stream, count):
        for at in range(0, count, 4096):
            super().open_window(stream, min(4096, count - at))


def test_windows_opened_piece_by_piece_are_no_flood(pair):
    """Far beyond what the credit for frames alone would do."""
    block, count = blob(MIB), 32
    running, _ = pair(handle=sender(block, count))
    # Wide enough that frames are as large as they may be.
    with Piecemeal(running.edge, settings={INITIAL_WINDOW_SIZE: 8 * MIB}, keep=False) as client:
        Http2Client.open_window(client, None, 8 * MIB)
        stream = client.request()
        assert client.until(lambda: stream.is_over), "it is cut off"
        assert (stream.status, stream.length) == (200, count * MIB)
    assert running.total("downstream_http2_floods_total") == 0
