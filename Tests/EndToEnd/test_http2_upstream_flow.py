"""HTTP/2 to endpoints: windows, attempts, and what happens while weir changes or ends."""

import fcntl
import hashlib
import itertools
import random
import signal
import socket
import struct
import termios
import threading
import time

import pytest

from harness import Client, cluster, configuration, forward, free_address, listener, patience, until
from harness.client import ask_hedged
from harness.http2 import (
    FRAME,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW,
    Http2Client,
    frame,
    settings_of,
)
from harness.http2_upstream import Http2Connection

MEGABYTES = random.Random(1).randbytes(20 << 20)


def settings(*behind, route=None, listeners=None, runtime=None, **options):
    clusters = [cluster("main", *behind, http2=True, **options)]
    runtime = {"workers": 1} | (runtime or {})
    return configuration(clusters, [forward(**(route or {}))], listeners, runtime)


@pytest.fixture
def site(weir, http2_upstream):
    """weir before an endpoint that speaks HTTP/2."""

    def start(answer=None, behind=None, **options):
        behind = http2_upstream(answer, **(behind or {}))
        return weir(settings(behind, **options)), behind

    return start


def settled(value):
    """What the value has come to once it has not changed for a while."""
    seen, since = value(), time.monotonic()
    while time.monotonic() < since + 0.5:
        time.sleep(0.02)
        if (now := value()) != seen:
            seen, since = now, time.monotonic()
    return seen


