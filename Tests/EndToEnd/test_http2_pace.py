"""Paces over HTTP/2: who is slow and who only waits, judged over whole windows and always afresh.

Besides them, what else hangs on a moment at which the client does not take or send: the credit of
requests that are spoilt once they are on their way, interim answers, heads that come while the
connection ends.
"""

import queue
import signal
import time

import pytest

from harness import SLOWDOWN, cluster, configuration, forward, free_address, listener, ok
from harness import patience, until
from harness.http2 import DATA, ENHANCE_YOUR_CALM, INITIAL_WINDOW_SIZE, NO_ERROR, RST_STREAM, WINDOW
from harness.http2 import Http2Client, frame, word

KIB, MIB = 1 << 10, 1 << 20
#: More than any answer here has, and more than the kernel's buffers take of one.
WIDE, LARGE = 1 << 28, 16 * MIB


def duration(seconds):
    return f"{int(1000 * patience(seconds))}ms"


def rate(per_second):
    """Slow builds are asked for less in the same time, so for the same in a whole window."""
    return f"{int(per_second / SLOWDOWN)}B/s"


def limited(send, least, body=10):
    """Windows of `send` and `body` seconds, and the bytes a second at which answers are taken."""
    return [
        listener(
            limits={
                "send_timeout": duration(send),
                "send_min_rate": rate(least),
                "body_timeout": duration(body),
                "body_min_rate": rate(KIB),
            }
        )
    ]


def endless(connection):
    """A handler of answers that have no end as long as a test lasts."""
    connection.recording = False
    while connection.read():
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            connection.send(bytes(64 * KIB))


def sized(request):
    """/large is an answer that no buffer takes whole, and no other is."""
    return ok(bytes(LARGE if request.target == "/large" else 10))


def upload(client, path="/upload"):
    """A request whose body does not come."""
    return client.request("POST", path, [("content-length", "100000")], end=False)


def too_slow(running):
    return running.total("weir_refusals_total", reason="client_too_slow")


def wait_full(running):
    """Waits until a client's socket takes no more of /large."""

    def is_full():
        before = running.total("downstream_bytes_sent_total")
        time.sleep(0.1)
        return 64 * KIB < before == running.total("downstream_bytes_sent_total")

    until(is_full, "the socket is full")
    assert running.total("downstream_bytes_sent_total") < LARGE


def reading(client, seconds):
    """Reads what comes for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not client.has_ended:
        if not client.is_quiet(left):
            client.read_frame()


def connected(address, initial=WINDOW, more=WIDE, **options):
    """A client that gives no window back: what a stream's is at first, and what the connection's
    is beyond that."""
    settings = {INITIAL_WINDOW_SIZE: initial}
    client = Http2Client(address, settings, windows=False, keep=False, **options)
    if more:
        client.open_window(None, more)
    return client


# Verdicts


@pytest.mark.slow
def test_an_old_verdict_is_not_held_against_a_client(pair):
    """A stream is cut off while its client reads nothing. Later the client reads nothing for a
    moment, less than `send_timeout`, in which paces are looked at since a body does not come."""
    running, _ = pair(sized, listeners=limited(2, 16 * KIB, 0.3))
    with connected(running.edge, receive_buffer=4096) as client:
        stalled = client.request(path="/large")
        # Its window lets through less than the socket takes: nothing is queued, nothing is read.
        running.wait_log(1, lambda line: line["reason"] == "client_too_slow")
        assert client.until(lambda: stalled.reset is not None)
        client.change({INITIAL_WINDOW_SIZE: WIDE})
        assert client.get("/small").status == 200
        large = client.request(path="/large")
        wait_full(running)
        idle = upload(client)
        # The refusal says that paces have been looked at.
        running.wait_log(1, lambda line: line["path"] == "/upload")
        assert client.read(large).length == LARGE
        assert client.read(idle).status == 408
        assert client.get("/small").status == 200
        assert not client.goaways
    assert too_slow(running) == 2


def test_a_client_that_reads_nothing_for_a_whole_window_is_still_found_out(pair):
    """Also where others of its streams have paces of their own, which are looked at more often."""
    running, _ = pair(sized, listeners=limited(1, 16 * KIB, 0.2))
    with connected(running.edge, WIDE, receive_buffer=4096) as client:
        large = client.request(path="/large")
        for number in range(3):
            upload(client, f"/upload{number}")
            running.wait_log(1, lambda line: line["path"] == f"/upload{number}")
        (line,) = running.wait_log(1, lambda line: line["path"] == "/large")
        assert line["reason"] in ("client_too_slow", "client_gone")
        assert not client.until(lambda: large.is_over) or not large.has_ended


def through_the_connection(client, streams, count):
    client.open_window(None, count)


def through_the_streams(client, streams, count):
    for stream in streams:
        client.open_window(stream, count // len(streams))


def through_the_socket(client, streams, count):
    """Nothing is read but this."""
    if not client.is_quiet(0):
        client.buffer += client.sock.recv(count)
    while len(client.buffer) >= 9 + int.from_bytes(client.buffer[:3]):
        client.read_frame()


#: How it is taken, the first window of each of so many streams, and what the connection has more.
TAKING = {
    # Each stream gets less than the least rate: it waits for the others, its window is open.
    "connection": (through_the_connection, WIDE, 12, 0),
    # Here each gets more, but has no window most of the time.
    "streams": (through_the_streams, 4 * KIB, 4, WIDE),
    "socket": (through_the_socket, WIDE, 12, WIDE),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", TAKING)
def test_a_steady_client_is_never_cut_off(pair, way):
    """It takes eight times what it has to, in small portions, for five windows; its streams are
    looked at at as many moments of each."""
    take, initial, streams, more = TAKING[way]
    window, least = 0.7, 32 * KIB
    running, _ = pair(handle=endless, listeners=limited(window, least))
    with connected(running.edge, initial, more, receive_buffer=32 * KIB) as client:
        opened, given, started = [], 0, time.monotonic()
        while (passed := (time.monotonic() - started) / patience(window)) < 5:
            if len(opened) < streams and passed > len(opened) / streams:
                opened.append(client.request())
            due = int(8 * least * window * passed) - given
            if due >= 4 * KIB and opened:
                take(client, opened, due)
                given += due
            if take is through_the_socket:
                time.sleep(0.01)
            else:
                reading(client, 0.01)
            assert not client.has_ended and not client.goaways, f"after {passed:.2f} windows"
            over = [stream.outcome for stream in opened if stream.is_over]
            assert not over, f"after {passed:.2f} windows: {over}"
        assert len(opened) == streams
        assert not too_slow(running)


# Windows that open in steps


HALF = WINDOW // 2
#: A window of `send_timeout`, and the rate at which half of a client's window lasts four of them.
STEPPED = 0.5, HALF / 2


def stepped(client, which):
    """An endless answer that has filled a window, of its stream or of the connection, and what
    opens that one."""
    stream = client.request()
    if which == "connection":
        client.open_window(stream, WIDE)
    assert client.until(lambda: stream.length == WINDOW)
    return stream, lambda: client.open_window(stream if which == "stream" else None, HALF)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["stream", "connection"])
def test_a_window_that_opens_in_halves_is_no_stall(pair, which):
    """Most clients give a window back once half of it is consumed. One that consumes twice the
    least rate does so every second, and in each other `send_timeout` nothing leaves."""
    running, _ = pair(handle=endless, listeners=limited(*STEPPED))
    with connected(running.edge, more=WIDE if which == "stream" else 0) as client:
        stream, step = stepped(client, which)
        for number in range(1, 5):
            reading(client, patience(1))
            assert not stream.is_over and not client.has_ended, (number, stream.outcome)
            step()
            client.until(lambda: stream.length == WINDOW + number * HALF or stream.is_over)
            assert not stream.is_over and not client.has_ended, (number, stream.outcome)
    assert not too_slow(running)


@pytest.mark.slow
@pytest.mark.parametrize("which, steps", [("stream", 0), ("stream", 1), ("connection", 1)])
def test_a_window_that_stays_shut_is_one(pair, which, steps):
    """From the start, or after it was opened once."""
    running, _ = pair(handle=endless, listeners=limited(*STEPPED))
    with connected(running.edge, more=WIDE if which == "stream" else 0) as client:
        stream, step = stepped(client, which)
        for _ in range(steps):
            step()
            assert client.until(lambda: stream.length == WINDOW + HALF)
        assert client.until(lambda: stream.is_over)
        assert stream.reset not in (None, NO_ERROR)
        assert client.ping(), "the connection goes on"
    (line,) = running.wait_log(1)
    assert line["reason"] == "client_too_slow"


@pytest.mark.slow
def test_pauses_between_which_all_was_taken_do_not_add_up(pair):
    """A stream of events: each waits for a window, half as long as it may, and is then taken."""
    events = queue.Queue()

    def handle(connection):
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while event := events.get():
            connection.send(event)

    running, _ = pair(handle=handle, listeners=limited(*STEPPED))
    try:
        with connected(running.edge) as client:
            stream = client.request()
            events.put(bytes(WINDOW))
            assert client.until(lambda: stream.length == WINDOW)
            for number in range(1, 5):
                events.put(bytes(100))
                reading(client, patience(1.2))
                client.open_window(stream, 100)
                client.until(lambda: stream.length == WINDOW + number * 100 or stream.is_over)
                assert not stream.is_over and not client.has_ended, (number, stream.outcome)
    finally:
        events.put(None)
    assert not too_slow(running)


# Deadlines


def test_bodies_that_do_not_come_are_found_out_beside_answers_that_are_not_taken(pair):
    """They begin together, between, and whenever another stream has just been cut off."""
    running, behind = pair(handle=endless, listeners=limited(0.5, 64 * KIB, 0.5))
    with connected(running.edge) as client:
        stalled, idle = [], []
        for _ in range(8):
            stalled.append(client.request(path="/stalled"))
            idle.append(upload(client))
            assert client.ping()
        for stream in stalled:
            assert client.until(lambda: stream.is_over)
            assert stream.reset not in (None, NO_ERROR), stream.outcome
            idle.append(upload(client))
        for stream in idle:
            assert client.read(stream).status == 408, stream.outcome
        assert client.ping() and not client.goaways
    assert {request.target for request in behind.requests} == {"/stalled"}
    assert too_slow(running) == 24


def test_a_request_that_is_refused_but_never_ends_is_given_up(pair):
    """All of its body has come, and only the end is missing: that is waited for, but not long."""
    running, behind = pair(listeners=limited(0.5, 64 * KIB, 0.5))
    with Http2Client(running.edge) as client:
        stream = client.request("POST", headers=[("content-length", "5")], end=False)
        client.data(stream, b"hello", end=False)
        assert client.until(lambda: stream.has_ended)
        assert stream.status == 408
        assert client.until(lambda: stream.reset is not None)
        assert client.ping() and not client.goaways
    assert not behind.requests


# Requests that are spoilt on their way


def websocket(client):
    method, *rest = client.fields("CONNECT", "/attack")
    return client.open([method, (":protocol", "websocket"), *rest], end=False)


def posting(client):
    stream = client.request("POST", "/attack", end=False)
    client.data(stream, b"x", end=False)
    return stream


def ending(*fields):
    return lambda client, stream: client.head(fields, stream=stream)[1]


#: How the request begins, and the bytes that spoil it.
SPOILT = {
    "a pseudo field in the trailers": (posting, ending((":path", "/other"))),
    "an illegal name in the trailers": (posting, ending(("x sum", "1"))),
    "a connection's field in the trailers": (posting, ending(("connection", "close"))),
    "too many trailers": (posting, ending(*((f"x-{number}", "1") for number in range(40)))),
    "data before a tunnel": (websocket, lambda _, stream: frame(DATA, 0, stream.number, b"x")),
}
RESET = {"its reset": (posting, lambda _, stream: frame(RST_STREAM, 0, stream.number, word(8)))}


@pytest.mark.parametrize("way", [*SPOILT, *RESET])
def test_requests_that_their_client_spoils_are_a_flood(pair, way):
    """They cost the endpoint as much as those which are reset (CVE-2023-44487, CVE-2025-8671)."""

    def handle(connection):
        if request := connection.read_head():
            connection.note(request)
        connection.wait_closed()

    running, behind = pair(handle=handle, routes=[forward(request_buffer="0B")])
    begin, spoil = (SPOILT | RESET)[way]
    with Http2Client(running.edge) as client:
        for asked in range(20, 620, 20):
            streams = [begin(client) for _ in range(20)]
            # What has not reached the endpoint has cost it nothing.
            behind.wait_requests(asked)
            client.reply(b"".join(spoil(client, stream) for stream in streams))
            if not client.ping():
                break
        assert len(behind.requests) < 200
        client.expect_close(ENHANCE_YOUR_CALM)
    assert running.wait_total(1, "downstream_http2_floods_total") == 1


def test_a_few_spoilt_requests_are_none(pair):
    def handle(connection):
        while request := connection.read_head():
            if request.target == "/attack":
                connection.wait_closed()
                return
            connection.send(ok())

    running, _ = pair(handle=handle, routes=[forward(request_buffer="0B")])
    with Http2Client(running.edge) as client:
        for begin, spoil in list(SPOILT.values()) * 5:
            stream = begin(client)
            client.send(spoil(client, stream))
            client.read(stream)
            assert stream.reset is not None or stream.status == 400, stream.outcome
            assert client.get().status == 200
        assert not client.goaways
    assert running.total("downstream_http2_floods_total") == 0


# Interim answers


@pytest.mark.parametrize("hints", [0, 2])
def test_a_client_that_does_not_read_is_still_asked_for_its_body(pair, hints):
    """Another answer fills its socket just then. Hints may be dropped, the request for the body
    must not be: the client would wait for it, and the endpoint for the body."""

    def handle(connection):
        while request := connection.read_head():
            if request.method == "GET":
                connection.send(sized(request))
                continue
            hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
            connection.send(hint * hints + b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.note(request)
            connection.read_body(request)
            connection.send(ok(request.body))

    running, behind = pair(handle=handle)
    full = connected(running.edge, WIDE, receive_buffer=4096)
    with full as client, running.client() as other:
        large = client.request(path="/large")
        wait_full(running)
        expecting = [("expect", "100-continue"), ("content-length", "5")]
        stream = client.request("POST", "/expecting", expecting, end=False)
        behind.wait_requests(1)
        # What the endpoint has sent before is dealt with before these are answered.
        for _ in range(2):
            other.request()
            assert other.read().status == 200
        assert client.until(lambda: any(one.status == 100 for one in stream.interim))
        client.data(stream, b"hello")
        assert client.read(stream).length == 5
        assert client.read(large).length == LARGE
        assert not client.goaways


# Heads that come while the connection ends


@pytest.fixture(params=["reload", "SIGTERM"])
def site(request, weir, upstream):
    """(the address that will end, what ends it)"""
    behind = upstream(lambda request: ok(request.target.encode()))
    rest = configuration([cluster("main", behind)], runtime={"workers": 1, "drain_timeout": "60s"})
    second = listener("second", free_address(), limits={"header_timeout": duration(3)})
    running = weir(rest | {"listeners": [listener(), second]})

    def end():
        if request.param == "reload":
            running.reload(rest)
        else:
            running.signal(signal.SIGTERM)

    yield running.address("second"), end
    if request.param == "SIGTERM":
        assert running.wait_exit() == 0
    else:
        assert running.get().status == 200, "the other listener lives on"


def torn(client):
    """A stream, the first frame of its head, and the rest. Nothing may come between them: what the
    client would say meanwhile is put aside, and is the fourth."""
    stream, data = client.head(client.fields(path="/torn"), cut=3)
    first, held = 9 + int.from_bytes(data[:3]), []
    client.reply = held.append
    return stream, data[:first], data[first:], held


def finish(client, stream, rest, held):
    """Completes a head after both GOAWAYs, and reads its answer."""
    del client.reply
    assert client.is_quiet(patience(0.2)), "the connection waits for the head"
    client.send(rest + b"".join(held))
    if stream.number <= client.goaways[-1].last_stream_id:
        answer = client.read(stream)
        assert (answer.status, answer.body) == (200, b"/torn")
    client.expect_close(NO_ERROR)


@pytest.mark.slow
def test_a_head_that_began_before_the_end_is_still_answered(site):
    """Its client cannot answer the ping, so the last stream is named without it."""
    address, end = site
    with Http2Client(address) as client:
        assert client.get("/before").status == 200
        stream, first, rest, held = torn(client)
        client.send(first)
        end()
        assert client.until(lambda: len(client.goaways) == 2)
        finish(client, stream, rest, held)


def test_a_head_that_begins_with_the_answer_to_the_ping_is_still_answered(site):
    address, end = site
    with Http2Client(address) as client:
        stream, first, rest, held = torn(client)
        end()
        assert client.until(lambda: client.goaways and held)
        client.send(b"".join(held) + first)
        held.clear()
        assert client.until(lambda: len(client.goaways) == 2)
        finish(client, stream, rest, held)


@pytest.mark.slow
def test_a_head_that_never_ends_does_not_hold_up_the_end(site):
    address, end = site
    with Http2Client(address) as client:
        client.send(torn(client)[1])
        end()
        client.expect_close()