def in_background(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


# Uploads


@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_an_upload_waits_for_the_endpoints_window(site, kind):
    """Nothing of it is lost, and weir holds little of it."""
    running, behind = site(
        lambda call: call.respond(body=hashlib.sha256(call.body).hexdigest().encode()),
        {"windows": False},
        route={"timeout": "60s"},
    )
    assert running.get().status == 200
    before = running.resident
    body = MEGABYTES[: 5 << 20]
    sent = [0]

    def upload():
        for at in range(0, len(body), FRAME):
            if kind is Client:
                client.send(body[at : at + FRAME])
            else:
                client.data(stream, body[at : at + FRAME], end=at + FRAME >= len(body))
            sent[0] = at + FRAME

    with kind(running.edge, seconds=50) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        lead = [("content-length", str(len(body)))]
        if kind is Client:
            client.request("POST", "/", [f"{name}: {value}" for name, value in lead])
        else:
            stream = client.request("POST", "/", lead, end=False)
        thread = in_background(upload)
        call = behind.wait_requests(2)[-1]
        behind.wait(lambda: call.length == WINDOW, "the window is full")
        assert settled(lambda: sent[0]) < len(body)
        assert call.length == WINDOW
        assert running.resident - before < 4 << 20
        assert running.get("/other").status == 200, "others have no body"
        connection = call.connection
        while call.length < len(body):
            have = call.length
            connection.open_window(None, 100_000)
            connection.open_window(call, 100_000)
            want = min(have + 100_000, len(body))
            behind.wait(lambda: call.length == want, "it comes as the window opens")
        thread.join()
        answer = client.read() if kind is Client else client.read(stream)
        assert answer.body == hashlib.sha256(body).hexdigest().encode()


def test_the_endpoint_may_change_its_windows(site):
    def answer(call):
        connection = call.connection
        values = {INITIAL_WINDOW_SIZE: 10}
        connection.mine |= values
        for each in connection.calls.values():
            each.room += 10 - WINDOW
        acks = connection.acks
        connection.send(frame(SETTINGS, payload=settings_of(values)))
        call.wait(lambda: connection.acks > acks, "it is acknowledged")
        call.respond()

    running, behind = site(lambda call: answer(call) if call.path == "/" else call.respond())
    assert running.get().status == 200
    body = MEGABYTES[:3000]
    assert running.get("/small", method="POST", body=body).status == 200
    assert behind.requests[1].body == body
    assert behind.requests[1].frames.count("Data") >= 300


def test_windows_opened_piece_by_piece_are_no_flood(site, monkeypatch):
    """Some endpoints open both windows for each 4 KiB that they read."""
    whole, widened = Http2Connection.open_window, set()

    def open_window(connection, call, count):
        # Wide enough that frames are as large as they may be.
        if connection not in widened:
            widened.add(connection)
            whole(connection, None, 8 << 20)
        for at in range(0, count, 4096):
            whole(connection, call, min(4096, count - at))

    monkeypatch.setattr(Http2Connection, "open_window", open_window)
    options = {"keep": False, "settings": {INITIAL_WINDOW_SIZE: 8 << 20}}
    running, behind = site(lambda call: call.respond(body=b"%d" % call.length), options)
    with Http2Client(running.edge, seconds=60) as client:
        stream = client.request("POST", end=False)
        for _ in range(2):
            client.data(stream, MEGABYTES, end=False)
        client.data(stream)
        assert client.read(stream).body == b"%d" % (2 * len(MEGABYTES))
    assert len(behind.connections) == 1 and not behind.connections[0].goaways


def test_many_uploads_at_once(site):
    running, behind = site(lambda call: call.respond(body=bytes(call.body[-100:])))
    with Http2Client(running.edge, seconds=40) as client:
        bodies = [MEGABYTES[at : at + 300_000] for at in range(0, 6_000_000, 300_000)]
        streams = [client.request("POST", end=False) for _ in bodies]
        for at in range(0, 300_000, 10_000):
            for stream, body in zip(streams, bodies):
                client.data(stream, body[at : at + 10_000], end=at == 290_000)
        for stream, body in zip(streams, bodies):
            assert client.read(stream).body == body[-100:]
    assert {bytes(call.body) for call in behind.requests} == set(bodies)
    assert len(behind.connections) == 1


def test_what_an_endpoint_does_not_want_is_not_sent(site):
    """An answer that is complete before its request is ends the stream."""
    running, behind = site(
        lambda call: call.respond(413, b"no"),
        {"early": True, "windows": False},
        route={"request_buffer": "0B"},
    )
    with Http2Client(running.edge) as client:
        for _ in range(5):
            stream = client.request("POST", "/", [("content-length", "1000000")], end=False)
            client.data(stream, b"x" * 1000, end=False)
            client.until(lambda: stream.is_over)
            assert (stream.status, stream.body) == (413, b"no")
    assert {call.wait_reset() for call in behind.requests} <= {0, 8}
    assert len(behind.connections) == 1


# Downloads


def test_a_download_waits_for_its_client(site):
    running, behind = site(
        lambda call: call.respond(body=MEGABYTES), route={"timeout": "60s", "idle_timeout": "60s"}
    )
    with Http2Client(running.edge, windows=False, keep=False, seconds=50) as client:
        stream = client.request()
        call = behind.wait_requests(1)[0]
        client.until(lambda: stream.length == WINDOW)
        assert settled(lambda: call.sent) <= 1 << 20
        assert running.resident < 200 << 20
        client.windows = True
        client.open_window(None, 16 << 20)
        client.open_window(stream, 16 << 20)
        assert client.read(stream).digest == hashlib.sha256(MEGABYTES).hexdigest()
    with Client(running.edge, receive_buffer=64 << 10, recording=False, seconds=50) as client:
        client.request()
        call = behind.wait_requests(2)[1]
        assert settled(lambda: call.sent) < 10 << 20
        assert client.read(keep=False).digest == hashlib.sha256(MEGABYTES).hexdigest()
    assert len(behind.connections) == 1


def test_clients_that_do_not_read_hold_up_nobody_else(site):
    """All share a connection, whose window is theirs together."""

    def answer(call):
        call.respond(body=MEGABYTES if call.path == "/large" else b"small")

    # Those who do not read are not cut off meanwhile.
    patient = [listener(limits={"send_min_rate": "0B/s"})]
    running, behind = site(answer, route={"timeout": "60s"}, listeners=patient)
    slow = [Http2Client(running.edge, {INITIAL_WINDOW_SIZE: 0}, windows=False) for _ in range(12)]
    try:
        for client in slow:
            client.request(path="/large")
        behind.wait_requests(len(slow))
        settled(lambda: sum(call.sent for call in behind.requests))
        for _ in range(3):
            answer = running.get("/small")
            assert (answer.status, answer.body) == (200, b"small")
        assert not any(call.reset_code for call in behind.requests), "none had to go for it"
    finally:
        for client in slow:
            client.close()
    until(lambda: running.get("/small").status == 200, "the others are served again")


def test_what_clients_leave_unread_is_given_back(site):
    """Windows of the connection are not used up by calls that are given up."""

    def answer(call):
        call.respond(body=MEGABYTES[: 1 << 20] if call.path == "/large" else b"small")

    running, behind = site(answer)
    for number in range(20):
        with Http2Client(running.edge, windows=False) as client:
            stream = client.request(path="/large")
            assert client.until(lambda: stream.length == WINDOW)
    for _ in range(3):
        assert running.get("/small").body == b"small"
    assert len(behind.connections) <= 2


# Attempts

POLICY = {
    "on": ["connect_failure", "reset_before_response", "gateway_error", "per_try_timeout"],
    "attempts": 2,
    "backoff": {"base": "1ms", "max": "2ms"},
    "budget": {"percent": 100, "min_per_second": 10},
}


def retrying(*behind, policy=None, **options):
    made = settings(*behind, route={"retry": "safe"}, **options)
    return made | {"retry_policies": {"safe": POLICY | (policy or {})}}


def test_a_failed_attempt_goes_to_another_endpoint(weir, http2_upstream):
    bad, good = http2_upstream(lambda call: call.respond(503, b"no")), http2_upstream()
    running = weir(retrying(bad, good))
    for _ in range(6):
        assert running.get().status == 200
    assert len(good.requests) == 6 and bad.requests
    assert running.wait_total(len(bad.requests), "upstream_retries_total") == len(bad.requests)
    assert len(bad.connections) == 1


def test_a_body_is_sent_again(weir, http2_upstream):
    places = itertools.count()
    behind = http2_upstream(lambda call: call.respond(503 if next(places) == 0 else 200))
    running = weir(retrying(behind, policy={"methods": ["POST"]}))
    body = MEGABYTES[:10_000]
    assert running.get(method="POST", body=body).status == 200
    assert [bytes(call.body) for call in behind.requests] == [body, body]
    assert [call.one("x-weir-attempt") for call in behind.requests] == [None, "2"]


def test_an_attempt_that_takes_too_long_is_given_up_for_another(weir, http2_upstream):
    slow, good = http2_upstream(lambda call: call.wait_reset()), http2_upstream()
    running = weir(retrying(slow, good, policy={"per_try_timeout": "100ms"}))
    assert [running.get().status for _ in range(4)] == [200] * 4
    assert slow.requests and all(call.wait_reset() == 8 for call in slow.requests)


def test_hedges_are_sent_and_the_slow_attempt_is_cancelled(weir, http2_upstream):
    def slow_when_asked(call):
        if call.path == "/slow":
            return call.wait_reset()
        call.respond(body=b"quick")

    slow = http2_upstream(slow_when_asked)
    quick = http2_upstream(lambda call: call.respond(body=b"quick"))
    running = weir(settings(slow, quick, route={"hedge": {"after": "50ms", "percent": 10}}))
    ask_hedged(running)
    calls = [call for call in slow.requests if call.path == "/slow"]
    assert calls and all(call.wait_reset() == 8 for call in calls)
    until(lambda: running.total("upstream_requests_in_flight") == 0, "none is left")


# Changes and the end


@pytest.mark.parametrize("kind", [Client, Http2Client])
def test_ten_reloads_under_load_lose_nothing(weir, http2_upstream, kind):
    behind = http2_upstream(lambda call: call.respond(body=bytes(call.body)))
    listeners = [listener(address=free_address())]
    running = weir(settings(behind, listeners=listeners))
    is_done, wrong, count = threading.Event(), [], itertools.count()

    def load(number):
        body = b"%d" % number * 3000
        while not is_done.is_set():
            with kind(running.edge, seconds=30) as client:
                for _ in range(20):
                    if kind is Client:
                        client.request("POST", body=body)
                        answer = client.read()
                    else:
                        answer = client.get(method="POST", body=body)
                    if answer is None or (answer.status, answer.body) != (200, body):
                        wrong.append(answer)
                    next(count)

    threads = [in_background(lambda number=number: load(number)) for number in range(4)]
    for number in range(10):
        before = next(count)
        until(lambda: next(count) > before + 60, "there is load")
        made = settings(behind, listeners=listeners, connect_timeout=f"{number + 3}s")
        running.reload(made)
    is_done.set()
    for thread in threads:
        thread.join(patience(30))
        assert not thread.is_alive()
    assert not wrong, wrong[:3]


def test_a_cluster_may_change_to_http_2_and_back(weir, upstream, http2_upstream):
    old, new = upstream(), http2_upstream(lambda call: call.respond(body=b"new"))
    running = weir(settings(new))
    assert running.get().body == b"new"
    running.reload(configuration([cluster("main", old)], runtime={"workers": 1}))
    until(lambda: running.get().body == b"ok\n", "HTTP/1 is spoken")
    new.connections[0].wait_closed()
    running.reload(settings(new))
    until(lambda: running.get().body == b"new", "HTTP/2 is spoken")


def test_calls_under_way_are_finished_when_weir_ends(site):
    go = threading.Event()
    running, behind = site(lambda call: go.wait(patience(30)) and call.respond(body=MEGABYTES))
    with Client(running.edge, seconds=30) as client:
        client.request()
        behind.wait_requests(1)
        running.signal(signal.SIGTERM)
        until(lambda: running.ask("GET", "/ready")[0] != 200, "weir drains")
        go.set()
        assert client.read(keep=False).length == len(MEGABYTES)
    assert running.wait_exit() == 0
    behind.connections[0].wait_closed()


def wait_delivered(sock):
    """Until the other side's kernel has all that was sent, an end among it."""

    def is_delivered():
        return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0] == 0

    until(is_delivered, "all is acknowledged")


def test_a_request_that_has_not_left_is_sent_over_another_connection(site):
    """Its endpoint ends the connection in the very turn in which it came."""
    running, behind = site()
    with Http2Client(running.edge) as client:
        assert client.get().status == 200
        for _ in range(3):
            endpoint = behind.connections[-1].sock
            wait_delivered(endpoint)
            # weir has looked at all that came.
            assert client.ping()
            with running.stopped():
                stream = client.request("POST", body=b"x")
                wait_delivered(client.sock)
                endpoint.shutdown(socket.SHUT_WR)
                wait_delivered(endpoint)
            assert client.read(stream).status == 200
    assert {line["reason"] for line in running.wait_log(4)} == {None}
    assert running.total("upstream_failures_total") == 0
